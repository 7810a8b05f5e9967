"""A connection of the HTTP port: what it receives goes to aiohttp in portions."""

from __future__ import annotations

from asyncio import timeout
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from time import perf_counter
from typing import Any

from aiohttp import WSMessage, WSMsgType, web

from bcast_grpc.transport.connections import Connections
from bcast_grpc.transport.first_request import MAX_BYTES
from bcast_grpc.transport.http_requests import HttpRequests
from bcast_grpc.transport.one_by_one import OneByOne
from bcast_grpc.transport.portions import Portions

_PORTION_BYTES = 4096
_PORTION_S = 0.0005
_MAX_UNREAD_BYTES = 32 * 2**10
_CONTROL_HEAD_BYTES = 6  # of a ping or a pong from a client


class HttpConnection(HttpRequests):
    """Speaks HTTP/1.1 with one client.

    A segment may hold 40 000 frames of a WebSocket, and aiohttp would make a message of each before anyone reads one.
    So it gets them in portions, and only while somebody waits for one: see ``reading``.
    The same holds for requests that come before earlier ones are answered: few are parsed ahead.

    Args:
        server: what answers its requests.
        portions: who is fed when.
        requests: whose requests are answered when.
        head_s: how long the headers of a request may take, those of the first from the beginning of the connection.
        connections: those of all doors.
        peer: the client's address.
    """

    __slots__ = ("_allowed", "_exceeded", "_is_read", "_portions", "_unfinished", "_unread")

    def __init__(
        self,
        server: web.Server,
        portions: Portions,
        requests: OneByOne,
        head_s: float,
        connections: Connections,
        peer: str,
        **options: Any,
    ) -> None:
        super().__init__(server, requests, head_s, connections, peer, **options)
        self._is_read = False
        self._portions = portions
        self._unread = bytearray()
        self._unfinished = 0  # bytes of a WebSocket's message that have come so far
        self._allowed: int | None = MAX_BYTES  # how much more a WebSocket gets before its client is let in
        self._exceeded: Callable[[], None] | None = None

    def data_received(self, data: bytes) -> None:
        """Pass received data on to aiohttp, as fast as requests are answered, or a WebSocket is read."""
        if not (data or self._upgraded):  # aiohttp has parsed as many requests as it keeps, and goes on
            self._take_in(data)
            return
        self._unread += data
        if self._takes:
            if len(self._unread) <= _PORTION_BYTES:
                self._feed_portion()
            else:
                self._portions.ask(self)
        self._hold()

    @property
    def _takes(self) -> bool:
        """Whether what is unread may be passed on: no request waits, or somebody waits for a frame."""
        return self._is_read if self._upgraded else not (self._messages or self._buffer_paused)

    async def _handle_request(self, *args: Any) -> tuple[web.StreamResponse, bool]:
        if self._unread:
            self._portions.ask(self)  # perhaps no further request waits
        return await super()._handle_request(*args)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Pass received data to the WebSocket while somebody waits for a frame."""
        self._is_read = True
        if self._unread:
            self._portions.ask(self)
        try:
            yield
        finally:
            self._is_read = False
            self._portions.withdraw(self)

    @asynccontextmanager
    async def before_admission(self) -> AsyncIterator[None]:
        """Raise ``TimeoutError`` in the block when a client that is not let in has sent more than it may."""
        async with timeout(None) as limit:
            self._exceeded = lambda: limit.reschedule(self._loop.time())
            try:
                yield
            finally:
                self._exceeded = None

    def received(self, message: WSMessage) -> None:
        """Note that the WebSocket has got a message. A ping may come in the middle of another one."""
        if message.type in (WSMsgType.PING, WSMsgType.PONG):
            self._unfinished = max(0, self._unfinished - len(message.data) - _CONTROL_HEAD_BYTES)
        else:
            self._unfinished = 0
            self._connections.unfinished.forget(self.transport)

    def admitted(self) -> None:
        """Note that the client is let in: its WebSocket may receive everything, and there are no more requests."""
        self._allowed = None
        self._parser = None  # which knows the last one's headers

    def feed(self) -> None:
        """Pass a portion of the unread data to aiohttp, and ask for another turn if there are more."""
        held = len(self._unread) > _MAX_UNREAD_BYTES
        over_at = perf_counter() + _PORTION_S
        while self._unread and self._takes and perf_counter() < over_at:
            self._feed_portion()
            if self._allowed is not None:
                break  # one message may be all that it takes
        if self._unread and self._takes:
            self._portions.ask(self)
        if held and len(self._unread) <= _MAX_UNREAD_BYTES and self.transport:
            with suppress(RuntimeError):  # it is closing
                self.transport.resume_reading()

    def resume_reading(self, *args: Any, **options: Any) -> None:
        """Read on, unless enough data are unread here, which aiohttp does not know of."""
        super().resume_reading(*args, **options)
        self._hold()

    def _hold(self) -> None:
        if len(self._unread) > _MAX_UNREAD_BYTES and self.transport:
            with suppress(RuntimeError):  # it is closing
                self.transport.pause_reading()

    def _feed_portion(self) -> None:
        portion = bytes(self._unread[:_PORTION_BYTES])
        del self._unread[:_PORTION_BYTES]
        if not self._upgraded or self._allows(portion):
            self._take_in(portion)
        if self._upgraded and self.transport:
            self._unfinished += len(portion)
            self._connections.unfinished.keep(self.transport, self._unfinished)

    def _allows(self, portion: bytes) -> bool:
        if self._allowed is None:
            return True
        self._allowed -= len(portion)
        if self._allowed < 0 and self._exceeded:
            self._exceeded()
            self._exceeded = None
        return self._allowed >= 0

    def connection_lost(self, exc: BaseException | None) -> None:
        """End the connection, once everything that was received has been read."""
        if self._unread:
            self._feed_portion()
            self._loop.call_soon(self.connection_lost, exc)
            return
        self._portions.withdraw(self)
        super().connection_lost(exc)
