"""The gRPC door on ``grpc.aio``: the engine with its options, the service ``Chat``, health and reflection."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any, TypeAlias, TypeVar

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status

from bcast_grpc.core.admission import Admission
from bcast_grpc.core.hello import Hello
from bcast_grpc.core.identity import Caller
from bcast_grpc.core.peers import network_of
from bcast_grpc.core.publisher import Publisher
from bcast_grpc.events import Request
from bcast_grpc.transport.address import Address, CannotStart
from bcast_grpc.transport.connections import Connections, listening_on, port_of
from bcast_grpc.transport.coroutines import CoroutineLine
from bcast_grpc.transport.door import Door, Shared
from bcast_grpc.transport.ending import ending
from bcast_grpc.transport.entering import admit
from bcast_grpc.transport.health import Health
from bcast_grpc.transport.publishing import Publishing
from bcast_grpc.transport.rpc import (
    SERVICE,
    codec_for,
    initial_metadata,
    read_caller,
    read_metadata,
    status,
)
from bcast_grpc.transport.socket_options import let_pings_pass
from bcast_grpc.transport.stream import Stream
from bcast_grpc.transport.tls.certificates import Certificates, Loaded
from bcast_grpc.transport.tls.peer import subject_of_pem
from bcast_grpc.transport.turns import LIGHT_BYTES, Turns
from bcast_grpc.wire import protobuf

logger = logging.getLogger(__name__)

T = TypeVar("T")

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"

_NO_BOUND = 2**31 - 1
_LONG_S = 3600


class GrpcioDoor(Door):
    """Serves gRPC.

    Args:
        shared: what all doors share.
        address: where to listen.
        max_streams: how many calls a connection may have at once.
        max_connections: how many connections the engine may have open.
    """

    def __init__(self, shared: Shared, address: Address, *, max_streams: int, max_connections: int) -> None:
        self._shared = shared
        self._address = address
        self._options = options(
            shared.keepalive.interval_s,
            shared.handshake_s,
            max_streams=max_streams,
            max_connections=max_connections,
            shares_port=bool(address.given),
        )
        self._servicer = _Health(shared.connections)
        self._health = Health(shared, self._servicer)
        self._engine: grpc.aio.Server | None = None

    async def open(self) -> Sequence[str]:
        """Listen, and answer health checks."""
        address = self._address
        engine = self._engine = grpc.aio.server(options=self._options)
        engine.add_generic_rpc_handlers((ChatService(self._shared).handler(),))
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, engine)
        services = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(services, engine)
        picked = address.port
        if address.given:  # the engine binds by itself, beside these
            picked = address.given[0].getsockname()[1]
        else:
            for probe in address.listen():
                probe.close()  # gRPC reports neither in time nor clearly that an address is taken
        try:
            port = self._listen(engine, address.at(picked))
        except RuntimeError as error:  # it was taken in between
            raise CannotStart(str(error)) from None
        for one in address.given:
            one.close()
        for listener in listening_on(port):
            let_pings_pass(listener, self._shared.keepalive.interval_s)
        self._shared.connections.ports.add(port)
        await engine.start()
        await self._health.begin()
        return [address.url("grpcs" if self._shared.certificates else "grpc", port)]

    def _listen(self, engine: grpc.aio.Server, where: str) -> int:
        if certificates := self._shared.certificates:
            return engine.add_secure_port(where, credentials(certificates))
        return engine.add_insecure_port(where)

    async def drain(self) -> None:
        """Report as not serving."""
        await self._health.drain()

    async def stop(self, grace_s: float) -> None:
        """Stop the engine. There is a limit because watches of health would stay forever."""
        if self._engine:
            await self._engine.stop(grace_s)


class ChatService:
    """The three calls of ``Chat``.

    Args:
        shared: what all doors share.
    """

    def __init__(self, shared: Shared) -> None:
        self._hub = shared.hub
        self._connections = shared.connections
        self._scheduler = shared.scheduler
        self._publishing = Publishing(shared.scheduler)

    def handler(self) -> grpc.GenericRpcHandler:
        """Return what ``grpc.aio.Server.add_generic_rpc_handlers`` takes. Frames pass as bytes, encoded elsewhere."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Connect": grpc.stream_stream_rpc_method_handler(counted(self._connections, self.connect)),
                "Publish": grpc.unary_unary_rpc_method_handler(counted(self._connections, self.publish)),
                "Subscribe": grpc.unary_stream_rpc_method_handler(counted(self._connections, self.subscribe)),
            },
        )

    async def connect(self, _: AsyncIterator[bytes], context: Context) -> None:
        """Serve a client that sends and receives."""
        await self._end(context, self._serve(context, reader=False))

    async def subscribe(self, frame: bytes, context: Context) -> None:
        """Serve a client that only receives."""
        await self._end(context, self._subscribe(frame, context))

    async def publish(self, frame: bytes, context: Context) -> bytes | None:
        """Send one message, and answer once it is in the others' queues."""
        return await self._end(context, self._publish(frame, context))

    async def _subscribe(self, frame: bytes, context: Context) -> None:
        protobuf.check_subscribe(frame)
        await self._serve(context, reader=True)

    async def _serve(self, context: Context, *, reader: bool) -> None:
        metadata = context.invocation_metadata() or ()
        hello = read_metadata(metadata, self._hub.limits)
        caller = read_caller(metadata, context.peer(), self._connections.proxies, _certificate(context))
        admission = await self._admit(hello, caller)
        line = CoroutineLine(self._scheduler.writes, context.peer())
        with closing(Stream(admission, self._scheduler, codec_for(hello), line, reader=reader)) as stream:
            # Not within the stream's time limit: gRPC does not survive a cancellation in the middle of this.
            await context.send_initial_metadata(initial_metadata(stream.session, hello))
            await line.serve(stream, context.write, None if reader else partial(_read, context, self._scheduler.turns))

    async def _publish(self, frame: bytes, context: Context) -> bytes:
        metadata = context.invocation_metadata() or ()
        hello = read_metadata(metadata, self._hub.limits)
        caller = read_caller(metadata, context.peer(), self._connections.proxies, _certificate(context))
        request = protobuf.decode_publish(frame)

        async def begin(publisher: Publisher) -> None:
            await context.send_initial_metadata(initial_metadata(publisher, hello))

        admission = await self._admit(hello, caller, publishing=True)
        return protobuf.encode_publish_response(await self._publishing.publish(admission, request, begin))

    async def _admit(self, hello: Hello, caller: Caller, *, publishing: bool = False) -> Admission:
        capacity, network = self._hub.capacity, network_of(caller.peer)
        capacity.begin_asking(network)
        try:
            return await admit(self._hub, self._scheduler, hello, caller, publishing=publishing)
        finally:
            capacity.end_asking(network)

    async def _end(self, context: Context, serving: Awaitable[T]) -> T | None:
        """Serve a client, and end its call with the resulting status."""
        ended = await ending(serving, context.peer(), grpc.aio.InternalError, counts=self._hub.counts)
        if ended.error:
            try:
                await context.abort_with_status(rpc_status.to_status(status(ended.error)))
            except grpc.aio.InternalError as error:
                logger.debug("%s disconnected: %s", context.peer(), error)
        return ended.result


def _certificate(context: Context) -> str:
    """Return the name in the client's certificate; empty if it has presented none."""
    shown = next(iter(context.auth_context().get("x509_pem_cert", ())), b"")
    return (subject_of_pem(shown) or "") if shown else ""


def counted(
    connections: Connections, call: Callable[[Any, Context], Awaitable[Any]]
) -> Callable[[Any, Context], Awaitable[Any]]:
    """Count each call for its connection while it lasts."""

    async def serve(request: Any, context: Context) -> Any:
        with connections.carrying(port_of(context.peer())):
            return await call(request, context)

    return serve


async def _read(context: Context, turns: Turns) -> Iterator[Sequence[Request]] | None:
    frame = await context.read()
    if frame is grpc.aio.EOF:  # type: ignore[comparison-overlap]
        return None
    if len(frame) > LIGHT_BYTES:
        await turns.take(context.peer())
    return protobuf.read_requests(frame)


class _Health(health.aio.HealthServicer):
    """The standard service; a connection that watches it is in use."""

    def __init__(self, connections: Connections) -> None:
        super().__init__()
        self._connections = connections

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802
        """Report the status, and every change of it."""
        with self._connections.carrying(port_of(context.peer())):
            await super().Watch(request, context)


def credentials(certificates: Certificates) -> grpc.ServerCredentials:
    """Return the engine's credentials: each handshake uses the certificates that are in force then."""
    loaded, in_force = certificates.loaded, _for_engine(certificates.loaded)

    def fetch() -> grpc.ServerCertificateConfiguration | None:  # in a thread of the engine's
        nonlocal loaded
        if certificates.loaded is loaded:
            return None
        loaded = certificates.loaded
        return _for_engine(loaded)

    fetcher: Any = fetch  # its stub does not know that None means the same as before
    return grpc.dynamic_ssl_server_credentials(in_force, fetcher, certificates.requires_clients)


def _for_engine(loaded: Loaded) -> grpc.ServerCertificateConfiguration:
    cert, key, *client_ca = loaded.contents
    return grpc.ssl_server_certificate_configuration([(key, cert)], client_ca[0] if client_ca else None)


def options(
    keepalive_s: float, handshake_s: float, *, max_streams: int, max_connections: int, shares_port: bool = False
) -> list[tuple[str, int]]:
    """Return the options of the engine."""
    # A slow peer answers a ping when it has read what is before it, so it has most of the time that there is. Only the
    # ping timeout tells who is frozen: the core never sets the timer of its keepalive timeout (as of 1.85).
    ping_ms = max(1, round(keepalive_s * 400))
    answer_ms = max(1, min(round(keepalive_s * 1500), 2**31 - 1))  # what gRPC has room for
    return [
        # Otherwise a second server on the port would silently take half of the clients.
        ("grpc.so_reuseport", int(shares_port)),
        ("grpc.max_receive_message_length", protobuf.MAX_REQUEST_BYTES),
        ("grpc.max_send_message_length", -1),
        # Otherwise a client that keeps sending large frames would have 50 MB under way, which would be read first.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.enable_channelz", 0),  # nobody is offered it, and it would cost 600 bytes for each client
        ("grpc.keepalive_time_ms", ping_ms),
        ("grpc.keepalive_timeout_ms", answer_ms),
        ("grpc.http2.ping_timeout_ms", answer_ms),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", 1000),  # clients may ping too
        # What has arrived waits for its turn, however many come at once: the core would cancel, in silence, what it
        # draws by lot of more than 1000, all of more than 3000, and who waits for longer than 30 s.
        ("grpc.server.max_pending_requests", _NO_BOUND),
        ("grpc.server.max_pending_requests_hard_limit", _NO_BOUND),
        ("grpc.server_max_unrequested_time_in_server", _LONG_S),
        ("grpc.server_handshake_timeout_ms", round(handshake_s * 1000)),
        # Past its bound the core would not accept, and everyone, health checks too, would wait.
        ("grpc.max_allowed_incoming_connections", max_connections),
        # A connection that opens and resets calls faster than they are seen waits for itself alone.
        ("grpc.max_concurrent_streams", max_streams),
    ]
