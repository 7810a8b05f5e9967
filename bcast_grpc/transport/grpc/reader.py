"""The reading half of a connection: in turns with the others, and no faster than answers can be written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter

from bcast_grpc.http2 import Connection as Http2
from bcast_grpc.http2.events import DataReceived, Event
from bcast_grpc.transport.grpc.writer import Writer
from bcast_grpc.transport.turns import Turns


class Reader:
    """Makes events of what comes.

    Args:
        h2: makes them.
        transport: of the connection.
        writer: of the connection.
        turns: which all connections take.
        data: takes the data of calls; what is done with them counts towards the turn by itself.
        other: takes all other events.
    """

    __slots__ = ("_data", "_full", "_h2", "_other", "_stopped", "_transport", "_turns", "_waits", "_writer")

    def __init__(
        self,
        h2: Http2,
        transport: asyncio.Transport,
        writer: Writer,
        turns: Turns,
        data: Callable[[DataReceived], None],
        other: Callable[[Event], None],
    ) -> None:
        self._h2 = h2
        self._transport = transport
        self._writer = writer
        self._turns = turns
        self._data = data
        self._other = other
        self._stopped = False
        self._waits = False  # for a turn
        self._full = False  # too much waits to be sent for more to be read

    def receive(self, data: bytes) -> None:
        """Read what came, or as much of it as there is time for."""
        if self._stopped:
            return
        self._h2.receive(data)
        if self._waits or self._full:
            return
        if self._turns.scarce:
            self._wait_for_turn()
            self._transport.pause_reading()
        else:
            self._read()

    def resume(self) -> None:
        """Read on, where that waited for what is to be sent, and there is room for it now."""
        if self._full and not self._writer.full:
            self._full = False
            if not self._waits:
                self._read()

    def stop(self) -> None:
        """Read nothing more."""
        self._stopped = True
        self._data = self._other = _ignore  # they keep the connection, which keeps this

    def _wait_for_turn(self) -> None:
        self._waits = True
        self._turns.call(self._take_turn)

    def _take_turn(self) -> bool:
        self._waits = False
        return self._read()

    def _read(self) -> bool:
        """Take what has come, as far as there is time and room; return whether that was anything."""
        took = self._take_events()
        self._writer.pump()
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
