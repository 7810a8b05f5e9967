"""A client of HTTP/2 that keeps no rule, on a bare socket."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Self, cast

from bcast_grpc.http2 import encode
from bcast_grpc.http2 import frames as wire
from bcast_grpc.http2.limits import DEFAULT_WINDOW
from bcast_grpc.http2.states import Kind

CONNECT, PUBLISH = "/bcast_grpc.v1.Chat/Connect", "/bcast_grpc.v1.Chat/Publish"
ACKNOWLEDGEMENT = wire.frame(Kind.SETTINGS, wire.ACK, 0)
PING = wire.frame(Kind.PING, 0, 0, b"attacker")
GREETING = wire.PREFACE + wire.settings_frame({}) + ACKNOWLEDGEMENT
OPEN_WINDOWS = wire.PREFACE + wire.settings_frame({4: 2**31 - 1}) + ACKNOWLEDGEMENT + wire.window_update(0, 2**30)
"""A greeting that lets the server send without end."""


def block(path: str = CONNECT, *more: tuple[str, str]) -> bytes:
    """Encode the fields of a call."""
    pseudo = ((":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "here"))
    return encode([*pseudo, ("content-type", "application/grpc"), ("te", "trailers"), *more])


CONNECT_BLOCK = block()
STATUS = re.compile(rb"\x0bgrpc-status[\x01\x02]([0-9]+)").search
"""Finds the status among the fields of a call's end, which the server encodes plainly."""


def request(stream_id: int, fields: bytes = CONNECT_BLOCK, *, ended: bool = False) -> bytes:
    """Open a stream."""
    return wire.header_frames(stream_id, fields, wire.SMALLEST_MAX_FRAME, ended=ended)


def data(stream_id: int, payload: bytes, flags: int = 0) -> bytes:
    """Make DATA frames."""
    size = wire.SMALLEST_MAX_FRAME
    parts = [payload[at : at + size] for at in range(0, len(payload), size)] or [b""]
    return b"".join(wire.frame(Kind.DATA, flags, stream_id, part) for part in parts)


def message(payload: bytes, *, packed: bool = False) -> bytes:
    """Put a prefix of gRPC before a message."""
    return bytes([packed]) + wire.LONG.pack(len(payload)) + payload


def data_bytes(frames: bytes) -> int:
    """Return how much whole frames take of the windows."""
    at = size = 0
    while at < len(frames):
        head, _, _ = wire.HEADER.unpack_from(frames, at)
        at += wire.HEADER_SIZE + (head >> 8)
        if head & 0xFF == Kind.DATA:
            size += head >> 8
    return size


class Attacker(asyncio.Protocol):
    """One connection of an attacker.

    Attributes:
        goaway: the code that the server ended the connection with; None as long as it has not.
        answered: on which streams the server sent fields.
        ended: which streams the server ended or reset.
        statuses: what gRPC's status was that a stream ended with.
        taken: how many bytes of DATA came.
        pings: how many pings it answered.
        window: how many bytes of DATA the connection takes.
        windows: how many a stream takes, beyond those that it takes at first.
        gone: whether the connection is closed.
    """

    def __init__(self) -> None:
        self.goaway: int | None = None
        self.answered: set[int] = set()
        self.ended: set[int] = set()
        self.statuses: dict[int, int] = {}
        self.taken = 0
        self.pings = 0
        self.window = 65_535
        self.windows: Counter[int] = Counter()
        self.gone = False
        self.transport: asyncio.Transport
        self._rest = b""
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    @classmethod
    async def connect(cls, address: str, greeting: bytes = GREETING, *, reads: bool = True, **options: Any) -> Self:
        """Connect, and greet; the options are those of ``create_connection``."""
        host, _, port = address.rpartition(":")
        _, attacker = await asyncio.get_running_loop().create_connection(cls, host, int(port), **options)
        if not reads:
            attacker.transport.pause_reading()
        attacker.transport.write(greeting)
        return attacker

    @property
    def over(self) -> bool:
        """Whether the server takes no more."""
        return self.gone or self.goaway is not None

    async def send(self, frames: bytes) -> None:
        """Send, and wait until there is room for more, or the connection is gone."""
        if not self.gone:
            self.transport.write(frames)
            await asyncio.sleep(0)
            await self._room.wait()

    async def flood(self, chunks: Iterable[bytes]) -> None:
        """Send one after the other until the server ends the connection."""
        for chunk in chunks:
            await self.send(chunk)
            if self.over:
                return

    async def work(self, chunks: Iterable[bytes]) -> None:
        """Send one after the other, no faster than the window of the connection allows."""
        for chunk in chunks:
            size = data_bytes(chunk)
            await self.until(lambda size=size: self.window >= size or self.over)  # type: ignore[misc]
            if self.over:
                return
            self.window -= size
            await self.send(chunk)

    async def send_message(self, stream_id: int, sent: bytes) -> None:
        """Send what may be more than the windows allow at once, until it is sent or the stream has ended."""
        at = 0
        self.windows[stream_id] += DEFAULT_WINDOW

        def room() -> int:
            return min(len(sent) - at, self.window, self.windows[stream_id], wire.SMALLEST_MAX_FRAME)

        while at < len(sent) and not self.over:
            await self.until(lambda: room() > 0 or stream_id in self.ended)
            if stream_id in self.ended:
                return
            size = room()
            self.window -= size
            self.windows[stream_id] -= size
            await self.send(wire.frame(Kind.DATA, 0, stream_id, sent[at : at + size]))
            at += size

    async def is_heard(self) -> None:
        """Wait until the server has seen all that was sent."""
        seen = self.pings
        await self.send(PING)
        await self.until(lambda: self.pings > seen)

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for something that the server sends, or for the end of the connection."""
        while not (true() or self.gone):
            self._changed.clear()
            await self._changed.wait()

    async def end(self) -> int | None:
        """Wait until the connection is gone; return the code of GOAWAY."""
        self.transport.resume_reading()
        await self.until(lambda: self.gone)
        return self.goaway

    def close(self) -> None:
        """Be gone."""
        if not self.gone:
            self.transport.abort()

    # --- what the loop says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Look at the frames."""
        rest, at = self._rest + data, 0
        while len(rest) - at >= wire.HEADER_SIZE:
            head, flags, stream_id = wire.HEADER.unpack_from(rest, at)
            begin = at + wire.HEADER_SIZE
            end = begin + (head >> 8)
            if end > len(rest):
                break
            self._on_frame(head & 0xFF, flags, stream_id, rest[begin:end])
            at = end
        self._rest = rest[at:]
        self._changed.set()

    def _on_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == Kind.GOAWAY:
            self.goaway = int.from_bytes(payload[4:8], "big")
        elif kind == Kind.PING and flags & wire.ACK:
            self.pings += 1
        elif kind == Kind.PING:
            self.transport.write(wire.frame(Kind.PING, wire.ACK, 0, payload))
        elif kind == Kind.WINDOW_UPDATE and not stream_id:
            self.window += int.from_bytes(payload, "big")
        elif kind == Kind.WINDOW_UPDATE:
            self.windows[stream_id] += int.from_bytes(payload, "big")
        elif kind == Kind.DATA:
            self.taken += len(payload)
        elif kind == Kind.HEADERS:
            self.answered.add(stream_id)
            if status := STATUS(payload):
                self.statuses[stream_id] = int(status[1])
        if kind == Kind.RST_STREAM or (kind == Kind.HEADERS and flags & wire.END_STREAM):
            self.ended.add(stream_id)

    def pause_writing(self) -> None:
        """Wait with more."""
        self._room.clear()

    def resume_writing(self) -> None:
        """Go on."""
        self._room.set()

    def connection_lost(self, error: Exception | None) -> None:
        """Note it."""
        self.gone = True
        self._room.set()
        self._changed.set()
