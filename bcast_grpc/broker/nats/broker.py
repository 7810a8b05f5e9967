"""The broker of a server that shares its rooms with others over NATS JetStream."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any

from nats.aio.msg import Msg

from bcast_grpc.broker.backlog import Backlog
from bcast_grpc.broker.base import CannotOpen, Report
from bcast_grpc.broker.clock import Clock
from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.nats.actions import Append, Forward, ReadAfter, ReadEnd
from bcast_grpc.broker.nats.connection import Connection, Target
from bcast_grpc.broker.nats.courier import Courier
from bcast_grpc.broker.nats.heads import Heads
from bcast_grpc.broker.nats.log import Incarnation, Limits
from bcast_grpc.broker.nats.order import LogOrder
from bcast_grpc.broker.nats.requests import Lost
from bcast_grpc.broker.nats.stream import Names, kept_s, prepare, token, wanted
from bcast_grpc.broker.relief import Relief
from bcast_grpc.errors import CallError, ErrorCode

logger = logging.getLogger(__name__)

_NS = 1_000_000_000
_MAX_IDLE = 1000
_IDLE_S = 30.0
_AWAY_S = 30.0
_LAST_S = 5.0
_RECORD_RESERVE = 16 * 1024
"""What a record of one message takes beside text and data: names, ids, and room to spare."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Which log is used, and how.

    Attributes:
        target: where NATS is.
        name: of the cluster: servers with the same name share their rooms.
        replicas: how many NATS servers hold the log.
        create: whether the stream may be made here.
        patience_s: how long messages wait to be in the log, and rooms to be opened.
        message_bytes: the largest message.
    """

    target: Target
    name: str = "bcast"
    replicas: int = 1
    create: bool = True
    patience_s: float = 15.0
    message_bytes: int = 65536


class NatsBroker:
    """A ``Broker`` whose orders are logs in JetStream. Any number of servers append to each.

    Attributes:
        me: this run of the server.
        retention: how much is kept.
        clock: measures ages.
        limits: those of each room's log.
        random: spreads what several servers would do at the same time.
        backlog: how much waits to be in the logs.
        loop: where everything happens.
    """

    loop: asyncio.AbstractEventLoop

    def __init__(self, cluster: Cluster, retention: Retention | None = None, clock: Clock | None = None) -> None:
        self.retention = retention or Retention()
        self.clock = clock or Clock()
        self.random = Random()  # for pauses; one for all rooms, as each takes 2.5 KB
        self.me = Incarnation(secrets.token_hex(6))
        self.limits = Limits(patience_s=cluster.patience_s, anchor_s=kept_s(self.retention) / 2)
        self.backlog = Backlog(self.retention.budget)
        self._cluster = cluster
        self._names = Names(cluster.name)
        self._connection = Connection(cluster.target, self._changed)
        self._courier = Courier(self._connection, self._names)
        self._relief = Relief(self.retention.budget)
        self._orders: dict[str, LogOrder] = {}
        self._by_token: dict[str, LogOrder] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._clear: list[Callable[[], None]] = []
        self._heads = Heads(self.me.name, self._names.heads, self._connection, self._by_token)
        self._report: Report = lambda _: None
        self._away: asyncio.TimerHandle | None = None
        self._closed = False

    # --- the connection

    async def start(self, report: Report) -> None:
        """Connect to NATS, and make or compare the stream.

        Raises:
            CannotOpen: that is not possible, with what would help.
        """
        self.loop = asyncio.get_running_loop()
        await self._connection.start()
        try:
            most = self._connection.max_bytes
            if self._cluster.message_bytes + _RECORD_RESERVE > most:
                raise CannotOpen(
                    f"max-message-bytes may be at most {most - _RECORD_RESERVE}, as the NATS server takes no larger"
                    " records; or raise its max_payload"
                )
            self.limits = replace(self.limits, record_bytes=min(self.limits.record_bytes, most - _RECORD_RESERVE))
            configuration = wanted(self._names, self.retention, self._cluster.replicas, most)
            await prepare(self._connection, configuration, create=self._cluster.create)
            await self._connection.subscribe(self._names.forwards(self.me.name), self._forwarded)
            await self._connection.subscribe(self._names.heads, self._heads.take)
        except (CannotOpen, Lost) as error:
            await self._connection.close()
            raise CannotOpen(str(error) or "the connection to the NATS server was lost") from None
        if self._connection.is_clustered and self._cluster.replicas == 1:
            logger.warning(
                "the NATS server is one of a cluster, but store-replicas is 1: the log is on one of them only"
            )
        self._report = report
        self._start(self._heads.tell())

    def _changed(self, why: str) -> None:
        if self._away:
            self._away.cancel()
            self._away = None
        if why:
            logger.warning("the connection to NATS was lost: %s", why)
            if not self._closed:
                self._away = self.loop.call_later(_AWAY_S, self._lose_all, why)
        elif self._orders:
            logger.info("connected to NATS again")
        self._report(f"NATS cannot be reached: {why}" if why else "")
        for order in list(self._orders.values()):
            order.perform(order.log.disconnected() if why else order.log.connected())

    def _lose_all(self, why: str) -> None:
        """Give up everyone who is in a room: another server may be able to reach NATS."""
        for order in list(self._orders.values()):
            order.lose(CallError(ErrorCode.BROKER_UNAVAILABLE, f"NATS cannot be reached: {why}"))

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
            async with asyncio.timeout(self._cluster.patience_s):
                order.when_open(opened.set)
                await opened.wait()
        except TimeoutError:
            pass
        finally:
            order.waiting -= 1
            if not order.is_open() and not order.waiting:
                self._drop(order)
        if not order.is_open():
            raise CallError(ErrorCode.BROKER_UNAVAILABLE, "the room's log cannot be read from NATS; try again")
        order.expire(self.clock.now_ns())
        return order

    def _make(self, room: str) -> LogOrder:
        order = self._orders[room] = self._by_token[token(room)] = LogOrder(self, room)
        self._start(self._listen(order))
        return order

    async def _listen(self, order: LogOrder) -> None:
        try:
            await self._connection.subscribe(self._names.live(order.room), order.live)
        except Lost:
            return  # the next connection subscribes
        order.perform(order.log.connected())

    # --- called by orders

    def carry(self, order: LogOrder, ask: Append | ReadAfter | ReadEnd | Forward) -> None:
        """Carry out a request of an order's log."""
        self._start(self._carry(order, ask))

    async def _carry(self, order: LogOrder, ask: Append | ReadAfter | ReadEnd | Forward) -> None:
        order.perform(await self._courier.carry(order.room, order.log, ask))

    def released(self, order: LogOrder) -> None:
        """Note that an order's room is empty."""
        idle = [one for one in self._orders.values() if not one.used and not one.waiting and not one.unanswered]
        for one in idle[: max(0, len(idle) - _MAX_IDLE)]:
            self._drop(one)

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
        if order := self._by_token.get(message.subject.rpartition(".")[2]):
            order.perform(order.log.forwarded(message.data))

    # --- upkeep

    def expire(self) -> None:
        """Drop what has expired, and orders that nobody has used for some time."""
        now_ns = self.clock.now_ns()
        for order in list(self._orders.values()):
            order.expire(now_ns)
            if not order.used and now_ns - order.idle_since_ns > _IDLE_S * _NS:
                self._drop_idle(order)

    def relieve(self) -> None:
        """Drop histories from memory if the budget is short, those of empty rooms first. The log keeps them."""
        if self._relief.needed:
            idle = {room: order.history for room, order in self._orders.items() if not order.used}
            drop: Callable[[str], object] = lambda room: self._drop_idle(self._orders[room])  # noqa: E731
            self._relief.relieve(idle, drop, [order.history for order in self._orders.values() if order.used])

    def _drop_idle(self, order: LogOrder) -> None:
        if not order.waiting and not order.unanswered:
            self._drop(order)

    def _drop(self, order: LogOrder) -> None:
        if self._orders.get(order.room) is order:
            del self._orders[order.room]
            del self._by_token[token(order.room)]
            self._start(self._connection.unsubscribe(self._names.live(order.room)))
            order.end()

    async def close(self) -> None:
        """Wait a little until what was submitted is in the log, and close the connection."""
        if self._closed or not hasattr(self, "loop"):
            return
        until = self.loop.time() + _LAST_S
        while self._connection.up and self._unanswered and self.loop.time() < until:  # noqa: ASYNC110  # at the very end
            await asyncio.sleep(0.01)  # a short while, at the very end
        self._closed = True
        if self._away:
            self._away.cancel()
        for order in list(self._orders.values()):
            order.end()
        self._orders.clear()
        self._by_token.clear()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._connection.close()

    @property
    def _unanswered(self) -> bool:
        return any(order.unanswered for order in self._orders.values())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(partial(_ended, self._tasks))


def _ended(tasks: set[asyncio.Task[None]], task: asyncio.Task[None]) -> None:
    tasks.discard(task)
    if not task.cancelled() and (error := task.exception()):
        logger.error("internal error in the broker over NATS", exc_info=error)
