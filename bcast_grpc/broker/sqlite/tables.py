"""The SQL that reads and writes rooms, messages and ids."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from bcast_grpc.broker.base import Outcome
from bcast_grpc.broker.budget import Budget
from bcast_grpc.broker.history import History, Retention
from bcast_grpc.broker.order import accepted, place
from bcast_grpc.broker.sqlite.order import IN_MEMORY_BYTES, Publish, StoredOrder
from bcast_grpc.broker.sqlite.timeline import TimeLine
from bcast_grpc.events import Author, Event, Kind, Stamp, wire_bytes

SLICE_ROWS = 256
"""How many rows are read before other threads have their turn, which takes about a millisecond."""

_IN_MEMORY = 1024  # messages that are read when a room is opened; of older ones only size and age are read
_NS = 1_000_000_000
_IS_THERE = "SELECT 1 FROM room WHERE id = ? AND epoch = ?"
_REMEMBER = """
INSERT INTO known VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (room, key, id)
    DO UPDATE SET seq = excluded.seq, time_ns = excluded.time_ns, at_ns = excluded.at_ns WHERE at_ns <= ?
"""
_RECALL = "SELECT seq, time_ns FROM known WHERE room = ? AND key = ? AND id = ?"
_KNOWS = "SELECT 1 FROM known NOT INDEXED WHERE room = ? AND at_ns > ? LIMIT 1"
_FIRST = "SELECT min(seq) FROM message WHERE room = ? AND seq > ?"
_MESSAGES = """
SELECT seq, time_ns, at_ns, session, name, key, message, data FROM message WHERE room = ? AND seq > ?
    ORDER BY seq LIMIT ?
"""
_SIZES = """
SELECT length(CAST(message AS BLOB)) + length(data) + 4 * length(name) + 96, at_ns FROM message
    WHERE room = ? AND seq > ? AND seq <= ? ORDER BY seq
"""
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


class Stored(NamedTuple):
    """What the file has of a room."""

    row: int
    epoch: str
    history: History
    ids_until_ns: int


class Insertion:
    """Numbers the messages that are published and writes them into the tables, all in one transaction.

    Attributes:
        heads: the last ``seq`` of each order that got new messages.
        rows: the row of each order in the table of rooms.
    """

    def __init__(self, connection: sqlite3.Connection, retention: Retention, line: TimeLine) -> None:
        self.heads: dict[StoredOrder, int] = {}
        self.rows: dict[StoredOrder, int] = {}
        self._connection = connection
        self._window_ns = round(retention.dedup_s * _NS)
        self._line = line
        self._messages: list[tuple[Any, ...]] = []

    def place(self, publish: Publish) -> Sequence[Outcome]:
        """Give each new entry the next ``seq`` of its order. Cost: O(len(entries))."""
        order, entries, now_ns, wall_ns, _ = publish
        row = self.rows.get(order) or self.rows.setdefault(order, _row(self._connection, order))
        at_ns = self._line.at(now_ns)
        head = self.heads.get(order, order.written)
        outcomes = place(entries, head, wall_ns, partial(self._recall, row, wall_ns, at_ns))
        for _, events, _ in accepted(outcomes):
            self._messages += [_values(row, event, at_ns) for event in events]
            self.heads[order] = events[-1].seq
        return outcomes

    def _recall(self, row: int, wall_ns: int, at_ns: int, key: str, id_: str, seq: int) -> Stamp | None:
        """Return the place of an author's earlier message with this id; if there is none, note ``seq``."""
        values = row, key, id_, seq, wall_ns, at_ns, at_ns - self._window_ns
        if self._connection.execute(_REMEMBER, values).rowcount:
            return None
        ((seq, wall_ns),) = self._connection.execute(_RECALL, (row, key, id_))
        return Stamp(seq, wall_ns)

    def finish(self) -> None:
        """Write the messages."""
        self._connection.executemany("INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", self._messages)
        heads = [(seq, self.rows[order]) for order, seq in self.heads.items()]
        self._connection.executemany("UPDATE room SET head = ? WHERE id = ?", heads)


def _values(row: int, event: Event, at_ns: int) -> tuple[Any, ...]:
    author = event.author
    return row, event.seq, event.time_ns, author.session, author.name, author.key, event.message, event.data, at_ns


def _row(connection: sqlite3.Connection, order: StoredOrder) -> int:
    if order.row and is_there(connection, order.row, order.epoch):
        return order.row
    connection.execute(
        "INSERT INTO room (name, epoch, head) VALUES (?, ?, 0)"
        " ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch, head = 0",
        (order.room, order.epoch),
    )
    ((row,),) = connection.execute("SELECT id FROM room WHERE name = ?", (order.room,))
    connection.execute("DELETE FROM message WHERE room = ?", (row,))
    connection.execute("DELETE FROM known WHERE room = ?", (row,))
    return int(row)


def load(
    connection: sqlite3.Connection, room: str, retention: Retention, line: TimeLine, pause: Callable[[], None]
) -> Stored | None:
    """Read a room; return None if the file does not have it. ``pause`` is called after each slice of rows.

    May be called in any thread: the history is counted in a budget of its own.
    """
    connection.execute("BEGIN")  # so that all queries see the same state
    try:
        found = connection.execute("SELECT id, epoch, head FROM room WHERE name = ?", (room,)).fetchone()
        if found is None:
            return None
        row, epoch, head = found
        history = _load_history(connection, row, head, replace(retention, budget=Budget()), line, pause)
        window_ns = round(retention.dedup_s * _NS)
        knows = connection.execute(_KNOWS, (row, line.now_ns() - window_ns)).fetchone()
        return Stored(row, epoch, history, line.clock.now_ns() + window_ns if knows else 0)
    finally:
        if connection.in_transaction:  # SQLite has ended it already after a disk error
            connection.execute("ROLLBACK")


def _load_history(
    connection: sqlite3.Connection, row: int, head: int, retention: Retention, line: TimeLine, pause: Callable[[], None]
) -> History:
    after = head - retention.messages
    ((first,),) = connection.execute(_FIRST, (row, after))
    history = History(retention, head if first is None else first - 1)
    sizes = connection.execute(_SIZES, (row, after, head - _IN_MEMORY))
    while rows := sizes.fetchmany(SLICE_ROWS * 4):
        history.extend_stored([size for size, _ in rows], [line.since(at_ns) for _, at_ns in rows])
        pause()
    messages = connection.execute(_MESSAGES, (row, max(after, head - _IN_MEMORY), -1))
    while rows := messages.fetchmany(SLICE_ROWS):
        for values in rows:
            event = _event(values)
            history.extend([event], [wire_bytes(event)], line.since(values[2]))
        history.unload(IN_MEMORY_BYTES)
        pause()
    history.expire(line.clock.now_ns())
    return history


def read(connection: sqlite3.Connection, row: int, after: int, count: int, max_bytes: int) -> Sequence[Event]:
    """Read the messages after a seq; return none if the first of them has been deleted."""
    events: list[Event] = []
    size = 0
    for values in connection.execute(_MESSAGES, (row, after, count)):
        event = _event(values)
        size += wire_bytes(event)
        if events and size > max_bytes:
            break
        events.append(event)
    return events if events and events[0].seq == after + 1 else []


def _event(values: tuple[Any, ...]) -> Event:
    seq, time_ns, _, session, name, key, message, data = values
    return Event(Kind.MESSAGE, message, Author(session, name, key), seq, time_ns, data)


def is_there(connection: sqlite3.Connection, row: int, epoch: str) -> bool:
    """Return whether a row still belongs to the order with this epoch."""
    return connection.execute(_IS_THERE, (row, epoch)).fetchone() is not None


def delete_before(connection: sqlite3.Connection, row: int, seq: int, limit: int) -> int:
    """Delete the messages of a room before ``seq``, the oldest first; return how many, at most ``limit``."""
    return connection.execute(_DELETE_BEFORE, {"room": row, "seq": seq, "limit": limit}).rowcount


def delete_old(connection: sqlite3.Connection, row: int, oldest_ns: int, limit: int) -> int:
    """Delete the messages of a room that are older than ``oldest_ns``; return how many, at most ``limit``."""
    return connection.execute(_DELETE_OLD, {"room": row, "oldest": oldest_ns, "limit": limit}).rowcount


def delete_ids(connection: sqlite3.Connection, oldest_ns: int, limit: int) -> int:
    """Delete the ids that were used at ``oldest_ns`` or before; return how many, at most ``limit``."""
    return connection.execute(_DELETE_IDS, {"oldest": oldest_ns, "limit": limit}).rowcount


def delete_empty(connection: sqlite3.Connection, row: int) -> int:
    """Delete a room if it has no messages and no ids; return whether it was deleted."""
    return connection.execute(_DELETE_EMPTY, {"room": row}).rowcount


def read_rooms(connection: sqlite3.Connection, after: int, limit: int) -> Sequence[tuple[int, int | None, bool]]:
    """Return the next rooms: the row, the time of the oldest message, and whether the room has ids."""
    return [(row, oldest_ns, bool(ids)) for row, oldest_ns, ids in connection.execute(_ROOMS, (after, limit))]
