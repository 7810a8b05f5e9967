"""The interfaces of a broker and of a room's order, and the outcomes that an order delivers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from bcast_grpc.errors import BcastError, CallError
from bcast_grpc.events import Entry, Event, ResumePoint, Stamp


class CannotOpen(Exception):
    """What keeps the orders cannot be used; the text says why, and what would help."""


class Accepted(NamedTuple):
    """Messages that have got their ``seq``, and are in the order's history.

    Attributes:
        entries: the entries that became these events; None for a message whose author is a client of another server.
        events: one event for each entry.
        sizes: the ``wire_bytes`` of each event.
    """

    entries: Sequence[Entry | None]
    events: Sequence[Event]
    sizes: Sequence[int]


class Repeated(NamedTuple):
    """Retries of messages that were accepted before.

    Attributes:
        entries: the retries, at least one.
        places: for each entry, when and where it was first accepted.
    """

    entries: Sequence[Entry]
    places: Sequence[Stamp]


class Refused(NamedTuple):
    """Messages of one author, at least one, that were refused for the same reason."""

    entries: Sequence[Entry]
    error: BcastError


class Began(NamedTuple):
    """The order began anew: what it was before is void, and the outcomes after this one are of the new order.

    Attributes:
        epoch: the name of the new order.
        head: the new order's messages up to this ``seq`` are in its history; those after it are delivered next.
    """

    epoch: str
    head: int = 0


Outcome: TypeAlias = Accepted | Repeated | Refused | Began
"""What became of messages that were submitted one after the other, or of their order."""

Deliver: TypeAlias = Callable[[Sequence[Outcome]], None]
"""Called from the loop with outcomes, in the room's order."""

Lose: TypeAlias = Callable[[CallError], None]
"""Called from the loop if an order cannot go on, with the error that ends the streams of everyone in its room."""

Report: TypeAlias = Callable[[str], None]
"""Called from the loop with why a broker cannot be reached; with an empty text once it can be reached again."""

DeliverEvents: TypeAlias = Callable[[Sequence[Event] | CallError], None]
"""Called with the messages that were read, or with the reason why they cannot be read."""


class Figure(NamedTuple):
    """A number about a broker, for who watches the server.

    Attributes:
        name: in base units.
        what: what it says.
        value: what it is at the moment.
        rises: whether it counts something since the start.
    """

    name: str
    what: str
    value: float
    rises: bool = False


class Order(Protocol):
    """The order of one room. No method waits: an order that needs time answers later.

    It may begin anew while the room is open, if its messages are lost or were set back. ``Began`` is delivered
    then, and from that moment on ``epoch``, ``head``, ``oldest`` and ``read`` are those of the new order.
    """

    @property
    def epoch(self) -> str:
        """The name of this order. The ``seq`` of different epochs cannot be compared."""

    @property
    def head(self) -> int:
        """The ``seq`` of the last message that was accepted; 0 if none was."""

    @property
    def oldest(self) -> int:
        """The ``seq`` of the oldest message that can still be read; ``head + 1`` if none can."""

    @property
    def displaced(self) -> int:
        """The ``seq`` of the last message that cannot be read any more because newer ones took its place; 0 if none.

        Others are too old, or were lost by what keeps them.
        """

    @property
    def full(self) -> bool:
        """Whether so many entries are unanswered that no more should be submitted for now."""

    def begin(self, deliver: Deliver, lose: Lose) -> None:
        """Call ``deliver`` with outcomes from now on, until ``release``. Call this directly after ``Broker.open``.

        Args:
            deliver: gets the outcomes.
            lose: to be called if this order cannot go on, for example because its servers have been out of reach for
                too long. Then it is released, everyone in the room is disconnected, and clients that come back open the
                order again, perhaps with another epoch.
        """

    def submit(self, entries: Sequence[Entry]) -> None:
        """Put ``entries`` in order. The outcomes are delivered at once, or later.

        Args:
            entries: messages of one author.

        Raises:
            BcastError: ``BROKER_UNAVAILABLE``: none of them is accepted.
        """

    def after_answers(self, callback: Callable[[], None]) -> None:
        """Call back when everything submitted so far has been answered: at once, or later from the loop."""

    def read(self, after: int, count: int, max_bytes: int, deliver: DeliverEvents) -> None:
        """Read the messages after a seq, and deliver them: at once if they are in memory, else from the loop.

        Args:
            after: a seq less than ``head``, and at least ``oldest - 1``.
            count: most messages to deliver.
            max_bytes: most bytes to deliver; a single larger message is delivered alone.
            deliver: called once: with the messages, with none if they have been dropped since (``oldest`` is then
                greater), or with the reason why they cannot be read.
        """

    def release(self) -> None:
        """Note that the room is empty. The broker keeps the order for clients that come back."""


class Broker(Protocol):
    """Puts the messages of each room in one order, and keeps them as long as its retention says.

    All methods are called from the loop.
    """

    async def start(self, report: Report) -> None:
        """Connect to what keeps the orders, if that is another program. Called once, before any room is opened.

        Args:
            report: to be called when it cannot be reached any more, and when it can. Meanwhile the server's health is
                ``NOT_SERVING``.

        Raises:
            CannotOpen: the server cannot start.
        """
        return

    async def open(self, room: str) -> Order:
        """Return the room's order: a new one, or the one that is still kept.

        Calls for the same room may overlap; all of them return the same order. A call that is cancelled leaves nothing.

        Raises:
            CallError: ``BROKER_UNAVAILABLE``. The next call tries again.
        """

    async def reach(self, room: str, after: ResumePoint) -> None:
        """Wait until the order of an open room leads to a place that another server told, or surely does not.

        Servers that share an order do not all know the same end of it. Without others, there is nothing to wait for.

        Raises:
            CallError: ``BROKER_UNAVAILABLE``: that cannot be said in time.
        """
        return

    def expire(self) -> None:
        """Drop what has expired. Called now and then."""

    def relieve(self) -> None:
        """Drop histories from memory if the process holds too much. Called every few seconds."""

    def figures(self) -> Iterable[Figure]:
        """Return numbers for who watches the server; always the same ones, and none where there is nothing to say."""
        return ()

    async def close(self) -> None:
        """Write what was submitted, if there is a store, and close it. May be called again, and without ``start``."""
