"""Checks a store: SQLite's own check of the file, and what a server relies on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from bcast_grpc.broker.sqlite.faults import Damaged, plainly
from bcast_grpc.store.reading import reading
from bcast_grpc.store.text import shown

_MAX_LINES = 100

_ORDERS = """
SELECT coalesce(room.name, 'row ' || message.room), room.id, room.head, count(*), min(seq), max(seq)
FROM message LEFT JOIN room ON room.id = message.room GROUP BY message.room
"""
_IDS = """
SELECT coalesce(room.name, 'row ' || known.room), room.id, count(*)
FROM known LEFT JOIN room ON room.id = known.room
WHERE room.id IS NULL OR seq < 1 OR seq > room.head GROUP BY known.room
"""
_EPOCHS = "SELECT name, epoch FROM room WHERE epoch = '' OR epoch GLOB '*[^0-9a-zA-Z]*' OR head < 0"


def find_damage(path: Path) -> list[str]:
    """Return a line for each fault found, 100 at most; none if the store is sound.

    Raises:
        CannotOpen: there is no store, or it cannot be read.
    """
    try:
        with reading(path) as connection:
            found = islice(_look(connection), _MAX_LINES)
            return [f"{path}: {line}" for line in found]
    except Damaged as error:
        return [str(error)]


def _look(connection: sqlite3.Connection) -> Iterator[str]:
    try:
        for (line,) in connection.execute(f"PRAGMA integrity_check({_MAX_LINES})"):
            if line != "ok":
                yield line
        if connection.execute("SELECT count(*) FROM meta").fetchone() != (1,):
            yield "the table meta must have exactly one row"
        for room, row, head, count, first, last in connection.execute(_ORDERS):
            yield from _look_at_order(shown(room), row, head, count, first, last)
        for room, row, count in connection.execute(_IDS):
            why = "without a room" if row is None else "of messages that the room does not have"
            yield f"room {shown(room)}: {count} ids {why}"
        for room, epoch in connection.execute(_EPOCHS):
            yield f"room {shown(room)}: its epoch {shown(epoch)} or its head is invalid"
    except sqlite3.Error as error:
        yield plainly(error)


def _look_at_order(room: str, row: int | None, head: int, count: int, first: int, last: int) -> Iterator[str]:
    if row is None:
        yield f"room {room}: {count} messages without a room"
        return
    if count != last - first + 1:
        yield f"room {room}: of the messages {first} to {last}, {last - first + 1 - count} are missing"
    if last != head:
        yield f"room {room}: its last message is {last}, but its head is {head}"
