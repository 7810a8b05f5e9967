"""What may stand between a client and the server: it passes HTTP/2 on frame by frame, and breaks it as proxies do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

_PREFACE_BYTES = 24
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING = 0, 1, 3, 4, 6
_ACK = _END_STREAM = 1
_END_HEADERS = 4
_CANCEL = 8


class _Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes = b""

    def encode(self) -> bytes:
        head = len(self.payload).to_bytes(3, "big") + bytes([self.kind, self.flags])
        return head + self.stream.to_bytes(4, "big") + self.payload


@dataclass(eq=False)
class _Connection:
    """A client and, unless it is answered here, the server; the streams they opened, and those that were broken."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    streams: set[int] = field(default_factory=set)
    broken: set[int] = field(default_factory=set)

    def passes(self, frame: _Frame) -> bool:
        if frame.kind == _HEADERS:
            self.streams.add(frame.stream)
        return frame.stream not in self.broken

    def abort(self) -> None:
        self.client.transport.abort()
        if self.server:
            self.server.transport.abort()


class Between:
    """A relay between clients and the server.

    Attributes:
        address: what clients connect to.
        answer: what new connections get instead of the server: an HTTP status with a page.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self.address = ""
        self.answer = 0
        self._target = host, int(port)
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def stand(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = "{}:{}".format(*self._server.sockets[0].getsockname())

    def reset_streams(self, code: int) -> None:
        """Reset all streams with this error code; the connections stay."""
        self._break_streams(lambda stream: _Frame(_RST_STREAM, 0, stream, code.to_bytes(4, "big")))

    def end_streams(self) -> None:
        """Let all streams end well, though nobody left."""
        trailers = _header(b"grpc-status", b"0")
        self._break_streams(lambda stream: _Frame(_HEADERS, _END_HEADERS | _END_STREAM, stream, trailers))

    def cut(self) -> None:
        """Break all connections."""
        for connection in self._connections:
            connection.abort()

    async def leave(self) -> None:
        """Be gone."""
        if self._server:
            self._server.close()
        self.cut()

    def _break_streams(self, ending: Callable[[int], _Frame]) -> None:
        for connection in self._connections:
            for stream in connection.streams - connection.broken:
                connection.client.write(ending(stream).encode())
                if connection.server:
                    connection.server.write(_Frame(_RST_STREAM, 0, stream, _CANCEL.to_bytes(4, "big")).encode())
            connection.broken |= connection.streams

    async def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        connection = _Connection(client)
        self._connections.add(connection)
        try:
            with suppress(OSError, EOFError):
                preface = await reader.readexactly(_PREFACE_BYTES)
                if self.answer:
                    await self._answer(reader, client, self.answer)
                else:
                    await self._pass_on(preface, reader, connection)
        finally:
            self._connections.discard(connection)
            connection.abort()

    async def _answer(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter, status: int) -> None:
        client.write(_Frame(_SETTINGS, 0, 0).encode())
        while True:
            frame = await _read(reader)
            if frame.kind in (_SETTINGS, _PING) and not frame.flags & _ACK:
                client.write(_Frame(frame.kind, _ACK, 0, frame.payload if frame.kind == _PING else b"").encode())
            elif frame.kind == _HEADERS:
                headers = _header(b":status", b"%d" % status) + _header(b"content-type", b"text/html")
                client.write(_Frame(_HEADERS, _END_HEADERS, frame.stream, headers).encode())
                client.write(_Frame(_DATA, _END_STREAM, frame.stream, b"<h1>Sorry</h1>\n").encode())
                client.write(_Frame(_RST_STREAM, 0, frame.stream, bytes(4)).encode())

    async def _pass_on(self, preface: bytes, reader: asyncio.StreamReader, connection: _Connection) -> None:
        server_reader, connection.server = await asyncio.open_connection(*self._target)
        connection.server.write(preface)
        both = [
            asyncio.create_task(_flow(reader, connection.server, connection)),
            asyncio.create_task(_flow(server_reader, connection.client, connection)),
        ]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        connection.abort()  # which ends the other one
        await asyncio.gather(*both, return_exceptions=True)


async def _flow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: _Connection) -> None:
    while True:
        frame = await _read(reader)
        if connection.passes(frame):
            writer.write(frame.encode())
            await writer.drain()


async def _read(reader: asyncio.StreamReader) -> _Frame:
    head = await reader.readexactly(9)
    payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
    return _Frame(head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFF_FFFF, payload)


def _header(name: bytes, value: bytes) -> bytes:
    """Encode a header in the way that needs no state: literal, never indexed."""
    return b"\x10%c%b%c%b" % (len(name), name, len(value), value)
