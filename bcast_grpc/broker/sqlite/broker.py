"""The broker over an SQLite file: recent orders in memory, one thread that writes, a few that read."""

from __future__ import annotations

import asyncio
import logging
import secrets
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from bcast_grpc.broker.backlog import Backlog
from bcast_grpc.broker.base import Broker, DeliverEvents, Figure
from bcast_grpc.broker.clock import Clock
from bcast_grpc.broker.history import History, Retention
from bcast_grpc.broker.relief import Relief
from bcast_grpc.broker.sqlite import tables
from bcast_grpc.broker.sqlite.caretaker import Caretaker
from bcast_grpc.broker.sqlite.faults import unavailable
from bcast_grpc.broker.sqlite.file import StoreFile
from bcast_grpc.broker.sqlite.openings import Openings
from bcast_grpc.broker.sqlite.order import Marker, Publish, StoredOrder
from bcast_grpc.broker.sqlite.readers import Readers
from bcast_grpc.broker.sqlite.trimmer import Trimmer
from bcast_grpc.broker.sqlite.writer import Answer, Writer
from bcast_grpc.events import Entry, Event

logger = logging.getLogger(__name__)

_MAX_IDLE = 1000
_LAST_TRIM_S = 1.0
_NS = 1_000_000_000


class SqliteBroker(Broker):
    """A ``Broker`` on a disk.

    One thread writes everything that is waiting in one transaction; then the answers are delivered. The ids of messages
    are looked up in the file. A room is read in another thread when it is opened, so it does not delay the others.

    Args:
        path: the file; created if it does not exist.
        retention: how much is kept, in memory and in the file.
        clock: measures ages.

    Attributes:
        backlog: how much waits to be written.

    Raises:
        CannotOpen: the file is not a store, is damaged, cannot be read or written, or is used by another server.
    """

    def __init__(self, path: str | Path, retention: Retention | None = None, clock: Clock | None = None) -> None:
        self._retention = retention or Retention()
        self._clock = clock or Clock()
        self.backlog = Backlog(self._retention.budget)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._used: dict[str, StoredOrder] = {}
        self._idle: OrderedDict[str, StoredOrder] = OrderedDict()
        self._window_ns = round(self._retention.dedup_s * _NS)
        self._file = StoreFile(Path(path), self._clock)
        self._trimmer = Trimmer(self._file, self._retention)
        self._writer = Writer(self._file, self._trimmer, self._retention, self._answer_soon)
        self._readers = Readers(self._file.connect)
        self._openings = Openings(self._readers, self._retention, self._file.line, self._keep)
        self._caretaker = Caretaker(self._file, self._writer.add, self._readers.held)
        self._relief = Relief(self._retention.budget)

    # --- opening

    async def open(self, room: str) -> StoredOrder:
        """Return the order that is in memory, the one in the file, or a new one.

        Raises:
            CallError: ``BROKER_UNAVAILABLE``: the file cannot be read.
        """
        self._loop = asyncio.get_running_loop()
        while not (order := self._at_hand(room)):
            await self._openings.read(room)
        return order

    def _at_hand(self, room: str) -> StoredOrder | None:
        if order := self._used.get(room):
            return order
        order = self._idle.get(room)
        if order:
            now_ns = self._clock.now_ns()
            order.expire(now_ns)
            if order.row and order.is_over(now_ns):
                del self._idle[room]
                return None
        return order

    def _keep(self, room: str, stored: tables.Stored | None) -> None:
        """Keep in memory what was read from the file, or a new order."""
        if stored:
            stored.history.count_in(self._retention.budget)
            order = StoredOrder(self, room, stored.epoch, stored.history, stored.row, stored.ids_until_ns)
        if not stored or order.is_over(self._clock.now_ns()):
            order = StoredOrder(self, room, secrets.token_hex(4), History(self._retention))
        self._idle[room] = order

    # --- called by orders

    def submit(self, order: StoredOrder, entries: Sequence[Entry]) -> None:
        """Pass entries to the writer."""
        size = sum(len(entry.message) + len(entry.data) for entry in entries)
        self.backlog.add(len(entries), size)
        self._writer.add(Publish(order, entries, self._clock.now_ns(), self._clock.wall_ns(), size))
        if self._relief.urgent:
            self.relieve()

    def mark(self, order: StoredOrder, callback: Callable[[], None]) -> None:
        """Call back when everything that was submitted before has been answered."""
        self.backlog.add()
        self._writer.add(Marker(order, callback))

    def read(self, order: StoredOrder, after: int, count: int, max_bytes: int, deliver: DeliverEvents) -> None:
        """Read messages from the file, and deliver them from the loop."""

        def read(reading: asyncio.Future[Sequence[Event]]) -> None:
            if reading.cancelled():
                deliver(unavailable(sqlite3.OperationalError("the store is being closed")))
            elif error := reading.exception():
                deliver(unavailable(error))
            elif not reading.result() and order.oldest <= after + 1:
                deliver(unavailable(sqlite3.DatabaseError("messages are missing from it")))
            else:
                deliver(reading.result())

        self._readers.read(tables.read, order.row, after, count, max_bytes).add_done_callback(read)

    def in_use(self, order: StoredOrder) -> None:
        """Note that a room uses an order."""
        self._idle.pop(order.room, None)
        self._used[order.room] = order
        if self._relief.urgent:
            self.relieve()

    def released(self, order: StoredOrder) -> None:
        """Note that an order's room is empty."""
        self._idle[order.room] = self._used.pop(order.room)
        for room in list(self._idle)[: max(0, len(self._idle) - _MAX_IDLE)]:
            if not self._idle[room].unanswered:
                del self._idle[room]

    # --- answers

    def _answer_soon(self, answers: Sequence[Answer]) -> None:
        """Deliver answers from the loop. Called in the writer's thread."""
        assert self._loop, "nothing is submitted before a room is opened"
        with suppress(RuntimeError):  # the loop is closed, so nobody waits for an answer
            self._loop.call_soon_threadsafe(self._answer_all, answers)

    def _answer_all(self, answers: Sequence[Answer]) -> None:
        for answer in answers:
            try:
                self._answer(answer)
            except Exception:
                logger.exception("internal error while delivering an answer of the store")

    def _answer(self, answer: Answer) -> None:
        if isinstance(answer, Marker):
            answer.order.unanswered -= 1
            self.backlog.remove()
            answer.callback()
            return
        (order, entries, now_ns, _, size), outcomes = answer
        order.unanswered -= 1
        self.backlog.remove(len(entries), size)
        order.answer(outcomes, now_ns, self._window_ns)

    # --- upkeep

    def expire(self) -> None:
        """Drop what has expired, in memory and in the file."""
        now_ns = self._clock.now_ns()
        for order in [*self._used.values(), *self._idle.values()]:
            order.expire(now_ns)
        for room, order in list(self._idle.items()):
            if order.is_over(now_ns):
                del self._idle[room]
        self._writer.add(partial(self._trimmer.begin, self._in_file()))

    def relieve(self) -> None:
        """Drop histories from memory if the budget is short, those of empty rooms first. The file keeps them."""
        if self._relief.needed:
            idle = {room: order.history for room, order in self._idle.items() if not order.unanswered}
            self._relief.relieve(idle, self._drop, list(self._used.values()))

    def _drop(self, room: str) -> None:
        self._idle.pop(room).history.unload(0)

    def figures(self) -> Iterable[Figure]:
        """Tell how much waits to be written."""
        return (self.backlog.figure,)

    async def close(self) -> None:
        """Write what was submitted, and close the file."""
        if self._writer.close():
            self._readers.close()
            self._caretaker.close()
            self._trim_at_last()
            self._file.close()

    def _trim_at_last(self) -> None:
        until = time.monotonic() + _LAST_TRIM_S
        self._trimmer.begin(self._in_file(), sweep=False)
        while self._trimmer.busy and time.monotonic() < until:
            self._trimmer.step()

    def _in_file(self) -> list[StoredOrder]:
        return [order for order in [*self._used.values(), *self._idle.values()] if order.row]
