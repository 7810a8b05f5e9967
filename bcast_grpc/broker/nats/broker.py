"""The broker of a server that shares its rooms with others over NATS JetStream: puts its parts together."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from random import Random

from nats.aio.msg import Msg

from bcast_grpc.broker.backlog import Backlog
from bcast_grpc.broker.base import CannotOpen, Figure, Report
from bcast_grpc.broker.budget import UNBOUNDED
from bcast_grpc.broker.clock import Clock
from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.nats.alarms import Alarms
from bcast_grpc.broker.nats.cluster import RECORD_RESERVE_BYTES, Cluster
from bcast_grpc.broker.nats.connection.connection import RESERVE_BYTES, Connection
from bcast_grpc.broker.nats.connection.requests import Lost
from bcast_grpc.broker.nats.jetstream.courier import Courier
from bcast_grpc.broker.nats.jetstream.health import StreamHealth
from bcast_grpc.broker.nats.jetstream.readings import Readings
from bcast_grpc.broker.nats.jetstream.stream import kept_s, largest_record, prepare, wanted
from bcast_grpc.broker.nats.jetstream.watch import watch
from bcast_grpc.broker.nats.log.actions import Append, Forward, Read
from bcast_grpc.broker.nats.log.limits import Limits
from bcast_grpc.broker.nats.log.room_log import Incarnation
from bcast_grpc.broker.nats.names import Names, token
from bcast_grpc.broker.nats.order import LogOrder
from bcast_grpc.broker.nats.orders import Orders
from bcast_grpc.broker.nats.peers.asking import Asking
from bcast_grpc.broker.nats.peers.heads import Heads
from bcast_grpc.broker.nats.peers.opened import Opened
from bcast_grpc.broker.nats.peers.talk import Talk
from bcast_grpc.broker.nats.tasks import Tasks
from bcast_grpc.broker.relief import Relief
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import ResumePoint

__all__ = ["Cluster", "NatsBroker"]

logger = logging.getLogger(__name__)

_AWAY_S = 30.0
_ENTRY_S = 8.0  # clients wait for ten, and are to hear why
_LAST_S = 5.0


class NatsBroker:
    """A ``Broker`` whose orders are logs in JetStream. Any number of servers append to each.

    Attributes:
        me: this run of the server.
        retention: how much is kept.
        clock: measures ages.
        limits: those of each room's log.
        random: spreads what several servers would do at the same time.
        backlog: how much waits to be in the logs.
        talk: what servers say to each other.
        loop: where everything happens.
        alarms: wake the rooms' logs.
        readings: read what is not in memory.
    """

    loop: asyncio.AbstractEventLoop
    alarms: Alarms

    def __init__(self, cluster: Cluster, retention: Retention | None = None, clock: Clock | None = None) -> None:
        self.retention = retention or Retention()
        self.clock = clock or Clock()
        self.random = Random()  # for pauses; one for all rooms, as each takes 2.5 KB
        self.me = Incarnation(secrets.token_hex(6))
        self.limits = Limits(
            patience_s=cluster.patience_s,
            anchor_s=kept_s(self.retention) / 2,
            history_items=self.retention.messages,
            ids_s=self.retention.dedup_s,
        )
        self.backlog = Backlog(self.retention.budget)
        self._cluster = cluster
        self._names = Names(cluster.name)
        self._largest_bytes = UNBOUNDED  # as the stream says
        target = replace(cluster.target, least_bytes=cluster.least_bytes + RESERVE_BYTES)
        self._connection = Connection(target, self._changed)
        self._courier = Courier(self._connection, self._names)
        self._tasks = Tasks()
        self.readings = Readings(self._courier, self._tasks.start, cluster.patience_s)
        self._relief = Relief(self.retention.budget)
        self._orders = Orders(self._dropped)
        self._clear: list[Callable[[], None]] = []
        self.talk = Talk(self.me.name, self._names, self._connection, cluster.port)
        self.talk.attach(Heads(self._orders.by_token, lambda: self.talk.max_bytes))
        self._asking = Asking(self._orders.by_token, self.talk)
        self.talk.attach(self._asking)
        self._health = StreamHealth(self._connection, cluster, lambda: self._courier.trouble)
        self._away: asyncio.TimerHandle | None = None
        self._closed = False

    # --- the connection

    async def start(self, report: Report) -> None:
        """Connect to NATS, and make or compare the stream.

        Raises:
            CannotOpen: that is not possible, with what would help.
        """
        self.loop = self._tasks.loop = asyncio.get_running_loop()
        self.alarms = Alarms(self.loop)
        await self._connection.start()
        try:
            self._connection.denials.check()
            configuration = wanted(self._names, self.retention, self._cluster.replicas, self._connection.max_bytes)
            stream = await prepare(
                self._connection, configuration, create=self._cluster.create, update=self._cluster.update
            )
            self._largest_bytes = largest_record(stream, self._cluster.least_bytes)
            self._fit_records()
            await self._connection.subscribe(self._names.forwards(self.me.name), self._forwarded)
            await self.talk.start()
            self._connection.denials.check()
        except (CannotOpen, Lost) as error:
            await self._connection.close()
            raise CannotOpen(str(error) or "the connection to the NATS server was lost") from None
        self._tasks.start(self._health.run(configuration, report))
        self._tasks.start(self.talk.run())
        self._tasks.start(watch(self._courier, self._connection, self._cluster.patience_s))

    def _fit_records(self) -> None:
        """Make records no larger than NATS takes at the moment: that may change from one server to the next."""
        self.limits.fit(min(self._connection.max_bytes, self._largest_bytes), RECORD_RESERVE_BYTES)

    def _changed(self, why: str) -> None:
        if why:
            logger.warning("the connection to NATS was lost: %s", why)
            if not self._away and not self._closed:
                self._away = self.loop.call_later(_AWAY_S, self._lose_all, why)
        else:
            self._fit_records()
            self.talk.connected()
            if self._away:
                self._away.cancel()
                self._away = None
                logger.info("connected to NATS again")
        self._courier.reconnected()
        self._health.connected(why)
        for order in self._orders:
            order.perform(order.log.disconnected() if why else order.log.connected())

    def _lose_all(self, why: str) -> None:
        """Give up everyone who is in a room: another server may be able to reach NATS."""
        for order in self._orders:
            order.lose(CallError(ErrorCode.BROKER_UNAVAILABLE, f"NATS cannot be used: {why}"))

    # --- opening

    async def open(self, room: str) -> LogOrder:
        """Return the order that is in memory, or read the room's log.

        Raises:
            CallError: ``BROKER_UNAVAILABLE``: it cannot be read in time.
        """
        order = self._orders.get(room) or self._make(room)
        if order.is_open():
            order.expire(self.clock.now_ns())
            return order
        opened = asyncio.Event()
        order.waiting += 1
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._entry_patience_s()):
                    order.when_open(opened.set)
                    await opened.wait()
        finally:
            order.waiting -= 1
            if not order.is_open() and not order.waiting:
                self._orders.drop(order)
        if not order.is_open():
            why = self._health.why or "the room's log cannot be read from NATS in time"
            raise CallError(ErrorCode.BROKER_UNAVAILABLE, f"{why}; try again, or another server")
        order.expire(self.clock.now_ns())
        return order

    async def reach(self, room: str, after: ResumePoint) -> None:
        """See ``LogOrder.reach``."""
        if order := self._orders.get(room):
            await order.reach(after, self._entry_patience_s())

    def _entry_patience_s(self) -> float:
        """Return how long a client that comes may wait: not at all where NATS has been away for so long already."""
        patience_s = min(self._cluster.patience_s, _ENTRY_S)
        if not self._away:
            return patience_s
        lost_s = self._away.when() - _AWAY_S
        return max(0.0, lost_s + patience_s - self.loop.time())

    def _make(self, room: str) -> LogOrder:
        order = LogOrder(self, room)
        self._orders.add(order)
        self._tasks.start(self._listen(order))
        return order

    async def _listen(self, order: LogOrder) -> None:
        try:
            await self._connection.subscribe(self._names.live(order.room), order.live)
        except Lost:
            return  # the next connection subscribes
        order.perform(order.log.connected())

    # --- called by orders

    def carry(self, order: Opened, ask: Append | Read | Forward) -> None:
        """Carry out a request of an order's log."""
        self._tasks.start(self._carry(order, ask))

    async def _carry(self, order: Opened, ask: Append | Read | Forward) -> None:
        order.perform(await self._courier.carry(order.room, order.log, ask))

    def ask_heads(self, room: str) -> None:
        """Ask the other servers for what they have told of a room."""
        self._asking.ask(token(room))

    def released(self) -> None:
        """Note that an order's room is empty."""
        self._orders.bound_idle()

    def when_clear(self, callback: Callable[[], None]) -> None:
        """Call back when less waits to be in the logs."""
        self.backlog.add()
        self._clear.append(callback)

    def answered(self) -> None:
        """Note that something has been answered, or came from other servers."""
        if self._relief.urgent:
            self.relieve()
        if self._clear:
            clear, self._clear = self._clear, []
            for callback in clear:
                self.backlog.remove()
                self.loop.call_soon(callback)

    # --- other servers

    def _forwarded(self, message: Msg) -> None:
        if order := self._orders.by_token.get(message.subject.rpartition(".")[2]):
            order.perform(order.log.forwarded(message.data))

    # --- upkeep

    def expire(self) -> None:
        """Drop what has expired, and orders that nobody has used for some time."""
        trouble = bool(self._courier.trouble)
        self._orders.expire(self.clock.now_ns(), keep=trouble)
        for order in [one for one in self._orders if one.log.level][:trouble]:
            order.perform(order.log.fence())  # to see whether there is room again, though nobody says anything

    def relieve(self) -> None:
        """Drop messages from memory if the budget is short, those of empty rooms first. The log has them."""
        if self._relief.needed:
            self.readings.forget()
            self._orders.relieve(self._relief)

    def figures(self) -> Iterable[Figure]:
        """Tell how it is with NATS, and who else is there."""
        courier = self._courier
        yield self.backlog.figure
        yield Figure("nats_connected", "Whether there is a connection to NATS.", self._connection.up)
        yield Figure("nats_records", "Records that NATS has stored for this server.", courier.stored, rises=True)
        yield Figure("nats_unanswered", "Records that NATS has not answered in time.", courier.unanswered, rises=True)
        yield Figure("other_servers", "Other servers, or workers, that share the rooms.", len(self.talk.peers.all))

    def _dropped(self, order: LogOrder) -> None:
        self._tasks.start(self._connection.unsubscribe(self._names.live(order.room)))

    async def close(self) -> None:
        """Wait a little until what was submitted is in the log, and close the connection."""
        if self._closed or not hasattr(self, "loop"):
            return
        until = self.loop.time() + _LAST_S
        while self._connection.up and self._orders.unanswered and self.loop.time() < until:  # noqa: ASYNC110  # at the very end
            await asyncio.sleep(0.01)  # a short while, at the very end
        self._closed = True
        await self.talk.end()
        if self._away:
            self._away.cancel()
        self._orders.clear()
        self.alarms.end()
        await self._tasks.end()
        await self._connection.close()
