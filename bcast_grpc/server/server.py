"""Settings become objects that run and drain."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from bcast_grpc.broker.base import Broker
from bcast_grpc.broker.budget import Budget
from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.memory import MemoryBroker
from bcast_grpc.broker.sqlite import SqliteBroker
from bcast_grpc.broker.sqlite.faults import CannotOpen
from bcast_grpc.core.hub import Hub
from bcast_grpc.core.limits import Limits, SlowPolicy
from bcast_grpc.server.address import CannotStart, is_loopback, join_host_port, listen
from bcast_grpc.server.descriptors import Descriptors
from bcast_grpc.server.machine import default_max_memory
from bcast_grpc.settings import Settings
from bcast_grpc.transport.connections import Connections, listening_on, port_of
from bcast_grpc.transport.grpc import SERVICE, ChatService
from bcast_grpc.transport.http import HttpService
from bcast_grpc.transport.liveness import let_pings_pass
from bcast_grpc.transport.scheduler import LoopScheduler
from bcast_grpc.transport.tcp import TcpDoor
from bcast_grpc.v1 import chat_pb2  # noqa: F401  # reflection finds the service in its descriptors
from bcast_grpc.wire.protobuf import MAX_REQUEST_BYTES

logger = logging.getLogger(__name__)

_CLIENTS_BACK_PER_S = 1000
_LAST_WORDS_S = 0.5
_EXPIRE_S = 5.0
_SWEEP_S = 0.05
_RELIEVE_S = 2.0

_NO_BOUND = 2**31 - 1
_HANDSHAKE_MS = 10_000
_LONG_S = 3600
_STREAMS_BESIDES = 1000
"""How many calls more than clients a connection may have: those that are refused, publish, or watch the health."""


class Server:
    """A broadcast server in the running event loop.

    ::

        server = Server(Settings(port=0))
        await server.start()
        ...
        await server.drain()

    Attributes:
        hub: the registry of rooms and clients; an application may publish into it from any thread.
        port: where it listens for gRPC, once started.
        http_port: where it listens for the page and WebSockets; 0 where it does not.
        tcp_port: where it listens for plain sockets; 0 where it does not.

    Raises:
        CannotStart: the store cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._scheduler = LoopScheduler()
        budget = Budget(settings.max_memory or default_max_memory())
        self._broker = _broker(settings, budget)
        self.hub = Hub(self._broker, self._scheduler, _limits(settings), budget)
        self._descriptors = Descriptors()
        self.hub.why_full = self._descriptors.why_full
        self._connections = Connections(lambda: self._descriptors.crowded)
        self._health = _Health(self._connections)
        self._grpc = grpc.aio.server(options=_options(settings, self._descriptors))
        self._others: list[HttpService | TcpDoor] = []
        self._chores: list[asyncio.Task[None]] = []
        self.port = 0
        self.http_port = 0
        self.tcp_port = 0

    @property
    def address(self) -> str:
        """Where clients find it, as ``HOST:PORT``."""
        return join_host_port(self._settings.host, self.port)

    @property
    def doors(self) -> Sequence[str]:
        """The URLs of all that it listens on."""
        ports = {"grpc": self.port, "http": self.http_port, "tcp": self.tcp_port}
        return [f"{scheme}://{join_host_port(self._settings.host, port)}" for scheme, port in ports.items() if port]

    async def start(self) -> None:
        """Listen.

        Raises:
            CannotStart: the address cannot be listened on.
        """
        settings = self._settings
        try:
            await self._open_http()
            await self._open_tcp()
            await self._open_grpc()
        except CannotStart:
            await self.stop()
            raise
        for service in ("", SERVICE):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        self._chores = [
            asyncio.create_task(_repeat(settings.progress_s, self.hub.report_progress)),
            asyncio.create_task(_repeat(_EXPIRE_S, self.hub.expire)),
            asyncio.create_task(_repeat(_SWEEP_S, self._hang_up_idle)),
            asyncio.create_task(_repeat(_RELIEVE_S, self.hub.relieve)),
        ]
        self._descriptors.warn(settings.max_clients)
        if not is_loopback(settings.host):
            logger.warning(
                "anyone who reaches %s can read and write: there is no TLS and there are no tokens",
                " or ".join(self.doors),
            )

    async def _open_grpc(self) -> None:
        settings = self._settings
        chat = ChatService(self.hub, self._scheduler, self._connections)
        self._grpc.add_generic_rpc_handlers((chat.handler(),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        services = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(services, self._grpc)
        for probe in listen(settings.host, settings.port, "port"):
            probe.close()  # gRPC says neither in time nor clearly why it can not
        try:
            self.port = self._grpc.add_insecure_port(join_host_port(settings.host, settings.port))
        except RuntimeError as error:  # somebody was quicker
            raise CannotStart(str(error)) from None
        for listener in listening_on(self.port):
            let_pings_pass(listener, settings.keepalive_s)
        await self._grpc.start()

    async def _open_http(self) -> None:
        settings = self._settings
        if settings.http_port is None:
            return
        sockets = listen(settings.host, settings.http_port, "http-port")
        self.http_port = sockets[0].getsockname()[1]
        service = HttpService(
            self.hub,
            self._scheduler,
            keepalive_s=settings.keepalive_s,
            origins=settings.http_allow_origin,
            on_loopback=is_loopback(settings.host),
            connections=self._connections,
        )
        self._others.append(service)
        await service.start(sockets)

    async def _open_tcp(self) -> None:
        settings = self._settings
        if settings.tcp_port is None:
            return
        sockets = listen(settings.host, settings.tcp_port, "tcp-port")
        self.tcp_port = sockets[0].getsockname()[1]
        door = TcpDoor(self.hub, self._scheduler, settings.keepalive_s, connections=self._connections)
        self._others.append(door)
        await door.start(sockets)

    async def drain(self) -> None:
        """Stop well: let nobody in, give every client what is queued for it, end its call, then stop.

        Takes ``drain_s`` at the longest.
        """
        logger.info("draining: %d clients", self.hub.clients)
        await self._health.enter_graceful_shutdown()
        self._end_chores()
        empty = asyncio.Event()
        spread_s = max(1.0, self.hub.clients / _CLIENTS_BACK_PER_S)
        self.hub.close(
            "the server is shutting down",
            reconnect_after_s=lambda: round(random.uniform(0.1, spread_s), 3),
            when_empty=lambda: self._scheduler.call(empty.set),
        )
        try:
            async with asyncio.timeout(self._settings.drain_s):
                await empty.wait()
        except TimeoutError:
            logger.warning("%d clients did not read what was queued for them in time", self.hub.clients)
            self.hub.discard()
        await self.stop()

    async def stop(self) -> None:
        """Stop at once; clients see ``UNAVAILABLE`` or a lost connection."""
        self._end_chores()
        # The last words are on their way; health watches and idle connections would stay for ever.
        await asyncio.gather(self._grpc.stop(_LAST_WORDS_S), *(door.stop(_LAST_WORDS_S) for door in self._others))
        self._broker.close()

    def _hang_up_idle(self) -> None:
        if self._descriptors.short:
            self._connections.hang_up_idle({self.port, self.http_port, self.tcp_port})
        else:
            self._connections.forget()

    def _end_chores(self) -> None:
        for chore in self._chores:
            chore.cancel()


class _Health(health.aio.HealthServicer):
    """The standard service; a connection that watches it is in use."""

    def __init__(self, connections: Connections) -> None:
        super().__init__()
        self._connections = connections

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802
        """Tell how it is, whenever that changes."""
        with self._connections.carrying(port_of(context.peer())):
            await super().Watch(request, context)


async def _repeat(interval_s: float, chore: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(interval_s)
        chore()


def _limits(settings: Settings) -> Limits:
    return Limits(
        max_clients=settings.max_clients,
        max_message_bytes=settings.max_message_bytes,
        queue_messages=settings.queue_messages,
        queue_bytes=settings.queue_bytes,
        rate=settings.rate,
        burst=settings.burst or 1,
        slow_policy=SlowPolicy(settings.slow_policy),
    )


def _broker(settings: Settings, budget: Budget) -> Broker:
    retention = _retention(settings, budget)
    if settings.store == "memory:":
        return MemoryBroker(retention)
    try:
        return SqliteBroker(settings.store.removeprefix("sqlite:"), retention)
    except CannotOpen as error:
        raise CannotStart(str(error)) from None


def _retention(settings: Settings, budget: Budget) -> Retention:
    return Retention(
        messages=settings.history_messages,
        bytes=settings.history_bytes,
        age_s=settings.history_age_s,
        dedup_s=settings.dedup_s,
        budget=budget,
    )


def _options(settings: Settings, descriptors: Descriptors) -> list[tuple[str, int]]:
    # A slow peer answers a ping when it has read what is before it, so it has most of the time that there is. Only the
    # ping timeout tells who is frozen: the core never sets the timer of its keepalive timeout (as of 1.85).
    ping_ms = max(1, round(settings.keepalive_s * 400))
    answer_ms = max(1, min(round(settings.keepalive_s * 1500), 2**31 - 1))  # what gRPC has room for
    return [
        ("grpc.so_reuseport", 0),  # a second server on the port would silently take half of the clients
        ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
        ("grpc.max_send_message_length", -1),
        # Or a client that sends large frames without stop would have 50 MB under way, and its reads would come first.
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
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
        # Past its bound the core would not accept, and everyone, health checks too, would wait.
        ("grpc.max_allowed_incoming_connections", descriptors.connections),
        # A connection that opens and resets calls faster than they are seen waits for itself alone.
        ("grpc.max_concurrent_streams", settings.max_clients + _STREAMS_BESIDES),
    ]
