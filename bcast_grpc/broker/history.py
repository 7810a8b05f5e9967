"""The messages of a room's order that are still kept."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from bcast_grpc.broker.budget import Budget
from bcast_grpc.events import Event, Kind

MESSAGE_BYTES = 416
"""Memory of a message beyond its size on the wire, if every message has another author."""

ROOM_BYTES = 1024
"""Memory of an empty order."""

_PLACE_BYTES = 16  # memory of a message's size and age, which are kept even if the message is not in memory

_NS = 1_000_000_000
_UNLOADED = Event(Kind.MESSAGE, "")
_COMPACT = 256
_NONE = array("q")  # for all that have had no messages yet: an array takes 80 bytes, and most rooms are quiet


@dataclass(frozen=True, slots=True)
class Retention:
    """How much is kept of each room's order, and of all orders together.

    Attributes:
        messages: most messages of a room.
        bytes: most bytes of a room, as ``wire_bytes`` counts them.
        age_s: largest age of a message.
        dedup_s: how long an ``id`` is remembered.
        budget: the memory that all rooms share.
    """

    messages: int = 1000
    bytes: int = 8 * 1024 * 1024
    age_s: float = 3600.0
    dedup_s: float = 120.0
    budget: Budget = field(default_factory=Budget)


class History:
    """The last messages of an order, without a hole, within the bounds of a ``Retention``.

    The newest of them are in memory. Older ones may be in a store alone; then only their sizes and ages are known here.
    The age of a message is measured by the steady clock; ``Event.time_ns`` is only shown.

    Attributes:
        head: the ``seq`` of the last message that was added, whether it is still kept or not.
        displaced: the ``seq`` of the last message that newer ones took the place of; 0 if there was none.
        held: about how many bytes of memory the messages take.
    """

    __slots__ = (
        "_arrivals",
        "_away",
        "_base",
        "_budget",
        "_bytes",
        "_events",
        "_fixed",
        "_gone",
        "_retention",
        "_sizes",
        "displaced",
        "head",
        "held",
    )

    def __init__(self, retention: Retention, head: int = 0) -> None:
        self.head = head
        self.displaced = 0
        self.held = 0
        self._budget = retention.budget
        self._fixed = ROOM_BYTES
        self._budget.rooms += ROOM_BYTES
        self._retention = retention
        self._events: list[Event] = []
        self._sizes = self._arrivals = _NONE
        self._gone = 0  # how many messages at the beginning of the arrays are no longer kept
        self._away = 0  # how many messages at the beginning of the arrays are not in memory; at least _gone
        self._base = 0  # the index in the arrays of the first event in the list
        self._bytes = 0

    def __del__(self) -> None:  # so that code that drops a history need not update the budget
        self._budget.rooms -= self._fixed
        self._budget.histories -= self.held

    def __len__(self) -> int:
        return len(self._sizes) - self._gone

    @property
    def first(self) -> int:
        """The ``seq`` of the oldest message that is kept; ``head + 1`` if none is."""
        return self.head - len(self) + 1

    @property
    def first_in_memory(self) -> int:
        """The ``seq`` of the oldest message that is in memory; ``head + 1`` if none is."""
        return self.head - len(self._sizes) + 1 + self._away

    def count_in(self, budget: Budget) -> None:
        """Count this history in another budget from now on."""
        for counted, sign in ((self._budget, -1), (budget, 1)):
            counted.rooms += sign * self._fixed
            counted.histories += sign * self.held
        self._budget = budget

    def extend(self, events: Sequence[Event], sizes: Sequence[int], now_ns: int) -> None:
        """Add the next messages of the order, and drop the oldest ones beyond the bounds.

        Cost: O(len(events)).

        Args:
            events: the messages that follow ``head``.
            sizes: the ``wire_bytes`` of each.
            now_ns: when they arrived, by the steady clock; not earlier than the messages before them.
        """
        size = sum(sizes)
        self._events += events
        self._have_arrays()
        self._sizes.extend(sizes)
        self._arrivals.extend([now_ns] * len(events))
        self._bytes += size
        self._hold(size + _more_bytes(events))
        self.head += len(events)
        self._drop_excess()

    def extend_stored(self, sizes: Sequence[int], arrivals: Sequence[int]) -> None:
        """Add the next messages of the order, which stay in the store. No message in memory may precede them.

        Args:
            sizes: the size of each, by ``wire_bytes``.
            arrivals: when each arrived, by the steady clock.
        """
        self._have_arrays()
        self._sizes.extend(sizes)
        self._arrivals.extend(arrivals)
        self._bytes += sum(sizes)
        self._away = self._base = len(self._sizes)
        self.head += len(sizes)
        self._drop_excess()

    def after(self, seq: int, count: int, max_bytes: int) -> Sequence[Event]:
        """Return the messages after ``seq``; if that is not in memory, those from ``first_in_memory`` on.

        Args:
            seq: at most ``head``.
            count: most messages to return.
            max_bytes: most bytes to return; a single larger message is returned alone.
        """
        begin = self._away + max(0, seq + 1 - self.first_in_memory)
        end = begin
        size = 0
        for end in range(begin, min(begin + count, len(self._sizes))):
            size += self._sizes[end]
            if size > max_bytes and end > begin:
                break
        else:
            end = min(begin + count, len(self._sizes))
        return self._events[begin - self._base : end - self._base]

    def expire(self, now_ns: int) -> None:
        """Drop the messages that have expired by the steady clock."""
        oldest_ns = now_ns - round(self._retention.age_s * _NS)
        while len(self) and self._arrivals[self._gone] < oldest_ns:
            self._drop()
        self._compact()

    def shrink(self, held: int) -> None:
        """Drop the oldest messages, until the others take at most ``held`` bytes of memory."""
        while self.held > held and len(self):
            self._drop()
        self._compact()

    def drop_before(self, seq: int) -> None:
        """Drop the messages before ``seq``, because the store has lost them."""
        if (count := min(seq, self.head + 1) - self.first) > 0:
            self._drop(count)
            self._compact()

    def unload(self, held: int) -> None:
        """Drop the oldest messages from memory alone, until the others take at most ``held`` bytes."""
        while self.held > held and self.first_in_memory <= self.head:
            self._unload()
        self._compact()

    def _have_arrays(self) -> None:
        if self._sizes is _NONE:
            self._sizes, self._arrivals = array("q"), array("q")

    def _drop_excess(self) -> None:
        retention, first = self._retention, self.first
        if (excess := len(self) - retention.messages) > 0:
            self._drop(excess)
        while self._bytes > retention.bytes:
            self._drop()
        if self.first > first:
            self.displaced = self.first - 1
        self._compact()

    def _drop(self, count: int = 1) -> None:
        end = self._gone + count
        self._bytes -= sum(self._sizes[self._gone : end])
        if end > self._away:
            self._unload(end - self._away)
        self._gone = end

    def _unload(self, count: int = 1) -> None:
        end = self._away + count
        sizes = self._sizes[self._away : end]
        places = slice(self._away - self._base, end - self._base)
        self._hold(-sum(sizes) - _more_bytes(self._events[places]))
        self._events[places] = [_UNLOADED] * count  # `_compact` shortens the list later
        self._away = end

    def _hold(self, more: int) -> None:
        self.held += more
        self._budget.histories += more

    def _compact(self) -> None:
        if _worthwhile(gone := self._away - self._base, len(self._events)):
            del self._events[:gone]
            self._base = self._away
        if _worthwhile(gone := self._gone, len(self._sizes)):
            del self._sizes[:gone]
            del self._arrivals[:gone]
            self._gone = 0
            self._away -= gone
            self._base -= gone
        fixed = ROOM_BYTES + _PLACE_BYTES * len(self._sizes)
        self._budget.rooms += fixed - self._fixed
        self._fixed = fixed


def _worthwhile(gone: int, count: int) -> bool:
    """Whether so many of the items of a list are gone that moving the others is worth its cost."""
    return gone == count > 0 or (gone >= _COMPACT and 4 * gone >= count)


def _more_bytes(events: Sequence[Event]) -> int:
    """Return how much more memory messages may take than they have bytes on the wire."""
    texts = [event[1] for event in events]
    wide = 0 if "".join(texts).isascii() else sum(len(text) for text in texts if not text.isascii())
    return MESSAGE_BYTES * len(events) + 3 * wide
