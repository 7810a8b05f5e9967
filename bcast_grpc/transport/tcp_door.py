"""The TCP door: JSON objects over a plain socket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing
from copy import copy

from bcast_grpc.core import notices
from bcast_grpc.core.batch import Codec
from bcast_grpc.core.hello import Hello
from bcast_grpc.errors import CallError
from bcast_grpc.events import Request
from bcast_grpc.transport.address import Address
from bcast_grpc.transport.connections import peer_of, port_of
from bcast_grpc.transport.door import Door, Shared
from bcast_grpc.transport.ending import ConnectionGone, ending
from bcast_grpc.transport.lingering import Linger, taken
from bcast_grpc.transport.liveness import Liveness, acked
from bcast_grpc.transport.serving import BACKLOG, Serving
from bcast_grpc.transport.stream import Stream
from bcast_grpc.transport.turns import LIGHT_BYTES, Turns
from bcast_grpc.wire import json_events, json_requests

_LINES = Codec(json_events.encode_lines, json_events.MAX_BATCH_BYTES, json_requests.split_lines)
_SEGMENT_BYTES = 16 * 1024


class TcpDoor(Door):
    """Serves TCP connections. Each is in the room ``lobby`` from the accept on, without a name.

    Args:
        shared: what all doors share.
        address: where to listen.
    """

    def __init__(self, shared: Shared, address: Address) -> None:
        self._shared = shared
        self._address = address
        self._servers: list[asyncio.Server] = []
        self._serving = Serving()

    async def open(self) -> Sequence[str]:
        """Listen."""
        sockets = self._address.listen()
        self._servers = [await asyncio.start_server(self._accept, sock=one, backlog=BACKLOG) for one in sockets]
        port: int = sockets[0].getsockname()[1]
        self._shared.connections.ports.add(port)
        return [self._address.url("tcp", port)]

    async def stop(self, grace_s: float) -> None:
        """Accept nobody more, and disconnect those that are still connected after ``grace_s``."""
        for server in self._servers:
            server.close()
        await self._serving.end(grace_s)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._shared.connections.crowded():
            writer.transport.abort()
            return
        # A task that asyncio makes is reported as a fault when it is cancelled.
        self._serving.start(self._serve(reader, writer))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = peer_of(writer.transport)
        try:
            await ending(self._converse(reader, writer, peer), peer, OSError)
        finally:
            writer.transport.abort()  # what it did not read until now, it never will

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
        liveness = Liveness(writer.transport, self._shared.keepalive_s)
        connection = _Connection(reader, writer, self._shared.scheduler.turns)
        try:
            with self._shared.connections.carrying(port_of(peer)):
                ended = await ending(self._talk(connection, peer), peer, OSError)
            if not ended.gone:
                await connection.end(ended.error)
        finally:
            liveness.stop()

    async def _talk(self, connection: _Connection, peer: str) -> None:
        admission = await self._shared.hub.admit(Hello(), peer)
        with closing(Stream(admission, self._shared.scheduler, _LINES)) as stream:
            await stream.serve(connection.write, connection.read, connection.acked)


class _Connection:
    """Reads requests from a socket, and writes frames to it."""

    __slots__ = ("_reader", "_requests", "_turns", "_writer")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, turns: Turns) -> None:
        self._turns = turns
        self._reader = reader
        self._writer = writer
        self._requests = json_requests.RequestReader()

    async def read(self) -> Iterator[Sequence[Request]] | None:
        if self._requests.fault:
            raise copy(self._requests.fault)
        try:
            segment = await self._reader.read(_SEGMENT_BYTES)
        except OSError as error:
            error.__traceback__ = None  # the reader keeps it, and it would keep us
            raise ConnectionGone(str(error)) from None
        if segment:
            if len(segment) > LIGHT_BYTES:
                await self._turns.take()
            return self._requests.read(segment)
        self._requests.close()
        if self._requests.fault:
            raise copy(self._requests.fault)
        return None

    async def write(self, frame: bytes) -> None:
        self._put(frame)
        await self._writer.drain()

    def acked(self) -> int:
        """Return how many bytes the client has acknowledged."""
        return acked(self._writer.transport)

    async def end(self, error: CallError | None) -> None:
        """Send what the stream ends with; wait until the client has read everything and has closed its end too.

        A socket that is closed with something unread in it is reset, and what was last written to it is lost.
        """
        if error:
            for frame, *_ in _LINES.frames([notices.error(error, "")]):
                self._put(frame)
        if self._writer.is_closing():
            return
        async with Linger() as linger:
            linger.watch(self.acked)
            linger.begin()
            self._writer.write_eof()  # once all before it is written
            while await self._reader.read(_SEGMENT_BYTES):
                pass
            await taken(self._writer.transport)  # who had hung up before still reads

    def _put(self, frame: bytes) -> None:
        if self._writer.is_closing():  # uvloop takes that for a fault of the program's
            raise ConnectionGone("it was lost")
        self._writer.write(frame)
