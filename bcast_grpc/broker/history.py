"""The messages of a room's order that are still kept, and the ids that are still remembered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from bcast_grpc.events import Event, Place, wire_bytes

_NS = 1_000_000_000
_MAX_IDS = 100_000
_COMPACT = 256


@dataclass(frozen=True, slots=True)
class Retention:
    """How much is kept of each room's order.

    Attributes:
        messages: at the most.
        bytes: text, data and what comes along with them.
        age_s: of the oldest message.
        dedup_s: how long an ``id`` is remembered.
    """

    messages: int = 1000
    bytes: int = 8 * 1024 * 1024
    age_s: float = 3600.0
    dedup_s: float = 120.0


class History:
    """The last messages of an order, without a hole, within the bounds of a ``Retention``.

    How old a message is says the steady clock at its arrival. ``Event.time_ns`` is only shown.

    Attributes:
        head: the place of the last message that was added, kept or not.
    """

    __slots__ = ("_arrivals", "_bytes", "_events", "_gone", "_retention", "_sizes", "head")

    def __init__(self, retention: Retention, head: int = 0) -> None:
        self.head = head
        self._retention = retention
        self._events: list[Event] = []
        self._sizes: list[int] = []
        self._arrivals: list[int] = []
        self._gone = 0  # how many of the first in the lists are kept no longer
        self._bytes = 0

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

    def _drop(self) -> None:
        self._bytes -= self._sizes[self._gone]
        self._gone += 1

    def _compact(self) -> None:
        if self._gone == len(self._events) or (self._gone >= _COMPACT and 4 * self._gone >= len(self._events)):
            del self._events[: self._gone]
            del self._sizes[: self._gone]
            del self._arrivals[: self._gone]
            self._gone = 0


class Ids:
    """The ids that authors gave their messages, and the places of those: for a while, and not more than so many."""

    __slots__ = ("_known", "_window_ns")

    def __init__(self, retention: Retention) -> None:
        self._window_ns = round(retention.dedup_s * _NS)
        self._known: OrderedDict[tuple[str, str], tuple[Place, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def find(self, key: str, id_: str, now_ns: int) -> Place | None:
        """Return the place of an author's message with this id, if it is remembered at ``now_ns``, a steady time."""
        place, arrival_ns = self._known.get((key, id_), (None, 0))
        return place if arrival_ns > now_ns - self._window_ns else None

    def add(self, key: str, id_: str, place: Place, now_ns: int) -> None:
        """Remember an id from ``now_ns`` on, a steady time."""
        self._known[key, id_] = place, now_ns
        self._known.move_to_end((key, id_))
        if len(self._known) > _MAX_IDS:
            self._known.popitem(last=False)

    def forget(self, key: str, id_: str) -> None:
        """Forget an id whose message got no place after all."""
        self._known.pop((key, id_), None)

    def expire(self, now_ns: int) -> None:
        """Forget what is too old by the steady clock."""
        oldest_ns = now_ns - self._window_ns
        while self._known and next(iter(self._known.values()))[1] <= oldest_ns:
            self._known.popitem(last=False)
