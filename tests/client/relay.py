"""Something between a client and its server that speaks HTTP/2: it passes everything on, until it is told otherwise."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Self, TypeAlias

Frames: TypeAlias = Callable[[int], bytes]
"""What is said to the client on a stream, given its number."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _GOAWAY = 0, 1, 3, 4, 7
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame of HTTP/2."""
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def headers(stream: int, *fields: tuple[str, str], end: bool = False) -> bytes:
    """Header fields, as literals."""
    block = b""
    for name, value in fields:
        block += bytes((0, len(name))) + name.encode() + bytes((len(value),)) + value.encode()
    return frame(_HEADERS, _END_HEADERS | (_END_STREAM if end else 0), stream, block)


def reset(code: int) -> Frames:
    """The stream is broken off."""
    return lambda stream: frame(_RST_STREAM, 0, stream, code.to_bytes(4))


def goaway(code: int) -> Frames:
    """The connection is to be left."""
    return lambda stream: frame(_GOAWAY, 0, 0, stream.to_bytes(4) + code.to_bytes(4))


def trailers(*fields: tuple[str, str]) -> Frames:
    """The stream ends with these."""
    return lambda stream: headers(stream, *fields, end=True)


def data(body: bytes, *, end: bool = False) -> Frames:
    """Bytes that the server did not send."""
    return lambda stream: frame(_DATA, _END_STREAM if end else 0, stream, body)


def http(status: int, body: str = "<html><h1>Sorry</h1></html>") -> Frames:
    """The answer of a web server."""

    def answer(stream: int) -> bytes:
        first = headers(stream, (":status", str(status)), ("content-type", "text/html"), end=not body)
        return first + (data(body.encode(), end=True)(stream) if body else b"")

    return answer


def trailers_only(*fields: tuple[str, str]) -> Frames:
    """The answer of a gRPC server, or of a proxy that plays one, that does not let anybody in."""
    return lambda stream: headers(stream, (":status", "200"), ("content-type", "application/grpc"), *fields, end=True)


class Relay:
    """Stands between.

    Attributes:
        answers: what new calls are answered with, instead of being passed on, one after the other.
        calls: how many there were.
    """

    def __init__(self, server: str) -> None:
        self.answers: list[Frames] = []
        self.calls = 0
        self._server = server
        self._listening: asyncio.Server
        self._links: dict[_Link, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.target = "{}:{}".format(*self._listening.sockets[0].getsockname())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.close()
        for link in self._links:
            link.close()
        await asyncio.gather(*self._links.values())

    def say(self, frames: Frames) -> None:
        """Say something to all clients in the server's place, and pass on no more of what it says."""
        for link in self._links:
            link.interrupt(frames)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls += 1
        link = _Link(reader, writer, self.answers.pop(0) if self.answers else None)
        self._links[link] = asyncio.create_task(link.run(self._server))
        self._links[link].add_done_callback(lambda _: self._links.pop(link))


class _Link:
    """One client's connection, with a single stream, which has number 1."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Frames | None) -> None:
        self._reader = reader
        self._writers = [writer]
        self._answer = answer
        self._interruption: Frames | None = None
        self._between_frames = True
        self._over = False

    async def run(self, server: str) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if self._answer:
                await self._play(self._answer)
            else:
                await self._pass_on(server)
        self.close()

    def interrupt(self, frames: Frames) -> None:
        self._interruption = frames
        if self._between_frames:
            self._interrupt(frames)

    def close(self) -> None:
        for writer in self._writers:
            writer.close()

    def _interrupt(self, frames: Frames) -> None:
        self._over = True
        self._writers[0].write(frames(1))

    async def _pass_on(self, server: str) -> None:
        host, _, port = server.rpartition(":")
        upstream, out = await asyncio.open_connection(host, int(port))
        self._writers.append(out)
        down = asyncio.create_task(self._pass_down(upstream))
        while block := await self._reader.read(65536):
            if not self._over:
                out.write(block)
                await out.drain()
        out.close()
        await down

    async def _pass_down(self, upstream: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while not self._over:
                self._between_frames = True
                head = await upstream.readexactly(9)
                self._between_frames = False
                whole = head + await upstream.readexactly(int.from_bytes(head[:3]))
                if not self._over:
                    self._writers[0].write(whole)
                    await self._writers[0].drain()
                if self._interruption and not self._over:
                    self._interrupt(self._interruption)
        if not self._over:
            self._writers[0].close()

    async def _play(self, answer: Frames) -> None:
        """Be an HTTP/2 server that gives every request this answer."""
        writer = self._writers[0]
        await self._reader.readexactly(len(PREFACE))
        writer.write(frame(_SETTINGS, 0, 0))
        while True:
            head = await self._reader.readexactly(9)
            await self._reader.readexactly(int.from_bytes(head[:3]))
            if head[3] == _SETTINGS and not head[4] & _ACK:
                writer.write(frame(_SETTINGS, _ACK, 0))
            elif head[3] == _HEADERS:
                writer.write(answer(int.from_bytes(head[5:9])))
