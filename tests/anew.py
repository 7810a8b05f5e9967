"""An order that begins anew because a test says so."""

from __future__ import annotations

from secrets import token_hex

from bcast_grpc.broker.base import Began
from bcast_grpc.broker.history import History
from bcast_grpc.broker.memory import MemoryOrder
from bcast_grpc.core.hub import Hub
from bcast_grpc.events import Author, Event, Kind, wire_bytes

_EARLIER = Author("elsewhere", "eva", "eva's key")


def begin_anew(hub: Hub, kept: int = 0, room: str = "lobby") -> str:
    """Begin the order of an open room anew, as if the log had gone back.

    Args:
        hub: where the room is.
        kept: how many messages the new order has already.
        room: the room.

    Returns:
        The new epoch.
    """
    order = hub._rooms[room]._order
    assert isinstance(order, MemoryOrder)
    assert order._deliver
    order.epoch = token_hex(4)
    order.history = History(order._broker.retention)
    events = [Event(Kind.MESSAGE, f"eva: {seq}", _EARLIER, seq) for seq in range(1, kept + 1)]
    order.history.extend(events, [wire_bytes(event) for event in events], order._broker.clock.now_ns())
    order.ids.clear()
    order._deliver([Began(order.epoch, kept)])
    return order.epoch
