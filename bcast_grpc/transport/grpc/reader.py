"""The reading half of a connection: it takes turns with the others, and reads no faster than answers can be written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter

from bcast_grpc.http2 import Connection as Http2
from bcast_grpc.http2.events import DataReceived, Event
from bcast_grpc.transport.grpc.writer import Writer
from bcast_grpc.transport.turns import Turns

MOST_KEPT_BYTES = 16 * 1024
MOST_KEPT_SEGMENTS = 128
"""A connection that waits for its turn takes in so much from the system, plus the rest of the last segment."""

_NOTHING: tuple[bytes, ...] = ()


class Reader:
    """Turns the data of a connection into events.

    While the connection waits for its turn, it takes in more data. Otherwise the turn would be for the first segment
    alone, perhaps one message of the hundred that the client has sent, and the rest would wait for the next turn.
    If a turn is not enough for the data, nothing more is taken in until they are read.

    Args:
        h2: makes the events.
        transport: the connection's transport.
        writer: the connection's writer.
        turns: the turns that all connections take.
        peer: the client's address.
        data: called with the data of calls; it counts its time towards the turn itself.
        other: called with all other events.
    """

    __slots__ = (
        "_data",
        "_full",
        "_h2",
        "_kept",
        "_kept_bytes",
        "_other",
        "_peer",
        "_stopped",
        "_transport",
        "_turns",
        "_waits",
        "_writer",
    )

    def __init__(
        self,
        h2: Http2,
        transport: asyncio.Transport,
        writer: Writer,
        turns: Turns,
        peer: str,
        data: Callable[[DataReceived], None],
        other: Callable[[Event], None],
    ) -> None:
        self._h2 = h2
        self._transport = transport
        self._writer = writer
        self._turns = turns
        self._peer = peer
        self._data = data
        self._other = other
        self._stopped = False
        self._waits = False  # for a turn
        self._full = False  # so much waits to be sent that nothing more is read
        self._kept = _NOTHING  # the segments that came while it waits
        self._kept_bytes = 0

    def receive(self, data: bytes) -> None:
        """Read the data, or as much of them as there is time for."""
        if self._stopped:
            return
        if self._waits:
            self._keep(data)
            return
        self._h2.receive(data)
        if self._full:
            return
        if self._turns.scarce:
            self._wait_for_turn()
        else:
            self._read()

    def resume(self) -> None:
        """Read on, if that had to wait until more was sent, and enough has been sent now."""
        if self._full and not self._writer.full:
            self._full = False
            if not self._waits:
                self._read()

    def stop(self) -> None:
        """Read nothing more."""
        self._stopped = True
        self._kept = _NOTHING
        self._data = self._other = _ignore  # breaks the reference cycle with the connection

    def _wait_for_turn(self) -> None:
        self._waits = True
        self._turns.call(self._peer, self._take_turn)

    def _keep(self, data: bytes) -> None:
        self._kept = (*self._kept, data)
        self._kept_bytes += len(data)
        if self._kept_bytes >= MOST_KEPT_BYTES or len(self._kept) >= MOST_KEPT_SEGMENTS:
            self._transport.pause_reading()

    def _take_turn(self) -> bool:
        self._waits = False
        if self._kept:
            self._h2.receive(b"".join(self._kept))
            self._kept, self._kept_bytes = _NOTHING, 0
        return self._read()

    def _read(self) -> bool:
        """Read what has come, as far as there is time and room; return whether there was anything."""
        writer = self._writer
        lane = writer.settle()
        took = self._take_events()
        if not writer.expects:
            writer.pump()
            if lane and not writer.lends:  # mostly the client has only opened its window
                lane.borrow()
        if not (self._stopped or self._transport.is_closing()):
            if self._waits or self._full:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()
        return took

    def _take_events(self) -> bool:
        turns, writer, next_event = self._turns, self._writer, self._h2.next_event
        took = False
        began = perf_counter()
        while not self._stopped:
            self._full = writer.full
            if self._full or (event := next_event()) is None:
                break
            took = True
            if type(event) is DataReceived:
                turns.worked(perf_counter() - began)
                self._data(event)
                began = perf_counter()
            else:
                self._other(event)
                now = perf_counter()
                turns.worked(now - began)
                began = now
            if turns.used_up:
                self._wait_for_turn()
                break
        return took


def _ignore(_: Event) -> None:
    """Do nothing: the connection has ended."""
