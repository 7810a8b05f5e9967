"""Reads messages that are no longer in memory from the rooms' logs, for clients that come back or fell behind."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple, Protocol

from bcast_grpc.broker.base import DeliverEvents
from bcast_grpc.broker.history import MESSAGE_BYTES, History
from bcast_grpc.broker.nats.connection.requests import Failed, Lost
from bcast_grpc.broker.nats.log.places import Places
from bcast_grpc.broker.nats.log.record import Record, UnknownVersionError, decode
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Event, wire_bytes

_AT_ONCE = 4
_KEPT_BYTES = 8 * 1024 * 1024
_AGAIN_S = 0.1
_LONGEST_AGAIN_S = 1.0


class Stored(NamedTuple):
    """The messages of one order that are in its log.

    Attributes:
        room: the room's name.
        epoch: the order's name.
        history: which messages are kept.
        places: where the log has them.
    """

    room: str
    epoch: str
    history: History
    places: Places


class Library(Protocol):
    """Reads records, as a ``Courier`` does."""

    async def some(self, room: str, sequence: int) -> Sequence[tuple[int, bytes]]:
        """Return some records from a place in the stream on, of any replica."""

    async def next(self, room: str, sequence: int) -> tuple[int, bytes] | None:
        """Return the first record at a place in the stream or later, of the leader; None if there is none."""


class _Wanted(NamedTuple):
    after: int
    most: int
    max_bytes: int
    deliver: DeliverEvents


class Readings:
    """Reads from the logs of all rooms: a few at once, each for everyone who waits for the same records.

    What was read last is kept, because a record may hold more than what is asked for at once.

    Args:
        library: reads the records.
        start: starts a task.
        patience_s: how long it is tried.
    """

    def __init__(self, library: Library, start: Callable[[Coroutine[Any, Any, None]], None], patience_s: float) -> None:
        self._library = library
        self._start = start
        self._patience_s = patience_s
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._waiting: dict[tuple[Places, int], list[_Wanted]] = {}
        self._kept: OrderedDict[tuple[Places, int], tuple[list[Event], int]] = OrderedDict()
        self._kept_bytes = 0

    def read(self, stored: Stored, after: int, count: int, max_bytes: int, deliver: DeliverEvents) -> None:
        """Deliver messages as ``Order.read`` does: at once if they were read just now, else later."""
        wanted = _Wanted(after, count, max_bytes, deliver)
        key = stored.places, stored.places.of(after + 1)
        if found := self._kept.get(key):
            self._kept.move_to_end(key)
            _deliver(stored, found[0], wanted)
        elif key in self._waiting:
            self._waiting[key].append(wanted)
        else:
            self._waiting[key] = [wanted]
            self._start(self._read(stored, key[1]))

    async def _read(self, stored: Stored, sequence: int) -> None:
        key = stored.places, sequence
        events: list[Event] | CallError
        try:
            async with asyncio.timeout(self._patience_s), self._turns:
                events = await self._persist(stored, sequence)
        except TimeoutError:
            text = "earlier messages cannot be read from the room's log at the moment; try again"
            events = CallError(ErrorCode.BROKER_UNAVAILABLE, text)
        except UnknownVersionError as error:
            events = CallError(ErrorCode.BROKER_UNAVAILABLE, str(error))
        waiting = self._waiting.pop(key)
        if isinstance(events, list) and events:
            self._keep(key, events)
        for wanted in waiting:
            _deliver(stored, events, wanted)

    async def _persist(self, stored: Stored, sequence: int) -> list[Event]:
        wait_s = _AGAIN_S
        while True:
            try:
                return await self._try(stored, sequence)
            except (Failed, Lost):
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_AGAIN_S)

    async def _try(self, stored: Stored, sequence: int) -> list[Event]:
        """Return messages from the record at ``sequence`` on; none if the log has lost it."""
        records = await self._library.some(stored.room, sequence)
        if events := stored.places.events(stored.epoch, _decoded(records, sequence)):
            return events
        found = await self._library.next(stored.room, sequence)  # a replica may lack what the leader has
        if found and (events := stored.places.events(stored.epoch, _decoded([found], sequence))):
            return events
        lost = stored.history.first_in_memory  # all others, unless it is just that the oldest have expired
        if found and found[0] > sequence:
            lost = min(lost, stored.places.first_from(found[0]) or lost)
        stored.history.drop_before(lost)
        return []

    def _keep(self, key: tuple[Places, int], events: list[Event]) -> None:
        size = sum(map(wire_bytes, events)) + MESSAGE_BYTES * len(events)
        self._kept[key] = events, size
        self._kept_bytes += size
        while self._kept_bytes > _KEPT_BYTES and self._kept:
            self._kept_bytes -= self._kept.popitem(last=False)[1][1]

    def forget(self) -> None:
        """Drop what was read last."""
        self._kept.clear()
        self._kept_bytes = 0


def _decoded(records: Sequence[tuple[int, bytes]], first: int) -> list[tuple[int, Record]]:
    """Return the records, if they begin with the one at ``first``."""
    return [(sequence, decode(data)) for sequence, data in records] if records and records[0][0] == first else []


def _deliver(stored: Stored, events: Sequence[Event] | CallError, wanted: _Wanted) -> None:
    if isinstance(events, CallError):
        wanted.deliver(events)
        return
    if not events or wanted.after + 1 < stored.history.first:
        wanted.deliver([])
        return
    begin = wanted.after + 1 - events[0].seq
    some = events[begin : begin + wanted.most]
    size = 0
    for number, event in enumerate(some):
        size += wire_bytes(event)
        if size > wanted.max_bytes and number:
            some = some[:number]
            break
    wanted.deliver(some)
