"""The broker over an SQLite file: orders at hand in memory, one thread that writes."""

from __future__ import annotations

import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bcast_grpc.broker.base import Receiver
from bcast_grpc.broker.clock import Clock
from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.order import Order
from bcast_grpc.broker.relief import Relief
from bcast_grpc.broker.sqlite import tables
from bcast_grpc.broker.sqlite.caretaker import Caretaker
from bcast_grpc.broker.sqlite.faults import unavailable
from bcast_grpc.broker.sqlite.file import StoreFile
from bcast_grpc.broker.sqlite.room import Publish, StoredRoom
from bcast_grpc.broker.sqlite.trimmer import Trimmer
from bcast_grpc.broker.sqlite.writer import Writer
from bcast_grpc.events import Entry

_MAX_CACHED = 1000
_LAST_TRIM_S = 1.0


class SqliteBroker:
    """A ``Broker`` whose one thread writes what was published meanwhile in one transaction, then answers.

    Args:
        path: the file; made if it is not there.
        retention: how much is kept, in memory and in the file.
        clock: ages are measured by it.

    Raises:
        CannotOpen: it is no such file, is damaged, cannot be read or written, or another server uses it.
    """

    def __init__(self, path: str | Path, retention: Retention | None = None, clock: Clock | None = None) -> None:
        self._retention = retention or Retention()
        self._clock = clock or Clock()
        self._rooms: dict[str, StoredRoom] = {}
        self._left: OrderedDict[str, StoredRoom] = OrderedDict()
        self._file = StoreFile(Path(path), self._clock)
        self._trimmer = Trimmer(self._file, self._retention)
        self._writer = Writer(self._file, self._trimmer, self._retention.budget)
        self._caretaker = Caretaker(self._file, self._writer.add)
        self._relief = Relief(self._retention.budget)

    @property
    def congested(self) -> bool:
        """Whether the thread has enough to write for some time."""
        return self._writer.congested

    def open(self, room: str, receiver: Receiver) -> Order:
        """Go on with the order in the file, or begin a new one.

        Raises:
            CallError: ``BROKER_UNAVAILABLE``: the file cannot be read.
        """
        self._writer.hub = receiver.lock
        known = self._left.pop(room, None)
        if known:
            known.order.expire(self._clock.now_ns())
        if not known or (known.order.empty and not known.waiting):
            try:
                known = tables.load(self._file.reader, room, self._retention, self._file.line)
            except sqlite3.Error as error:
                raise unavailable(error) from None
        known.receiver = receiver
        self._rooms[room] = known
        return known.order

    def publish(self, room: str, entries: Sequence[Entry]) -> None:
        """Number the entries; they are told when they are written."""
        known = self._rooms[room]
        placed = known.order.place(entries, self._clock)
        size = sum(len(entry.message) + len(entry.data) for entry in entries)
        self._writer.publish(Publish(known, placed, len(entries), size))
        if self._relief.urgent:
            self.relieve()

    def settle(self, callback: Callable[[], None]) -> None:
        """Call back when everything before has been written or refused."""
        self._writer.add(callback)

    def forget(self, room: str) -> None:
        """Keep the order at hand, for those who come back soon."""
        known = self._rooms.pop(room)
        known.receiver = None
        self._left[room] = known
        for name in list(self._left)[: max(0, len(self._left) - _MAX_CACHED)]:
            if not self._left[name].waiting:
                self._drop(name)

    def expire(self) -> None:
        """Let go of what is too old, in memory and in the file."""
        now_ns = self._clock.now_ns()
        for name, known in [*self._rooms.items(), *self._left.items()]:
            known.order.expire(now_ns)
            if known.order.empty and not known.receiver and not known.waiting:
                del self._left[name]
        self._writer.add(partial(self._trimmer.begin, self._at_hand()))

    def relieve(self) -> None:
        """Drop histories where the budget is short: first from memory alone, those of rooms that nobody is in."""
        if self._relief.needed:
            idle = {name: known.order.history for name, known in self._left.items() if not known.waiting}
            self._relief.relieve(idle, self._drop, [known.order.history for known in self._rooms.values()])

    def _drop(self, name: str) -> None:
        """Let go of an order that is in the file as well."""
        self._left.pop(name).order.release()

    def close(self) -> None:
        """Write what was published, and let go of the file."""
        if self._writer.close():
            self._caretaker.close()
            self._trim_at_last()
            self._file.close()

    def _trim_at_last(self) -> None:
        until = time.monotonic() + _LAST_TRIM_S
        self._trimmer.begin(self._at_hand(), sweep=False)
        while self._trimmer.busy and time.monotonic() < until:
            self._trimmer.step()

    def _at_hand(self) -> list[StoredRoom]:
        return [known for known in [*self._rooms.values(), *self._left.values()] if known.row]
