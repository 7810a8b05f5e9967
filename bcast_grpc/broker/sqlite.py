"""The order of each room in an SQLite file: what is acknowledged is written, and survives a kill."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from bcast_grpc.broker.base import Receiver
from bcast_grpc.broker.clock import Clock
from bcast_grpc.broker.history import History, Ids, Retention
from bcast_grpc.broker.order import Order, Placed
from bcast_grpc.broker.sqlite_file import connect, explained, own, plainly, prepare
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Author, Entry, Event, Kind, Place

logger = logging.getLogger(__name__)

_DELETE_OLD = """
DELETE FROM message WHERE room = :room
    AND seq <= (SELECT max(seq) FROM message WHERE room = :room AND time_ns < :oldest)
"""
_DELETE_EMPTY = """
DELETE FROM room WHERE id = :room
    AND NOT EXISTS (SELECT 1 FROM message WHERE room = :room) AND NOT EXISTS (SELECT 1 FROM known WHERE room = :room)
"""
_HEAD = "SELECT head FROM room WHERE id = ?"
_SWEEP_NS = 60_000_000_000
_MAX_CACHED = 1000
_MAX_WAITING = 16_384  # messages that are not written yet, of all rooms
_MAX_WAITING_BYTES = 16 * 1024 * 1024
_NS = 1_000_000_000


@dataclass(slots=True)
class _Room:
    """A room's order, and who is told of it.

    Attributes:
        row: its row in the file; 0 until it has one.
        trimmed: up to which place the file holds nothing any more.
        waiting: how many jobs of it are not done.
    """

    name: str
    order: Order
    row: int = 0
    trimmed: int = 0
    receiver: Receiver | None = None
    waiting: int = 0


class _Publish(NamedTuple):
    room: _Room
    placed: Placed
    messages: int
    bytes: int


_Job: TypeAlias = _Publish | Callable[[], None]


class SqliteBroker:
    """A ``Broker`` whose one thread writes what was published meanwhile in one transaction, then answers.

    Args:
        path: the file; made if it is not there.
        retention: how much is kept, in memory and in the file.
        clock: ages in memory are measured by it.

    Raises:
        CannotOpen: it is no such file, is damaged, cannot be read or written, or another server uses it.
    """

    def __init__(self, path: str | Path, retention: Retention | None = None, clock: Clock | None = None) -> None:
        self._path = Path(path)
        self._retention = retention or Retention()
        self._clock = clock or Clock()
        # What the file's times are measured by: the wall's time at the start, and from then on the steady clock's.
        self._file_from_now_ns = self._clock.wall_ns() - self._clock.now_ns()
        self._rooms: dict[str, _Room] = {}
        self._left: OrderedDict[str, _Room] = OrderedDict()
        self._hub: AbstractContextManager[Any] = nullcontext()
        self._owner = own(self._path)
        try:
            with explained(self._path):
                self._reader = connect(self._path)
                prepare(self._reader)
                self._writer = connect(self._path)
        except BaseException:
            self._owner.close()
            raise
        self._changed = threading.Condition()
        self._jobs: list[_Job] = []
        self._sweep_ns = 0
        self._closing = False
        self._failing = ""
        self._waiting = self._waiting_bytes = 0
        self._thread = threading.Thread(target=self._write_all, name="sqlite-writer", daemon=True)
        self._thread.start()

    # --- what the hub asks, with its lock held

    @property
    def congested(self) -> bool:
        """Whether the thread has enough to write for some time."""
        return (
            self._waiting >= _MAX_WAITING
            or self._waiting_bytes >= _MAX_WAITING_BYTES
            or len(self._jobs) >= _MAX_WAITING
        )

    def open(self, room: str, receiver: Receiver) -> Order:
        """Go on with the order in the file, or begin a new one.

        Raises:
            CallError: ``BROKER_UNAVAILABLE``: the file cannot be read.
        """
        self._hub = receiver.lock
        known = self._left.pop(room, None)
        if known:
            known.order.expire(self._clock.now_ns())
        if not known or (known.order.empty and not known.waiting):
            try:
                known = self._load(room)
            except sqlite3.Error as error:
                raise _unavailable(error) from None
        known.receiver = receiver
        self._rooms[room] = known
        return known.order

    def publish(self, room: str, entries: Sequence[Entry]) -> None:
        """Number the entries; they are told when they are written."""
        known = self._rooms[room]
        placed = known.order.place(entries, self._clock)
        size = sum(len(entry.message) + len(entry.data) for entry in entries)
        known.waiting += 1
        self._waiting += len(entries)
        self._waiting_bytes += size
        self._add(_Publish(known, placed, len(entries), size))

    def settle(self, callback: Callable[[], None]) -> None:
        """Call back when everything before has been written or refused."""
        self._add(callback)

    def forget(self, room: str) -> None:
        """Keep the order at hand, for those who come back soon."""
        known = self._rooms.pop(room)
        known.receiver = None
        self._left[room] = known
        for name in list(self._left)[: max(0, len(self._left) - _MAX_CACHED)]:
            if not self._left[name].waiting:
                del self._left[name]

    def expire(self) -> None:
        """Let go of what is too old, in memory and in the file."""
        now_ns = self._clock.now_ns()
        for name, known in [*self._rooms.items(), *self._left.items()]:
            known.order.expire(now_ns)
            if known.order.empty and not known.receiver and not known.waiting:
                del self._left[name]
        self._add(partial(self._trim, now_ns, self._at_hand()))

    def close(self) -> None:
        """Write what was published, and let go of the file."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify()
        self._thread.join()
        self._reader.close()
        self._writer.close()
        self._owner.close()

    # --- the writer's thread

    def _add(self, job: _Job) -> None:
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()

    def _write_all(self) -> None:
        while jobs := self._next_jobs():
            publishes = [job for job in jobs if isinstance(job, _Publish)]
            try:
                if publishes:
                    self._commit(publishes)
            except Exception as error:  # whatever it is, this thread must live, or nobody would be answered any more
                if not isinstance(error, sqlite3.Error):
                    logger.exception("a fault while writing to the store")
                with self._hub:
                    self._refuse(jobs, error)
                continue
            if publishes and self._failing:
                logger.info("the store can be written again")
                self._failing = ""
            for job in jobs:
                self._answer(job)
        self._trim(self._clock.now_ns(), self._at_hand())

    def _answer(self, job: _Job) -> None:
        try:
            if isinstance(job, _Publish):
                with self._hub:
                    self._accept(job)
            else:
                job()
        except Exception:
            logger.exception("a fault while telling what was written")

    def _at_hand(self) -> list[_Room]:
        return [known for known in [*self._rooms.values(), *self._left.values()] if known.row]

    def _next_jobs(self) -> list[_Job]:
        with self._changed:
            while not self._jobs and not self._closing:
                self._changed.wait()
            jobs, self._jobs = self._jobs, []
        return jobs

    def _accept(self, job: _Publish) -> None:
        known, placed = self._answered(job)
        known.order.history.extend(placed.events, placed.now_ns)
        if known.receiver:
            placed.tell(known.receiver)

    def _answered(self, job: _Publish) -> tuple[_Room, Placed]:
        job.room.waiting -= 1
        self._waiting -= job.messages
        self._waiting_bytes -= job.bytes
        return job.room, job.placed

    def _refuse(self, jobs: Sequence[_Job], error: Exception) -> None:
        """Refuse what could not be written, and what has been numbered after it meanwhile."""
        reason = _unavailable(error)
        if self._failing != reason.reason:
            self._failing = reason.reason
            logger.error("%s", reason.reason)
        with self._changed:
            jobs, self._jobs = [*jobs, *self._jobs], []
        for job in jobs:
            if isinstance(job, _Publish):
                job.room.order.take_back(job.placed.entries)
        for job in jobs:
            if isinstance(job, _Publish):
                known, placed = self._answered(job)
                if known.receiver:
                    # What is sent again may be what could not be written just now.
                    known.receiver.refused(placed.asked, reason)
            else:
                job()

    # --- the file

    def _commit(self, publishes: Sequence[_Publish]) -> None:
        """Write all of them in one transaction."""
        writer = self._writer
        rows: dict[str, int] = {}
        heads: dict[str, _Room] = {}
        messages: list[tuple[Any, ...]] = []
        ids: list[tuple[Any, ...]] = []
        writer.execute("BEGIN IMMEDIATE")
        try:
            for known, (_, entries, events, *_), *_ in publishes:
                if not entries:
                    continue
                if known.name not in rows:
                    rows[known.name], heads[known.name] = self._row(known), known
                row = rows[known.name]
                for (author, message, data, id_, _), event in zip(entries, events, strict=True):
                    seq, time_ns = event.seq, event.time_ns
                    messages.append((row, seq, time_ns, author.session, author.name, author.key, message, data))
                    if id_:
                        ids.append((row, author.key, id_, seq, time_ns))
            writer.executemany("INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?)", messages)
            writer.executemany("INSERT OR REPLACE INTO known VALUES (?, ?, ?, ?, ?)", ids)
            last_seqs = {row: seq for row, seq, *_ in messages}
            writer.executemany("UPDATE room SET head = ? WHERE id = ?", [(seq, row) for row, seq in last_seqs.items()])
            for known in heads.values():
                self._trim_room(known, rows[known.name])
            self._end_commit(last_seqs)
        except Exception:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
            raise
        for name, known in heads.items():
            known.row = rows[name]

    def _end_commit(self, heads: Mapping[int, int]) -> None:
        """Commit. A fault at the very end may come after all has been written: then the file has the new heads."""
        try:
            self._writer.execute("COMMIT")
        except sqlite3.Error:
            if self._writer.in_transaction:
                raise
            if any(self._writer.execute(_HEAD, (row,)).fetchone() != (head,) for row, head in heads.items()):
                raise

    def _row(self, known: _Room) -> int:
        if known.row:
            return known.row
        self._writer.execute(
            "INSERT INTO room (name, epoch, head) VALUES (?, ?, 0)"
            " ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch, head = 0",
            (known.name, known.order.epoch),
        )
        ((row,),) = self._writer.execute("SELECT id FROM room WHERE name = ?", (known.name,))
        self._writer.execute("DELETE FROM message WHERE room = ?", (row,))
        self._writer.execute("DELETE FROM known WHERE room = ?", (row,))
        return int(row)

    def _trim_room(self, known: _Room, row: int) -> None:
        gone = known.order.history.first - 1
        if gone > known.trimmed:
            self._writer.execute("DELETE FROM message WHERE room = ? AND seq <= ?", (row, gone))
            known.trimmed = gone

    def _trim(self, now_ns: int, at_hand: Sequence[_Room]) -> None:
        """Delete what is too old, and the rooms of which nothing is left."""
        writer = self._writer
        file_ns = now_ns + self._file_from_now_ns
        ages = {"oldest": file_ns - round(self._retention.age_s * _NS)}
        try:
            writer.execute("BEGIN IMMEDIATE")
            for known in at_hand:
                self._trim_room(known, known.row)
            writer.execute("DELETE FROM known WHERE time_ns <= ?", (file_ns - round(self._retention.dedup_s * _NS),))
            if now_ns >= self._sweep_ns:  # the rooms that nobody was in lately
                self._sweep_ns = now_ns + _SWEEP_NS
                rows = {row for (row,) in writer.execute("SELECT id FROM room")} - {known.row for known in at_hand}
                for row in rows:
                    writer.execute(_DELETE_OLD, {"room": row, **ages})
                    writer.execute(_DELETE_EMPTY, {"room": row})
            writer.execute("COMMIT")
            writer.execute("PRAGMA incremental_vacuum(1000)").fetchall()
        except sqlite3.Error as error:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
            logger.warning("the store cannot be trimmed: %s", plainly(error))

    def _load(self, name: str) -> _Room:
        """Read an order from the file, or begin a new one."""
        row = self._reader.execute("SELECT id, epoch, head FROM room WHERE name = ?", (name,)).fetchone()
        if row is None:
            return _Room(name, Order.new(self._retention))
        id_, epoch, head = row
        now_ns = self._clock.now_ns()
        file_ns = now_ns + self._file_from_now_ns
        events = list(self._read_events(id_, head))
        history = History(self._retention, events[0].seq - 1 if events else head)
        for event in events:
            history.extend([event], min(event.time_ns - self._file_from_now_ns, now_ns))
        history.expire(now_ns)
        ids = Ids(self._retention)
        for key, message_id, seq, time_ns in self._reader.execute(
            "SELECT key, id, seq, time_ns FROM known WHERE room = ? AND time_ns > ? ORDER BY time_ns, seq",
            (id_, file_ns - round(self._retention.dedup_s * _NS)),
        ):
            ids.add(key, message_id, Place(seq, time_ns), min(time_ns - self._file_from_now_ns, now_ns))
        order = Order(epoch, history, ids)
        if order.empty:
            return _Room(name, Order.new(self._retention))
        return _Room(name, order, row=id_, trimmed=0)

    def _read_events(self, row: int, head: int) -> Iterator[Event]:
        authors: dict[tuple[str, str, str], Author] = {}
        for seq, time_ns, *author, message, data in self._reader.execute(
            "SELECT seq, time_ns, session, name, key, message, data FROM message"
            " WHERE room = ? AND seq > ? ORDER BY seq",
            (row, head - self._retention.messages),
        ):
            who = authors.setdefault(tuple(author), Author(*author))
            yield Event(Kind.MESSAGE, message, who, seq, time_ns, data)


def _unavailable(error: Exception) -> CallError:
    return CallError(ErrorCode.BROKER_UNAVAILABLE, f"the store cannot be used: {plainly(error)}")
