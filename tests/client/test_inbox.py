"""The inbox keeps order and bounds, and tells exactly what it dropped."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcast_grpc.client.inbox import Inbox
from bcast_grpc.errors import ErrorCode
from bcast_grpc.events import Error, Event, Gap, GapReason, Kind

Step = Callable[["Model"], None]


def message(seq: int) -> Event:
    """A message in its place."""
    return Event(Kind.MESSAGE, f"m{seq}", seq=seq, time_ns=seq * 1000)


def gap(first: int, last: int, reason: GapReason = GapReason.TRIMMED) -> Event:
    """A gap that the server told of."""
    return Event(Kind.GAP, "", detail=Gap(first, last, reason))


LEFT = Event(Kind.LEFT, "ana left")


class Model:
    """An inbox beside what is known of it by the simplest means."""

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self.inbox = Inbox(max_events, max_bytes)
        self.max_events = max_events
        self.max_bytes = max_bytes
        self.frames: list[tuple[int, int]] = []
        self.seq = 0
        self.taken: list[Event] = []

    def put(self, count: int, size: int) -> None:
        """Put a frame of messages."""
        first = self.seq + 1
        self.seq += count
        self.inbox.put([message(seq) for seq in range(first, self.seq + 1)], size)
        self.frames.append((self.seq, size))

    def take(self, count: int) -> None:
        """Take some events, if there are so many."""
        for _ in range(min(count, len(self.inbox.events))):
            self.taken.append(self.inbox.events.popleft())

    def trim(self) -> None:
        """Trim, and look at the bounds."""
        newest = self.inbox.events[-1] if self.inbox.events else None
        self.inbox.trim()
        assert len(self.inbox.events) <= self.max_events
        assert self.waiting_bytes() <= self.max_bytes or len(self.waiting_frames()) == 1
        assert newest is None or self.inbox.events[-1] is newest

    def waiting_frames(self) -> list[int]:
        """The sizes of the frames of which a message waits."""
        seqs = [event.seq for event in self.inbox.events if event.seq]
        return [size for last, size in self.frames if seqs and last >= seqs[0]]

    def waiting_bytes(self) -> int:
        """How many bytes wait."""
        return sum(self.waiting_frames())


def puts() -> st.SearchStrategy[Step]:
    """Put a frame."""
    return st.builds(lambda n, size: lambda model: model.put(n, size), st.integers(1, 8), st.integers(1, 50))


def takes() -> st.SearchStrategy[Step]:
    """Take some."""
    return st.builds(lambda n: lambda model: model.take(n), st.integers(1, 10))


def trims() -> st.SearchStrategy[Step]:
    """Trim."""
    return st.just(lambda model: model.trim())


@given(st.integers(2, 12), st.integers(1, 120), st.lists(puts() | takes() | trims(), max_size=40))
def test_what_is_taken_and_what_the_gaps_tell_are_all_messages_once_and_in_order(
    max_events: int, max_bytes: int, steps: list[Step]
) -> None:
    """Whatever was put, taken and trimmed; and the bounds hold after each trim."""
    model = Model(max_events, max_bytes)
    for step in steps:
        step(model)
    model.take(len(model.inbox.events))
    next_seq = 1
    for event in model.taken:
        if isinstance(event.detail, Gap):
            assert event.detail.reason is GapReason.SLOW
            assert event.detail.first_missed == next_seq
            assert event.detail.last_missed >= next_seq
            next_seq = event.detail.last_missed + 1
        else:
            assert event.seq == next_seq
            next_seq += 1
    assert next_seq == model.seq + 1


@given(st.integers(2, 12), st.integers(1, 120), st.lists(puts() | trims(), max_size=40))
def test_drops_with_nothing_taken_between_make_one_gap(max_events: int, max_bytes: int, steps: list[Step]) -> None:
    """It is extended, not repeated."""
    model = Model(max_events, max_bytes)
    for step in steps:
        step(model)
    kinds = [event.kind for event in model.inbox.events]
    assert Kind.GAP not in kinds[1:]


@given(st.integers(2, 12), st.integers(1, 120), st.lists(puts() | takes() | trims(), max_size=40))
def test_it_is_full_when_a_bound_is_reached(max_events: int, max_bytes: int, steps: list[Step]) -> None:
    """In events, or in the bytes of the frames that they came in."""
    model = Model(max_events, max_bytes)
    for step in steps:
        step(model)
        waiting = len(model.inbox.events)
        assert model.inbox.full == (waiting >= max_events or model.waiting_bytes() >= max_bytes)
        assert model.inbox.half_empty == (waiting <= max_events // 2 and model.waiting_bytes() <= max_bytes // 2)


@given(st.lists(puts() | takes() | trims(), max_size=40))
def test_a_place_is_passed_once(steps: list[Step]) -> None:
    """What was taken or dropped is counted, and never less than before."""
    model = Model(5, 60)
    places = []
    for step in steps:
        step(model)
        places.append(model.inbox.place)
        assert model.inbox.place == model.seq - len(model.inbox.events)
    assert all(before <= after for before, after in pairwise(places))


def trimmed(*events: Event) -> Event:
    """The gap that stands for these."""
    inbox = Inbox(2, 1000)
    inbox.put([*events, message(1000)], 1)
    inbox.trim()
    told, newest = inbox.events
    assert newest == message(1000)
    return told


@pytest.mark.parametrize(
    ("dropped", "told", "text"),
    [
        ([message(12), message(13), message(40)], Gap(12, 40, GapReason.SLOW), "you missed messages 12 to 40"),
        ([LEFT, message(7), LEFT], Gap(7, 7, GapReason.SLOW), "you missed message 7"),
        ([LEFT, LEFT], Gap(0, 0, GapReason.SLOW), "you missed notices"),
        ([gap(3, 5), message(6)], Gap(3, 6, GapReason.SLOW), "you missed messages 3 to 6"),
        ([message(2), gap(3, 5)], Gap(2, 5, GapReason.SLOW), "you missed messages 2 to 5"),
        (
            [message(90), gap(0, 0, GapReason.NEW_EPOCH), message(1)],
            Gap(0, 0, GapReason.NEW_EPOCH),
            "you missed messages, and the room began a new epoch",
        ),
    ],
)
def test_a_gap_tells_of_all_that_was_dropped(dropped: list[Event], told: Gap, text: str) -> None:
    """Messages by their numbers, the server's own gaps included; and notices, which have none."""
    event = trimmed(*dropped)
    assert (event.kind, event.detail, event.message) == (Kind.GAP, told, text)


def test_a_refusal_that_is_dropped_is_told_as_a_notice() -> None:
    """It has no number either."""
    refusal = Event(Kind.ERROR, "no", id="7", detail=Error(ErrorCode.RATE_LIMITED, "no"))
    assert trimmed(refusal, refusal).message == "you missed notices"


def test_a_gap_has_the_time_of_the_last_that_it_stands_for() -> None:
    """So it fits between its neighbours."""
    assert trimmed(message(5), message(6)).time_ns == 6000


def test_a_bound_that_leaves_no_room_for_a_gap_is_refused() -> None:
    """A gap and what came after it: two at least."""
    with pytest.raises(ValueError, match="max_buffered must be 2 or more, not 1"):
        Inbox(1, 1)
