"""Events that were received and not taken yet, within bounds. No I/O, and no waiting."""

from __future__ import annotations

from collections import deque
from itertools import islice

from bcast_grpc.events import Event, Gap, GapReason, Kind


class Inbox:
    """A bounded queue of events. The code that fills it checks ``full``, and either stops or calls ``trim()``.

    Bytes are those on the wire, counted by the frame: a frame counts until its last event is taken.

    Args:
        max_events: how many events may wait; 2 or more, for a gap and what follows it.
        max_bytes: how many bytes may wait; a single larger frame is accepted too.

    Attributes:
        events: the waiting events, oldest first; take them with ``events.popleft()``.
    """

    def __init__(self, max_events: int, max_bytes: int) -> None:
        if max_events < 2:
            raise ValueError(f"max_buffered must be 2 or more, not {max_events}")
        self.events: deque[Event] = deque()
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._frames: deque[tuple[int, int]] = deque()  # the number of its last event, and its bytes
        self._last = 0  # the number of the last event put
        self._bytes = 0

    @property
    def place(self) -> int:
        """How many events were taken or dropped so far."""
        return self._last - len(self.events)

    @property
    def full(self) -> bool:
        """Whether a bound is reached."""
        return len(self.events) >= self._max_events or self._waiting_bytes() >= self._max_bytes

    @property
    def half_empty(self) -> bool:
        """Whether there is enough room to read on."""
        return len(self.events) <= self._max_events // 2 and self._waiting_bytes() <= self._max_bytes // 2

    def put(self, events: list[Event], size: int) -> None:
        """Add the events of a frame of ``size`` bytes, even past the bounds."""
        self.events.extend(events)
        self._last += len(events)
        self._bytes += size
        self._frames.append((self._last, size))

    def tell(self, event: Event) -> None:
        """Add an event of our own; a ``RECONNECTING`` replaces the one before it, if that is still the newest."""
        if self.events and self.events[-1].kind is event.kind is Kind.RECONNECTING:
            self.events[-1] = event
        else:
            self.put([event], 0)

    def trim(self) -> None:
        """Drop the oldest events until the bounds hold, and put a ``GAP`` in their place.

        If the first event is a gap already, it is extended. The newest frame is not dropped for its size.
        """
        by_count = len(self.events) - self._max_events
        excess = max(by_count + 1 if by_count > 0 else 0, self._excess_by_bytes())  # one more: the gap takes a place
        if not excess:
            return
        loss = _Loss()
        for _ in range(excess):
            loss.add(self.events.popleft())
        self._forget_frames(self.place)
        self.events.appendleft(loss.event())

    def _waiting_bytes(self) -> int:
        self._forget_frames(self.place)
        return self._bytes

    def _forget_frames(self, last_taken: int) -> None:
        while self._frames and self._frames[0][0] <= last_taken:
            self._bytes -= self._frames.popleft()[1]

    def _excess_by_bytes(self) -> int:
        """How many of the oldest events are in frames that exceed the bound."""
        waiting, excess = self._waiting_bytes(), 0
        if waiting > self._max_bytes:
            for last, size in islice(self._frames, len(self._frames) - 1):
                excess = last - self.place
                waiting -= size
                if waiting <= self._max_bytes:
                    break
        return excess


class _Loss:
    """Adds up dropped events into one gap."""

    def __init__(self) -> None:
        self._first = 0
        self._last = 0
        self._new_epoch = False
        self._time_ns = 0

    def add(self, event: Event) -> None:
        self._time_ns = event.time_ns
        if event.kind is Kind.MESSAGE:
            self._extend(event.seq, event.seq)
        elif isinstance(event.detail, Gap):
            self._new_epoch |= event.detail.reason is GapReason.NEW_EPOCH
            self._extend(event.detail.first_missed, event.detail.last_missed)

    def event(self) -> Event:
        if self._new_epoch:  # numbers of two epochs cannot be compared
            gap = Gap(0, 0, GapReason.NEW_EPOCH)
            return Event(
                Kind.GAP, "you missed messages, and the room began a new epoch", time_ns=self._time_ns, detail=gap
            )
        gap = Gap(self._first, self._last, GapReason.SLOW)
        return Event(Kind.GAP, self._text(), time_ns=self._time_ns, detail=gap)

    def _extend(self, first: int, last: int) -> None:
        self._first = self._first or first
        self._last = last or self._last

    def _text(self) -> str:
        if not self._last:
            return "you missed notices"
        if self._first == self._last:
            return f"you missed message {self._first}"
        return f"you missed messages {self._first} to {self._last}"
