"""What a hub asks of a broker, and what a broker asks of a room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bcast_grpc.errors import BcastError
from bcast_grpc.events import Entry, Position


class Receiver(Protocol):
    """The room on the other side: it is told what became of each entry, in the room's order."""

    def accepted(self, entries: Sequence[Entry], first_seq: int, time_ns: int) -> None:
        """Take entries that now have the places from ``first_seq`` on, and the time of their acceptance."""

    def refused(self, entries: Sequence[Entry], error: BcastError) -> None:
        """Take back entries that got no place, for the reason given."""


class Broker(Protocol):
    """Puts the entries of each room in one order.

    Every call but ``close`` is made with the hub's lock held, and none may wait: a broker that needs time answers
    later, by its receiver's methods, for many entries together.
    """

    def open(self, room: str, receiver: Receiver) -> Position:
        """Begin the room's order, or go on with it; return its head.

        Raises:
            BcastError: ``BROKER_UNAVAILABLE``.
        """

    def publish(self, room: str, entries: Sequence[Entry]) -> None:
        """Put ``entries`` in order and tell the room's receiver, at once or later.

        Raises:
            BcastError: ``BROKER_UNAVAILABLE``, for all of them.
        """

    def forget(self, room: str) -> None:
        """Take notice that nobody is in the room any more."""

    def close(self) -> None:
        """Let go of what is held."""
