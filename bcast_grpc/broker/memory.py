"""The order of each room in this process's memory, gone when everyone has left."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bcast_grpc.broker.base import Receiver
from bcast_grpc.events import Entry, Position


@dataclass(slots=True)
class _Order:
    epoch: str
    head: int
    receiver: Receiver


class MemoryBroker:
    """A ``Broker`` that answers at once and keeps nothing."""

    def __init__(self) -> None:
        self._orders: dict[str, _Order] = {}

    def open(self, room: str, receiver: Receiver) -> Position:
        """Begin a new order."""
        order = self._orders[room] = _Order(secrets.token_hex(4), 0, receiver)
        return Position(order.epoch, order.head)

    def publish(self, room: str, entries: Sequence[Entry]) -> None:
        """Number the entries and hand them back before returning."""
        order = self._orders[room]
        first_seq = order.head + 1
        order.head += len(entries)
        order.receiver.accepted(entries, first_seq, time.time_ns())

    def forget(self, room: str) -> None:
        """Drop the order: whoever comes next begins a new epoch."""
        del self._orders[room]

    def close(self) -> None:
        """Drop all orders."""
        self._orders.clear()
