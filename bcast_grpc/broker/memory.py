"""The order of each room in this process's memory, gone when it is too old or the process ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bcast_grpc.broker.base import Receiver
from bcast_grpc.broker.clock import Clock
from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.order import Order
from bcast_grpc.broker.relief import Relief
from bcast_grpc.events import Entry


class MemoryBroker:
    """A ``Broker`` that answers at once.

    An order that everyone has left is kept as long as its history, or until the retention's budget is short.
    """

    def __init__(self, retention: Retention | None = None, clock: Clock | None = None) -> None:
        self._retention = retention or Retention()
        self._clock = clock or Clock()
        self._open: dict[str, tuple[Order, Receiver]] = {}
        self._abandoned: dict[str, Order] = {}
        self._relief = Relief(self._retention.budget)

    @property
    def congested(self) -> bool:
        """Never, as everything is answered at once."""
        return False

    def open(self, room: str, receiver: Receiver) -> Order:
        """Go on with what is still kept, or begin a new order."""
        order = self._abandoned.pop(room, None)
        if order:
            order.expire(self._clock.now_ns())
        if not order or order.empty:
            order = Order.new(self._retention)
        self._open[room] = order, receiver
        return order

    def publish(self, room: str, entries: Sequence[Entry]) -> None:
        """Number the entries and hand them back before returning."""
        order, receiver = self._open[room]
        placed = order.place(entries, self._clock)
        order.history.extend(placed.events, placed.now_ns)
        placed.tell(receiver)
        if self._relief.urgent:
            self.relieve()

    def settle(self, callback: Callable[[], None]) -> None:
        """Call back at once."""
        callback()

    def forget(self, room: str) -> None:
        """Keep the order for those who come back."""
        order, _ = self._open.pop(room)
        order.expire(self._clock.now_ns())
        if not order.empty:
            self._abandoned[room] = order

    def expire(self) -> None:
        """Let go of what is too old, and of the orders of which nothing is left."""
        now_ns = self._clock.now_ns()
        for order, _ in self._open.values():
            order.expire(now_ns)
        for order in self._abandoned.values():
            order.expire(now_ns)
        self._bury()

    def relieve(self) -> None:
        """Drop histories where the budget is short, those that everyone has left first."""
        if self._relief.needed:
            idle = {room: order.history for room, order in self._abandoned.items()}
            self._relief.relieve(idle, lambda room: idle[room].shrink(0), [o.history for o, _ in self._open.values()])
            self._bury()

    def _bury(self) -> None:
        for room, order in list(self._abandoned.items()):
            if order.empty:
                del self._abandoned[room]

    def close(self) -> None:
        """Drop all orders."""
        self._open.clear()
        self._abandoned.clear()
