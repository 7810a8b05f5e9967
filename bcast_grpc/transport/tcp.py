"""The plain door: JSON objects over a bare TCP socket, as in the exercise it all began with."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from copy import copy

from bcast_grpc.core import notices
from bcast_grpc.core.batch import Codec
from bcast_grpc.core.hello import Hello
from bcast_grpc.core.hub import Hub
from bcast_grpc.errors import CallError
from bcast_grpc.events import Request
from bcast_grpc.transport.connections import Connections, peer_of, port_of
from bcast_grpc.transport.lingering import Linger, taken
from bcast_grpc.transport.liveness import Liveness, acked
from bcast_grpc.transport.scheduler import LoopScheduler
from bcast_grpc.transport.serving import BACKLOG, Serving
from bcast_grpc.transport.stream import ConnectionGone, Stream, fault
from bcast_grpc.transport.turns import LIGHT_BYTES, Turns
from bcast_grpc.wire import json

logger = logging.getLogger(__name__)

_LINES = Codec(json.encode_lines, json.MAX_BATCH_BYTES, json.split_lines)
_SEGMENT_BYTES = 16 * 1024


class TcpDoor:
    """Serves TCP connections. Each is in the room ``lobby`` from the accept on, without a name.

    Args:
        hub: where the clients go.
        scheduler: the loop that the hub flushes in.
        keepalive_s: how long a connection is silent before it is probed.
        connections: counts those that carry a client.
    """

    def __init__(
        self,
        hub: Hub,
        scheduler: LoopScheduler,
        keepalive_s: float,
        *,
        connections: Connections,
    ) -> None:
        self._hub = hub
        self._scheduler = scheduler
        self._keepalive_s = keepalive_s
        self._connections = connections
        self._servers: list[asyncio.Server] = []
        self._serving = Serving()

    async def start(self, sockets: Iterable[socket.socket]) -> None:
        """Take in clients from sockets that listen."""
        self._servers = [await asyncio.start_server(self._accept, sock=one, backlog=BACKLOG) for one in sockets]

    async def stop(self, grace_s: float) -> None:
        """Take in nobody more, and cut off who is still there after ``grace_s``."""
        for server in self._servers:
            server.close()
        await self._serving.end(grace_s)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connections.crowded():
            writer.transport.abort()
            return
        # A task that asyncio makes is reported as a fault when it is cancelled.
        self._serving.start(self._serve(reader, writer))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = peer_of(writer.transport)
        liveness: Liveness | None = None
        try:
            liveness = Liveness(writer.transport, self._keepalive_s)
            connection = _Connection(reader, writer, self._scheduler.turns)
            with self._connections.carrying(port_of(peer)):
                error = await self._talk(connection, peer)
            if error:
                connection.say(error)
            await connection.hang_up()
        except (ConnectionGone, OSError, TimeoutError) as lost:
            logger.debug("%s is gone: %s", peer, lost)
            lost.__traceback__ = None
        finally:
            if liveness:
                liveness.stop()
            writer.transport.abort()  # what it did not read until now, it never will

    async def _talk(self, connection: _Connection, peer: str) -> CallError | None:
        """Serve a client until its stream ends; return what it ends with, where that is not well."""
        try:
            admission = await self._hub.admit(Hello(), peer)
            with closing(Stream(admission, self._scheduler, _LINES)) as stream:
                await stream.serve(connection.write, connection.read, connection.acked)
        except CallError as error:
            return copy(error)
        except (ConnectionGone, OSError):
            raise
        except Exception:
            logger.exception("a fault while serving %s", peer)
            return fault()
        return None


class _Connection:
    """Reads requests from a socket, and writes frames to it."""

    __slots__ = ("_reader", "_requests", "_turns", "_writer")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, turns: Turns) -> None:
        self._turns = turns
        self._reader = reader
        self._writer = writer
        self._requests = json.RequestReader()

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

    def say(self, error: CallError) -> None:
        """Say what it ends with."""
        for frame, _, _ in _LINES.frames([notices.error(error, "")]):
            self._put(frame)

    def acked(self) -> int:
        """Return how many bytes the client has acknowledged."""
        return acked(self._writer.transport)

    async def hang_up(self) -> None:
        """Wait until the client has read everything and hung up too.

        A socket that is closed with something unread in it is reset, and what was last written to it is lost.
        """
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
