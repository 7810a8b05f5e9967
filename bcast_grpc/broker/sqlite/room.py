"""A room of the store, and what is to be written in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from bcast_grpc.broker.base import Receiver
from bcast_grpc.broker.order import Order, Placed


@dataclass(slots=True)
class StoredRoom:
    """A room's order, and who is told of it.

    Attributes:
        row: its row in the file; 0 until it has one.
        trimmed: up to which place the file holds nothing any more.
        waiting: how many publishes in it have not been answered.
    """

    name: str
    order: Order
    row: int = 0
    trimmed: int = 0
    receiver: Receiver | None = None
    waiting: int = 0


class Publish(NamedTuple):
    """Entries of one room that have their places and are to be written."""

    room: StoredRoom
    placed: Placed
    messages: int
    bytes: int
