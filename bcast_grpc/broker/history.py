"""The messages of a room's order that are still kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bcast_grpc.broker.budget import Budget
from bcast_grpc.events import Event, wire_bytes

MESSAGE_BYTES = 416
"""What a kept message takes beside what it is on the wire, where each has another author."""

ROOM_BYTES = 1024
"""What a room's order takes with nothing in it."""

_NS = 1_000_000_000
_COMPACT = 256


@dataclass(frozen=True, slots=True)
class Retention:
    """How much is kept of each room's order, and of all together.

    Attributes:
        messages: at the most.
        bytes: text, data and what comes along with them.
        age_s: of the oldest message.
        dedup_s: how long an ``id`` is remembered.
        budget: what all rooms share.
    """

    messages: int = 1000
    bytes: int = 8 * 1024 * 1024
    age_s: float = 3600.0
    dedup_s: float = 120.0
    budget: Budget = field(default_factory=Budget)


class History:
    """The last messages of an order, without a hole, within the bounds of a ``Retention``.

    How old a message is says the steady clock at its arrival. ``Event.time_ns`` is only shown.

    Attributes:
        head: the place of the last message that was added, kept or not.
        held: how many bytes of memory the messages take, about.
    """

    __slots__ = ("_arrivals", "_budget", "_bytes", "_events", "_gone", "_retention", "_sizes", "head", "held")

    def __init__(self, retention: Retention, head: int = 0) -> None:
        self.head = head
        self.held = 0
        self._budget = retention.budget
        self._budget.rooms += ROOM_BYTES
        self._retention = retention
        self._events: list[Event] = []
        self._sizes: list[int] = []
        self._arrivals: list[int] = []
        self._gone = 0  # how many of the first in the lists are kept no longer
        self._bytes = 0

    def __del__(self) -> None:  # whoever lets go of a history need not know that it was counted
        self._budget.rooms -= ROOM_BYTES
        self._budget.histories -= self.held

    def __len__(self) -> int:
        return len(self._events) - self._gone

    @property
    def first(self) -> int:
        """The place of the oldest message that is kept; the one after ``head`` if none is."""
        return self.head - len(self) + 1

    def extend(self, events: Sequence[Event], now_ns: int) -> None:
        """Add the next messages of the order, and drop as many of the oldest as are too many.

        Cost: O(len(events)).

        Args:
            events: with the places that follow ``head``.
            now_ns: when they arrived, by the steady clock; not before the ones before them.
        """
        sizes = [wire_bytes(event) for event in events]
        self._events += events
        self._sizes += sizes
        self._arrivals += [now_ns] * len(events)
        self._bytes += sum(sizes)
        wide = [event.message for event in events if not event.message.isascii()]
        self._hold(sum(sizes) + MESSAGE_BYTES * len(events) + sum(map(_more_bytes, wide)))
        self.head += len(events)
        retention = self._retention
        while len(self) > retention.messages or self._bytes > retention.bytes:
            self._drop()
        self._compact()

    def after(self, seq: int, count: int, max_bytes: int) -> Sequence[Event]:
        """Return what comes after the place ``seq`` or, if that is not kept, after what is gone.

        Args:
            seq: a place, ``head`` at the most.
            count: how many messages at the most.
            max_bytes: how much at the most, a single larger message apart.
        """
        begin = self._gone + max(0, seq + 1 - self.first)
        end = begin
        size = 0
        for end in range(begin, min(begin + count, len(self._events))):
            size += self._sizes[end]
            if size > max_bytes and end > begin:
                break
        else:
            end = min(begin + count, len(self._events))
        return self._events[begin:end]

    def expire(self, now_ns: int) -> None:
        """Drop what is too old by the steady clock."""
        oldest_ns = now_ns - round(self._retention.age_s * _NS)
        while len(self) and self._arrivals[self._gone] < oldest_ns:
            self._drop()
        self._compact()

    def shrink(self, held: int) -> None:
        """Drop the oldest messages, until the others take at most ``held`` bytes of memory."""
        while self.held > held and len(self):
            self._drop()
        self._compact()

    def release(self) -> None:
        """Let go of all messages, which are in a store as well: ``first`` stays, and so does what the store holds."""
        self.head = self.first - 1
        self._events, self._sizes, self._arrivals = [], [], []
        self._gone = self._bytes = 0
        self._hold(-self.held)

    def _drop(self) -> None:
        size, text = self._sizes[self._gone], self._events[self._gone].message
        self._bytes -= size
        self._hold(-size - MESSAGE_BYTES - (0 if text.isascii() else _more_bytes(text)))
        self._gone += 1

    def _hold(self, more: int) -> None:
        self.held += more
        self._budget.histories += more

    def _compact(self) -> None:
        if self._gone == len(self._events) or (self._gone >= _COMPACT and 4 * self._gone >= len(self._events)):
            del self._events[: self._gone]
            del self._sizes[: self._gone]
            del self._arrivals[: self._gone]
            self._gone = 0


def _more_bytes(text: str) -> int:
    """Return how much more than on the wire a text may take in memory that is not ASCII alone."""
    return 3 * len(text)
