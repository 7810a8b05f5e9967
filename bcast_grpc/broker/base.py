"""What a hub asks of a broker, what a room asks of its order, and what an order answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from bcast_grpc.errors import BcastError, CallError
from bcast_grpc.events import Entry, Event, Stamp


class Accepted(NamedTuple):
    """Messages that now have their places, and are in the order's history.

    Attributes:
        entries: what became these events; None for a message whose author is a client of another server.
        events: one for each.
    """

    entries: Sequence[Entry | None]
    events: Sequence[Event]


class Repeated(NamedTuple):
    """Messages that their author sent before.

    Attributes:
        entries: as they were sent again, at least one.
        places: one for each, which it has had since it was first accepted.
    """

    entries: Sequence[Entry]
    places: Sequence[Stamp]


class Refused(NamedTuple):
    """Messages of one author, at least one, that got no place, all for the same reason."""

    entries: Sequence[Entry]
    error: BcastError


Outcome: TypeAlias = Accepted | Repeated | Refused
"""What became of messages that were submitted one after the other."""

Deliver: TypeAlias = Callable[[Sequence[Outcome]], None]
"""Takes outcomes: from the loop, in the room's order."""

DeliverEvents: TypeAlias = Callable[[Sequence[Event] | CallError], None]
"""Takes what was read, or the reason why it cannot be read."""


class Order(Protocol):
    """The order of one room. No method waits: an order that needs time answers later."""

    @property
    def epoch(self) -> str:
        """The name of this order. Places of different epochs cannot be compared."""

    @property
    def head(self) -> int:
        """The place of the last message that was accepted; 0 if none was."""

    @property
    def oldest(self) -> int:
        """The place of the oldest message that can still be read; ``head + 1`` if none can."""

    @property
    def full(self) -> bool:
        """Whether so many entries are unanswered that no more should be submitted for now."""

    def begin(self, deliver: Deliver) -> None:
        """Give outcomes to ``deliver`` from now on, until ``release``. To be called directly after ``Broker.open``."""

    def submit(self, entries: Sequence[Entry]) -> None:
        """Put ``entries`` in order. The outcomes are delivered at once, or later.

        Args:
            entries: messages of one author.

        Raises:
            BcastError: ``BROKER_UNAVAILABLE``, for all of them.
        """

    def after_answers(self, callback: Callable[[], None]) -> None:
        """Call back when everything submitted so far has been answered: at once, or later from the loop."""

    def read(self, after: int, count: int, max_bytes: int, deliver: DeliverEvents) -> None:
        """Read the messages that follow a place, and deliver them: at once if they are in memory, else from the loop.

        Args:
            after: a place before ``head``, and not before ``oldest - 1``.
            count: how many messages at the most.
            max_bytes: how many bytes at the most; a single larger message is delivered alone.
            deliver: called once, with the messages; with none if they have been dropped meanwhile, that is, if
                ``oldest`` is past them now; or with the reason why they cannot be read.
        """

    def release(self) -> None:
        """Take note that the room is empty. The broker keeps the order for those who come back."""


class Broker(Protocol):
    """Puts the messages of each room in one order, and keeps them for as long as its retention says.

    Every call is made from the loop.
    """

    async def open(self, room: str) -> Order:
        """Return the room's order: a new one, or the one that is still kept.

        Calls for the same room may overlap; all of them return the same order. A call that is cancelled leaves nothing.

        Raises:
            CallError: ``BROKER_UNAVAILABLE``. The next call tries again.
        """

    def expire(self) -> None:
        """Drop what is too old. To be called now and then."""

    def relieve(self) -> None:
        """Drop histories from memory while the process holds too much. To be called often."""

    def close(self) -> None:
        """Store what was submitted, where there is a store, and close it."""
