"""A broker that keeps the order of each room in memory."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from bcast_grpc.broker.base import Broker, Deliver, DeliverEvents, Lose
from bcast_grpc.broker.clock import Clock
from bcast_grpc.broker.history import History, Retention
from bcast_grpc.broker.ids import Ids
from bcast_grpc.broker.order import accepted, place
from bcast_grpc.broker.relief import Relief
from bcast_grpc.events import Entry


class MemoryBroker(Broker):
    """A ``Broker`` that answers at once, and keeps nothing beyond the end of the process.

    The order of an empty room is kept as long as its history, or until the retention's budget is short.
    """

    def __init__(self, retention: Retention | None = None, clock: Clock | None = None) -> None:
        self.retention = retention or Retention()
        self.clock = clock or Clock()
        self._used: dict[str, MemoryOrder] = {}
        self._idle: dict[str, MemoryOrder] = {}
        self._relief = Relief(self.retention.budget)

    async def open(self, room: str) -> MemoryOrder:
        """Return the order that is in use or still kept, or a new one. Never waits."""
        if order := self._used.get(room):
            return order
        order = self._idle.get(room)
        if order:
            order.expire()
        if not order or order.empty:
            order = self._idle[room] = MemoryOrder(room, self)
        return order

    def in_use(self, order: MemoryOrder) -> None:
        """Note that a room uses an order."""
        self._idle.pop(order.room, None)
        self._used[order.room] = order

    def released(self, order: MemoryOrder) -> None:
        """Note that an order's room is empty."""
        if self._used.pop(order.room, None) is None:  # the broker is closed
            return
        order.expire()
        if not order.empty:
            self._idle[order.room] = order

    def expire(self) -> None:
        """Drop what has expired, and the orders of which nothing is left."""
        for order in [*self._used.values(), *self._idle.values()]:
            order.expire()
        self._drop_empty()

    def relieve_soon(self) -> None:
        """Drop histories now if the next ``relieve`` would be too late."""
        if self._relief.urgent:
            self.relieve()

    def relieve(self) -> None:
        """Drop histories if the budget is short, those of empty rooms first."""
        if self._relief.needed:
            idle = {room: order.history for room, order in self._idle.items()}
            self._relief.relieve(idle, lambda room: idle[room].shrink(0), [o.history for o in self._used.values()])
            self._drop_empty()

    def _drop_empty(self) -> None:
        for room, order in list(self._idle.items()):
            if order.empty:
                del self._idle[room]

    async def close(self) -> None:
        """Drop all orders."""
        self._used.clear()
        self._idle.clear()


class MemoryOrder:
    """An ``Order`` that gives each entry its ``seq`` before ``submit`` returns.

    Attributes:
        room: the room's name.
        epoch: the name of this order.
        history: the messages that are kept.
        ids: the ids of messages that were accepted.
        full: always False, because nothing waits.
    """

    __slots__ = ("_broker", "_deliver", "epoch", "history", "ids", "room")

    full = False

    def __init__(self, room: str, broker: MemoryBroker) -> None:
        self.room = room
        self.epoch = secrets.token_hex(4)
        self.history = History(broker.retention)
        self.ids = Ids(broker.retention)
        self._broker = broker
        self._deliver: Deliver | None = None

    @property
    def head(self) -> int:
        """The ``seq`` of the last message that was accepted; 0 if none was."""
        return self.history.head

    @property
    def oldest(self) -> int:
        """The ``seq`` of the oldest message that is kept; ``head + 1`` if none is."""
        return self.history.first

    @property
    def displaced(self) -> int:
        """The ``seq`` of the last message that newer ones took the place of; 0 if there was none."""
        return self.history.displaced

    @property
    def empty(self) -> bool:
        """Whether there is nothing left to resume from: no messages and no ids."""
        return not len(self.history) and not len(self.ids)

    def begin(self, deliver: Deliver, _: Lose) -> None:
        """Call ``deliver`` with outcomes from now on."""
        self._deliver = deliver
        self._broker.in_use(self)

    def submit(self, entries: Sequence[Entry]) -> None:
        """Put the entries in order, and deliver the outcomes before returning. Cost: O(len(entries))."""
        clock = self._broker.clock
        now_ns = clock.now_ns()
        wall_ns = clock.wall_ns()
        outcomes = place(entries, self.head, wall_ns, self.ids.recall_at(wall_ns, now_ns))
        for _, events, sizes in accepted(outcomes):
            self.history.extend(events, sizes, now_ns)
        if self._deliver:
            self._deliver(outcomes)
        self._broker.relieve_soon()

    def after_answers(self, callback: Callable[[], None]) -> None:
        """Call back at once."""
        callback()

    def read(self, after: int, count: int, max_bytes: int, deliver: DeliverEvents) -> None:
        """Deliver the messages after a seq, before returning."""
        deliver(self.history.after(after, count, max_bytes))

    def release(self) -> None:
        """Keep the order for clients that come back."""
        self._deliver = None
        self._broker.released(self)

    def expire(self) -> None:
        """Drop what has expired."""
        now_ns = self._broker.clock.now_ns()
        self.history.expire(now_ns)
        self.ids.expire(now_ns)
