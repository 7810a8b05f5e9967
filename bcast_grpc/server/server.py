"""A server: made from settings, started, used by the application that embeds it, and drained."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Self
from urllib.parse import urlsplit

from bcast_grpc.broker.budget import Budget
from bcast_grpc.core.ages import Ages
from bcast_grpc.core.hello import read_hello
from bcast_grpc.core.hub import Hub
from bcast_grpc.core.review import review
from bcast_grpc.core.room import Room
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Ack, Member, Request
from bcast_grpc.server import parts
from bcast_grpc.server.access import Access
from bcast_grpc.server.addresses import check_exposure
from bcast_grpc.server.chores import DAY_S, EXPIRE_S, Chores, every, relieve
from bcast_grpc.server.machine.descriptors import Descriptors
from bcast_grpc.server.machine.limits import default_max_memory
from bcast_grpc.server.machine.memory import ProcessMemory
from bcast_grpc.server.reload import Reload
from bcast_grpc.server.share import ALONE, Worker
from bcast_grpc.server.sync import SyncServer, in_thread
from bcast_grpc.settings import Settings
from bcast_grpc.transport.address import CannotStart, is_loopback
from bcast_grpc.transport.door import Door, Shared
from bcast_grpc.transport.liveness import Keepalive
from bcast_grpc.transport.publishing import Publishing
from bcast_grpc.transport.scheduler import LoopScheduler

logger = logging.getLogger(__name__)

_CLIENTS_BACK_PER_S = 1000
_LAST_WORDS_S = 0.5


class Server:
    """A broadcast server.

    It runs in the application's own event loop, or in a thread of its own::

        async with Server(Settings(port=0)) as server:
            await server.publish("lobby", "hola")

        with Server.in_thread(Settings(port=0)) as server:
            server.publish("lobby", "hola")

    The server listens from the beginning of the context on, and drains at its end. ``start()`` and ``drain()`` do the
    same without a context. ``publish()`` and ``members()`` may be awaited in any event loop of any thread; ``sync`` has
    both for threads without an event loop.

    Args:
        settings: the settings of ``python -m bcast_grpc.server``, with the same names and defaults.
        worker: which part of a server with several processes this is.

    Attributes:
        sync: the same server for threads without an event loop: its methods block.
        access: decides who may come in.
        hub: the registry of rooms and clients.
        doors: the ways for clients to come in, gRPC first.
        urls: what it listens on, once started; in the order of ``doors``.
        reload: reads the files of certificates, keys and rights again.

    Raises:
        CannotStart: the store or a file cannot be used, or the settings do not say who may connect.
    """

    def __init__(self, settings: Settings, worker: Worker = ALONE) -> None:
        if settings.workers != worker.of:
            raise CannotStart(
                f"workers={settings.workers}: a Server in an application is one process; start several with the same"
                " store=nats://HOST:PORT, or run python -m bcast_grpc.server"
            )
        check_exposure(settings)
        self._settings = settings
        certificates = self._certificates = parts.certificates(settings)
        self._scheduler = LoopScheduler()
        budget = Budget(worker.share(settings.max_memory or default_max_memory()))
        limits = self._limits = parts.limits(settings, worker)
        self.access = Access(settings, self._scheduler, limits)
        self._broker, self._presence, share, self._nats = parts.backend(settings, budget)  # last, as it locks its file
        self.hub = Hub(self._broker, self._scheduler, limits, budget, self._presence, self.access.gatekeeper)
        if self.hub.rates:
            share(self.hub.rates)
        self.access.changed = lambda: self.hub.for_each_room(review)
        self.reload = Reload([part for part in (certificates, self.access) if part])
        self._descriptors = Descriptors()
        self.hub.capacity.why_full = self._descriptors.why_full
        self._memory = self.hub.capacity.memory = ProcessMemory(sharers=worker.of)
        self._connections = parts.connections(
            limits, self._descriptors, self._memory, budget, proxies=settings.trusted_proxy
        )
        shared = Shared(
            self.hub,
            self._scheduler,
            self._connections,
            Keepalive(settings.keepalive_s),
            settings.handshake_timeout_s,
            certificates,
        )
        self.doors: Sequence[Door] = list(parts.doors(settings, shared, self._descriptors.connections, worker))
        self.urls: Sequence[str] = ()
        self.sync = SyncServer(self, self._scheduler)
        self._publishing = Publishing(self._scheduler)
        self._chores = Chores()

    @staticmethod
    def in_thread(settings: Settings) -> AbstractContextManager[SyncServer]:
        """Run a server in a thread of its own, in a ``with`` statement.

        Raises:
            CannotStart: an address or the store cannot be used.
        """
        return in_thread(lambda: Server(settings))

    async def __aenter__(self) -> Self:
        """Start the server."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Drain and stop the server."""
        await self.drain()

    async def publish(
        self,
        room: str,
        msg: str = "",
        *,
        data: bytes = b"",
        id: str = "",  # noqa: A002  # as in the contract
        name: str = "",
        client: str = "",
    ) -> Ack:
        """Send a message to everyone in a room, and return once it is in their queues.

        Args:
            room: the room's name.
            msg: the text; it or ``data`` may be empty, but not both.
            data: bytes, passed on unchanged.
            id: identifies the message, so that a retry is safe. Effective only together with ``client``: for
                ``dedup_s`` a message with the same id is not sent again, but answered with ``duplicate`` set.
            name: the author's name, as clients see it; none by default.
            client: a stable id of the application as a client (``bcast-client``).

        Returns:
            The message's ``seq``, and how many clients have it in their queues.

        Raises:
            BcastError: the message was not accepted; ``code`` and ``reason`` say why.
        """
        return await self._scheduler.run(lambda: self._publish(room, name, client, Request("", msg, data, id)))

    async def _publish(self, room: str, name: str, client: str, request: Request) -> Ack:
        hello = read_hello([("room", room), ("name", name), ("client", client)], self.hub.limits)
        return await self._publishing.publish(await self.hub.entrance.admit(hello, None), request)

    async def members(self, room: str) -> Sequence[Member]:
        """Return the clients in a room, in the order of arrival; none if there is no such room."""
        return await self._scheduler.run(lambda: self._members(room))

    async def _members(self, room: str) -> Sequence[Member]:
        name = read_hello([("room", room)], self.hub.limits).room
        await self._presence.open(name)  # it may be open at another server only
        return self.hub.members(name)

    @property
    def address(self) -> str:
        """The address for gRPC clients, as ``HOST:PORT``."""
        return urlsplit(self.urls[0]).netloc

    @property
    def port(self) -> int:
        """The port for gRPC, once started."""
        return self._port("grpc")

    @property
    def http_port(self) -> int:
        """The port for the page and WebSockets; 0 if there is none."""
        return self._port("http")

    @property
    def tcp_port(self) -> int:
        """The port for plain sockets; 0 if there is none."""
        return self._port("tcp")

    def _port(self, scheme: str) -> int:
        return next((url.port or 0 for url in map(urlsplit, self.urls) if url.scheme in (scheme, f"{scheme}s")), 0)

    async def start(self) -> None:
        """Listen, and serve clients from now on.

        Raises:
            CannotStart: an address cannot be bound, or the broker cannot be reached; nothing is left open.
        """
        try:
            if self._nats:
                await self._nats.start()
            with parts.cannot_start():
                await self._broker.start(self.hub.readiness.report)
            await self._presence.start()
            for door in reversed(self.doors):  # gRPC last, because it reports the server as healthy
                self.urls = [*await door.open(), *self.urls]
        except BaseException:
            await self.stop()
            raise
        self._chores.start(self._works())
        self._describe()

    def _works(self) -> Iterator[Coroutine[Any, Any, None]]:
        yield every(self._settings.progress_s, lambda: self.hub.for_each_room(Room.report_progress))
        yield every(EXPIRE_S, self.hub.expire)
        yield relieve(self.hub, self._memory)
        if age_s := self._settings.max_connection_age_s:
            yield every(min(age_s / 20, EXPIRE_S), Ages(self.hub, age_s, self._settings.drain_s).look)
        yield self._connections.keep_some_free(lambda: self._descriptors.short or self._memory.short)
        if self.reload:
            yield self.reload.watch()
        if self._certificates:
            yield every(DAY_S, self._certificates.warn)

    def _describe(self) -> None:
        """Log how the server can be reached, by whom, and what should be otherwise."""
        settings = self._settings
        for part in (self.access, self._certificates):
            if part:
                logger.info("%s", part.describe())
        self._descriptors.warn(self._limits.max_clients)
        for warning in parts.warnings(settings):
            logger.warning("%s", warning)
        if settings.open and not is_loopback(settings.host):
            tls = "" if self._certificates else "there is no TLS and "
            logger.warning(
                "anyone who can reach %s can read and write: %sthere are no tokens", " or ".join(self.urls), tls
            )

    async def drain(self) -> None:
        """Stop gracefully: refuse new clients, send each client what is queued for it, end its call, then stop.

        Takes at most ``drain_s``.
        """
        try:
            await self._drain()
        finally:
            await self.stop()

    async def _drain(self) -> None:
        logger.info("draining, clients: %d", self.hub.clients)
        for door in self.doors:
            await door.drain()
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
            logger.warning("clients that did not read in time what was queued for them: %d", self.hub.clients)
            error = CallError(ErrorCode.SHUTTING_DOWN, self.hub.closed)
            self.hub.for_each_room(lambda room: room.disconnect(error))

    async def stop(self) -> None:
        """Stop at once; clients see ``UNAVAILABLE`` or a lost connection."""
        self._end_chores()
        await asyncio.gather(*(door.stop(_LAST_WORDS_S) for door in self.doors))
        await self.access.close()
        await self._broker.close()
        if self._nats:
            await self._nats.stop()

    def _end_chores(self) -> None:
        self._chores.stop()
        self.reload.stop()
