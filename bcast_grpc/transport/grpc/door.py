"""The gRPC door: the service ``Chat``, health and reflection, over the server's own HTTP/2."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from google.rpc import code_pb2

from bcast_grpc.core.peers import network_of
from bcast_grpc.errors import CallError
from bcast_grpc.http2 import Limits
from bcast_grpc.http2.events import HeadersReceived
from bcast_grpc.http2.limits import DEFAULT_WINDOW, LARGEST_WINDOW
from bcast_grpc.transport.address import Address
from bcast_grpc.transport.door import Door, Shared
from bcast_grpc.transport.framer import Framer
from bcast_grpc.transport.grpc.call import Call, Carrier
from bcast_grpc.transport.grpc.chat_call import ChatCall
from bcast_grpc.transport.grpc.connection import Connection
from bcast_grpc.transport.grpc.headers import Head, read_head
from bcast_grpc.transport.grpc.kept import Kept
from bcast_grpc.transport.grpc.lane import Framings
from bcast_grpc.transport.grpc.messages import StatusError, with_prefix
from bcast_grpc.transport.grpc.resources import Resources
from bcast_grpc.transport.grpc.services import Services
from bcast_grpc.transport.grpc.unpacking import Unpacking
from bcast_grpc.transport.listeners import Listeners
from bcast_grpc.transport.rpc import SERVICE, read_peer
from bcast_grpc.transport.serving import Serving

_CHAT = f"/{SERVICE}/"
_CONNECT, _SUBSCRIBE = (f"/{SERVICE}/{name}" for name in ("Connect", "Subscribe"))


class GrpcDoor(Door):
    """Serves gRPC.

    Args:
        shared: what all doors share.
        address: where to listen.
        max_streams: how many calls a connection may have at once.
    """

    def __init__(self, shared: Shared, address: Address, *, max_streams: int) -> None:
        self._shared = shared
        self._listeners = Listeners(shared, address)
        self._limits = _limits(max_streams)
        self._connections: set[Connection] = set()
        self._closed = asyncio.Event()
        self._kept = Kept(shared.hub.capacity.budget)
        self._serving = Serving()
        self._resources = Resources(shared, self._serving, Framer(with_prefix), Framings(), Unpacking())
        self._services = Services(self._resources)

    async def open(self) -> Sequence[str]:
        """Listen, and answer health checks."""
        url = await self._listeners.open("grpc", partial(Connection, self._shared, self._limits, self))
        await self._services.health.begin()
        return [url]

    async def drain(self) -> None:
        """Report as not serving, and ask clients to make their next calls elsewhere."""
        await self._services.health.drain()
        for connection in list(self._connections):
            connection.announce_drain()

    async def stop(self, grace_s: float) -> None:
        """Accept no more clients, and disconnect those whose calls have not ended after ``grace_s``."""
        self._listeners.close()
        for connection in list(self._connections):
            connection.go_away()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._wait_until_none()
        for connection in list(self._connections):
            connection.abort()
        await self._wait_until_none()  # their calls are dropped in turns
        await self._serving.end(0)

    async def _wait_until_none(self) -> None:
        while self._connections:
            self._closed.clear()
            await self._closed.wait()

    # --- called by connections

    def opened(self, connection: Connection) -> None:
        """Count a connection."""
        self._connections.add(connection)

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)
        self._closed.set()

    def begin(self, carrier: Carrier, event: HeadersReceived) -> Call:
        """Make a call from a request; it is counted until it is let in or over."""
        try:
            return self._begin(carrier, event)
        except CallError as error:
            self._shared.hub.counts.errors[error.code] += 1
            raise

    def _begin(self, carrier: Carrier, event: HeadersReceived) -> Call:
        head = read_head(event.fields, secret=event.secret)
        capacity = self._shared.hub.capacity
        network = network_of(read_peer(head.metadata, carrier.peer, self._shared.connections.proxies))
        capacity.begin_asking(network)
        try:
            call = self._call(carrier, event, head)
        except BaseException:
            capacity.end_asking(network)
            raise
        call.network, call.asks = network, True
        return call

    def _call(self, carrier: Carrier, event: HeadersReceived, head: Head) -> Call:
        if head.path.startswith(_CHAT):  # health checks are answered all the same
            self._shared.hub.capacity.check_memory()
        if head.path in (_CONNECT, _SUBSCRIBE):
            is_reader = head.path == _SUBSCRIBE
            return ChatCall(carrier, event.stream_id, head, self._resources, is_reader=is_reader)
        if call := self._services.call(carrier, event.stream_id, head):
            return call
        raise StatusError(code_pb2.UNIMPLEMENTED, f"{head.path[:128]}: there is no such method")

    def let_in(self, call: Call) -> None:
        """Note that a call waits no more: it was let in, or is over."""
        if call.asks:
            self._shared.hub.capacity.end_asking(call.network)
            call.asks = False

    def keep(self, call: Call, size: int) -> Call | None:
        """Note how many bytes of messages a call keeps."""
        return self._kept.keep(call, size)


def _limits(max_streams: int) -> Limits:
    """Return what a connection allows its client: so much in all that calls that do not read leave room for the others.

    A proxy may have calls of many clients on it. What they keep is bounded elsewhere: see ``Kept``.
    """
    most = 2 * max_streams * DEFAULT_WINDOW  # the window opens again once half of it has been processed
    return Limits(max_concurrent_streams=max_streams, connection_window=min(most, LARGEST_WINDOW))
