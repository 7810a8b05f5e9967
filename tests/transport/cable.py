"""A connection to the native gRPC door without a network: its client is in the test's hands."""

from __future__ import annotations

import asyncio
import socket
from collections import defaultdict
from collections.abc import Iterator
from itertools import count
from typing import Any

from bcast_grpc.events import Event
from bcast_grpc.http2 import frames as wire
from bcast_grpc.http2.states import Kind
from bcast_grpc.transport.grpc.connection import Connection
from bcast_grpc.transport.grpc.door import GrpcDoor
from bcast_grpc.wire import protobuf
from benchmarks.attacker import STATUS

_PORTS = count(1)
_SOCKET = socket.socket()
"""Never connected: the system has heard nothing from its other end."""


class Transport(asyncio.Transport):
    """Takes what the server writes.

    Attributes:
        written: all of that.
        reads: whether the server wants to read.
        closing: whether it has closed the connection.
    """

    def __init__(self, cable: Cable) -> None:
        super().__init__({"socket": _SOCKET})
        self.written = bytearray()
        self.reads = True
        self.closing = False
        self._cable: Cable | None = cable

    def write(self, data: Any) -> None:
        """Take bytes."""
        self.written += data

    def writelines(self, pieces: Any) -> None:
        """Take pieces."""
        for piece in pieces:
            self.written += piece

    def write_eof(self) -> None:
        """Hear that there will be no more."""

    def is_closing(self) -> bool:
        """Say whether it was closed."""
        return self.closing

    def abort(self) -> None:
        """Close at once; the protocol hears of it later."""
        self.closing = True
        if self._cable:
            asyncio.get_running_loop().call_soon(self._cable.lose)
            self._cable = None

    close = abort

    def pause_reading(self) -> None:
        """Give the server nothing more for now."""
        self.reads = False

    def resume_reading(self) -> None:
        """Give it what came meanwhile, soon."""
        if not self.reads:
            self.reads = True
            if self._cable:
                asyncio.get_running_loop().call_soon(self._cable.deliver)

    def get_write_buffer_size(self) -> int:
        """Nothing waits here."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Do nothing: the test says when to pause."""


class Cable:
    """One connection.

    Args:
        door: the server's.

    Attributes:
        connection: the server's end.
        transport: what the server writes to.
        lost: whether the connection is gone.
    """

    def __init__(self, door: GrpcDoor) -> None:
        peer = f"192.0.2.1:{next(_PORTS)}"
        assert door._shared.connections.arrived(peer)
        self.connection = Connection(door._shared, door._limits, door, peer)
        self.transport = Transport(self)
        self.lost = False
        self._paused = False
        self._under_way: list[bytes] = []
        self.connection.connection_made(self.transport)

    def send(self, data: bytes) -> None:
        """Send bytes, as one segment."""
        self._under_way.append(data)
        self.deliver()

    def deliver(self) -> None:
        """Give the server what is under way, as long as it reads."""
        while self._under_way and self.transport.reads and not self.lost and not self.transport.closing:
            self.connection.data_received(self._under_way.pop(0))

    def pause(self) -> None:
        """Take nothing more."""
        if not (self.lost or self._paused):
            self._paused = True
            self.connection.pause_writing()

    def resume(self) -> None:
        """Take more."""
        if not self.lost and self._paused:
            self._paused = False
            self.connection.resume_writing()

    def lose(self) -> None:
        """Be gone."""
        if not self.lost:
            self.lost = True
            self.transport.closing = True
            self.transport._cable = None
            self.connection.connection_lost(None)

    @property
    def unsent(self) -> int:
        """How many bytes the server keeps to be written."""
        return sum(map(len, self.connection._h2._out))

    def frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Yield what the server has written: kind, flags, stream id and payload of each frame."""
        written, at = bytes(self.transport.written), 0
        while at < len(written):
            head, flags, stream_id = wire.HEADER.unpack_from(written, at)
            begin = at + wire.HEADER_SIZE
            at = begin + (head >> 8)
            assert at <= len(written), "a frame is cut"
            yield head & 0xFF, flags, stream_id, written[begin:at]

    @property
    def statuses(self) -> dict[int, int]:
        """GRPC's statuses that streams have ended with."""
        found = {stream: STATUS(payload) for kind, _, stream, payload in self.frames() if kind == Kind.HEADERS}
        return {stream: int(status[1]) for stream, status in found.items() if status}

    def events(self, stream_id: int) -> list[Event]:
        """Return the events that came on a stream."""
        data: dict[int, bytes] = defaultdict(bytes)
        for kind, _, stream, payload in self.frames():
            if kind == Kind.DATA:
                data[stream] += payload
        events: list[Event] = []
        rest = data[stream_id]
        while rest:
            size = int.from_bytes(rest[1:5], "big")
            assert len(rest) >= 5 + size, "a message is cut"
            events += protobuf.decode_events(rest[5 : 5 + size])
            rest = rest[5 + size :]
        return events
