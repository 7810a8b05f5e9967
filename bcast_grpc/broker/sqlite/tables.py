"""Rooms, messages and ids in the tables of a store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from bcast_grpc.broker.history import History, Retention
from bcast_grpc.broker.ids import Ids
from bcast_grpc.broker.order import Order
from bcast_grpc.broker.sqlite.room import Publish, StoredRoom
from bcast_grpc.broker.sqlite.timeline import TimeLine
from bcast_grpc.events import Author, Event, Kind, Place

_NS = 1_000_000_000
_IS_THERE = "SELECT 1 FROM room WHERE id = ? AND epoch = ?"
_DELETE_BEFORE = """
DELETE FROM message WHERE room = :room
    AND seq < min(:seq, :limit + (SELECT min(seq) FROM message WHERE room = :room))
"""
_DELETE_OLD = """
DELETE FROM message WHERE room = :room AND seq <= (
    SELECT max(seq) FROM (SELECT seq, at_ns FROM message WHERE room = :room ORDER BY seq LIMIT :limit)
    WHERE at_ns < :oldest
)
"""
_DELETE_IDS = """
DELETE FROM known WHERE (room, key, id) IN
    (SELECT room, key, id FROM known WHERE at_ns <= :oldest ORDER BY at_ns LIMIT :limit)
"""
_DELETE_EMPTY = """
DELETE FROM room WHERE id = :room
    AND NOT EXISTS (SELECT 1 FROM message WHERE room = :room) AND NOT EXISTS (SELECT 1 FROM known WHERE room = :room)
"""
_ROOMS = """
SELECT id, (SELECT at_ns FROM message WHERE room = room.id ORDER BY seq LIMIT 1),
    EXISTS (SELECT 1 FROM known WHERE room = room.id)
FROM room WHERE id > ? ORDER BY id LIMIT ?
"""


def insert(connection: sqlite3.Connection, publishes: Sequence[Publish], line: TimeLine) -> dict[str, int]:
    """Write what was published, and return the row of each room that has something new."""
    rows: dict[str, int] = {}
    messages: list[tuple[Any, ...]] = []
    ids: list[tuple[Any, ...]] = []
    for known, (_, entries, events, _, now_ns), *_ in publishes:
        if not entries:
            continue
        at_ns = line.at(now_ns)
        row = rows.get(known.name) or rows.setdefault(known.name, _row(connection, known))
        for (author, message, data, id_, _), event in zip(entries, events, strict=True):
            seq, time_ns = event.seq, event.time_ns
            messages.append((row, seq, time_ns, author.session, author.name, author.key, message, data, at_ns))
            if id_:
                ids.append((row, author.key, id_, seq, time_ns, at_ns))
    connection.executemany("INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", messages)
    connection.executemany("INSERT OR REPLACE INTO known VALUES (?, ?, ?, ?, ?, ?)", ids)
    heads = {row: seq for row, seq, *_ in messages}
    connection.executemany("UPDATE room SET head = ? WHERE id = ?", [(seq, row) for row, seq in heads.items()])
    return rows


def _row(connection: sqlite3.Connection, known: StoredRoom) -> int:
    if known.row and connection.execute(_IS_THERE, (known.row, known.order.epoch)).fetchone():
        return known.row
    connection.execute(
        "INSERT INTO room (name, epoch, head) VALUES (?, ?, 0)"
        " ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch, head = 0",
        (known.name, known.order.epoch),
    )
    ((row,),) = connection.execute("SELECT id FROM room WHERE name = ?", (known.name,))
    connection.execute("DELETE FROM message WHERE room = ?", (row,))
    connection.execute("DELETE FROM known WHERE room = ?", (row,))
    return int(row)


def load(connection: sqlite3.Connection, name: str, retention: Retention, line: TimeLine) -> StoredRoom:
    """Read an order, or begin a new one."""
    row = connection.execute("SELECT id, epoch, head FROM room WHERE name = ?", (name,)).fetchone()
    if row is None:
        return StoredRoom(name, Order.new(retention))
    id_, epoch, head = row
    events = list(_read_events(connection, id_, head - retention.messages))
    history = History(retention, events[0][0].seq - 1 if events else head)
    for event, at_ns in events:
        history.extend([event], line.since(at_ns))
    history.expire(line.clock.now_ns())
    ids = Ids(retention)
    for key, message_id, seq, time_ns, at_ns in connection.execute(
        "SELECT key, id, seq, time_ns, at_ns FROM known WHERE room = ? AND at_ns > ? ORDER BY at_ns, seq",
        (id_, line.now_ns() - round(retention.dedup_s * _NS)),
    ):
        ids.add(key, message_id, Place(seq, time_ns), line.since(at_ns))
    order = Order(epoch, history, ids)
    if order.empty:
        return StoredRoom(name, Order.new(retention))
    return StoredRoom(name, order, row=id_)


def _read_events(connection: sqlite3.Connection, row: int, after: int) -> Iterator[tuple[Event, int]]:
    authors: dict[tuple[str, str, str], Author] = {}
    for seq, time_ns, at_ns, *author, message, data in connection.execute(
        "SELECT seq, time_ns, at_ns, session, name, key, message, data FROM message"
        " WHERE room = ? AND seq > ? ORDER BY seq",
        (row, after),
    ):
        who = authors.setdefault(tuple(author), Author(*author))
        yield Event(Kind.MESSAGE, message, who, seq, time_ns, data), at_ns


def delete_before(connection: sqlite3.Connection, row: int, seq: int, limit: int) -> int:
    """Delete the oldest messages of a room, those before the place ``seq``; return how many, ``limit`` at the most."""
    return connection.execute(_DELETE_BEFORE, {"room": row, "seq": seq, "limit": limit}).rowcount


def delete_old(connection: sqlite3.Connection, row: int, oldest_ns: int, limit: int) -> int:
    """Delete the messages of a room from before a moment; return how many, ``limit`` at the most."""
    return connection.execute(_DELETE_OLD, {"room": row, "oldest": oldest_ns, "limit": limit}).rowcount


def delete_ids(connection: sqlite3.Connection, oldest_ns: int, limit: int) -> int:
    """Delete the ids that were used at a moment or before; return how many, ``limit`` at the most."""
    return connection.execute(_DELETE_IDS, {"oldest": oldest_ns, "limit": limit}).rowcount


def delete_empty(connection: sqlite3.Connection, row: int) -> int:
    """Delete a room of which nothing is left; return whether it was so."""
    return connection.execute(_DELETE_EMPTY, {"room": row}).rowcount


def read_rooms(connection: sqlite3.Connection, after: int, limit: int) -> Sequence[tuple[int, int | None, bool]]:
    """Return the next rows of rooms, each with the time of its oldest message and whether ids are known in it."""
    return [(row, oldest_ns, bool(ids)) for row, oldest_ns, ids in connection.execute(_ROOMS, (after, limit))]
