"""The orders of the rooms that are open here, and for a while of those that nobody uses any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bcast_grpc.broker.nats.names import token
from bcast_grpc.broker.nats.order import LogOrder
from bcast_grpc.broker.relief import Relief

_NS = 1_000_000_000
_MAX_IDLE = 1000
_IDLE_S = 30.0


class Orders:
    """All orders that are in memory.

    Args:
        dropped: called with each order that is dropped.

    Attributes:
        by_token: the orders, by the tokens of their rooms.
    """

    def __init__(self, dropped: Callable[[LogOrder], None]) -> None:
        self.by_token: dict[str, LogOrder] = {}
        self._by_room: dict[str, LogOrder] = {}
        self._dropped = dropped

    def __iter__(self) -> Iterator[LogOrder]:
        """Go through those that are there now: what is done with one may drop others."""
        return iter(list(self._by_room.values()))

    def get(self, room: str) -> LogOrder | None:
        """Return the order of a room."""
        return self._by_room.get(room)

    def add(self, order: LogOrder) -> None:
        """Keep an order."""
        self._by_room[order.room] = self.by_token[token(order.room)] = order

    def drop(self, order: LogOrder) -> None:
        """End an order, and keep it no more. May be called again."""
        if self._by_room.get(order.room) is order:
            del self._by_room[order.room]
            del self.by_token[token(order.room)]
            self._dropped(order)
            order.end()

    def clear(self) -> None:
        """End all orders."""
        for order in self:
            order.end()
        self._by_room.clear()
        self.by_token.clear()

    @property
    def unanswered(self) -> bool:
        """Whether anything that was submitted is unanswered."""
        return any(order.unanswered for order in self)

    def bound_idle(self) -> None:
        """Drop those that have been idle for the longest, if too many are."""
        idle = [one for one in self if _is_idle(one)]
        for one in idle[: max(0, len(idle) - _MAX_IDLE)]:
            self.drop(one)

    def expire(self, now_ns: int, *, keep: bool = False) -> None:
        """Drop what has expired, and orders that nobody has used for some time, unless they are to be kept."""
        for order in self:
            order.expire(now_ns)
            if not keep and now_ns - order.idle_since_ns > _IDLE_S * _NS and _is_idle(order):
                self.drop(order)

    def relieve(self, relief: Relief) -> None:
        """Drop messages from memory, those of empty rooms first."""
        unused = {order.room: order for order in self if not order.used}

        def drop(room: str) -> None:
            if _is_idle(unused[room]):
                self.drop(unused[room])

        relief.relieve(unused, drop, [order for order in self if order.used])


def _is_idle(order: LogOrder) -> bool:
    return not order.used and not order.waiting and not order.unanswered
