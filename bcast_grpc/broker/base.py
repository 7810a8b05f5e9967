"""What a hub asks of a broker, and what a broker asks of a room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from bcast_grpc.broker.order import Order
from bcast_grpc.errors import BcastError
from bcast_grpc.events import Entry, Event, Place


class Receiver(Protocol):
    """The room on the other side: it is told what became of each entry, in the room's order."""

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """The hub's lock, to be held by a broker that answers from a thread of its own."""

    def accepted(self, entries: Sequence[Entry], events: Sequence[Event]) -> None:
        """Take entries that now have their places, and are in the order's history: an event for each."""

    def repeated(self, entry: Entry, place: Place) -> None:
        """Take note that an author sent this before, and it has its place already."""

    def refused(self, entries: Sequence[Entry], error: BcastError) -> None:
        """Take back entries that got no place, for the reason given."""


class Broker(Protocol):
    """Puts the entries of each room in one order, and keeps them as long as it is told.

    Every call but ``close`` is made with the hub's lock held, and none may wait: a broker that needs time answers
    later, by its receiver's methods, for many entries together.
    """

    @property
    def congested(self) -> bool:
        """Whether so much has not been answered yet that nothing more should be published before it settles."""

    def open(self, room: str, receiver: Receiver) -> Order:
        """Begin the room's order, or go on with it.

        The broker alone changes what it returns, before it tells the receiver, and with the hub's lock held.

        Raises:
            BcastError: ``BROKER_UNAVAILABLE``.
        """

    def publish(self, room: str, entries: Sequence[Entry]) -> None:
        """Put ``entries`` in order and tell the room's receiver, at once or later.

        Raises:
            BcastError: ``BROKER_UNAVAILABLE``, for all of them.
        """

    def settle(self, callback: Callable[[], None]) -> None:
        """Call back once everything that was published so far has been answered, at once or later, from any thread."""

    def forget(self, room: str) -> None:
        """Take notice that nobody is in the room any more."""

    def expire(self) -> None:
        """Let go of what is too old. To be called now and then."""

    def relieve(self) -> None:
        """Drop histories from memory where the retention's budget is short. To be called often."""

    def close(self) -> None:
        """Let go of what is held. What was published before is stored first, where there is a store."""
