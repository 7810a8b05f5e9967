"""What is pending: in order, and never more at once than a flush may take."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bcast_grpc.core import pending as pending_module
from bcast_grpc.core.batch import Run
from bcast_grpc.core.pending import Pending
from bcast_grpc.events import Author, Entry, Event, Kind, wire_bytes

from .world import placed

AUTHORS = [Author(key, "", key) for key in "abc"]
LARGE = "x" * 400
BYTES_OF_THREE = 3 * wire_bytes(Entry(AUTHORS[0], "x"))


def entries(*texts: str, author: Author = AUTHORS[0]) -> list[Entry]:
    """Messages of one author."""
    return [Entry(author, text) for text in texts]


def extend(pending: Pending, accepted: list[Entry], first_seq: int) -> None:
    """Have entries pending that were accepted in the places from ``first_seq`` on."""
    pending.extend(accepted, placed(accepted, first_seq), [wire_bytes(entry) for entry in accepted])


def seqs(runs: list[Run]) -> list[list[int]]:
    """The places in each run."""
    return [[event.seq for event in run.events] for run in runs]


def test_nothing_is_pending_at_first() -> None:
    """An empty one is falsy, not full, and a flush takes nothing from it."""
    pending = Pending(10, 1000)
    assert not pending
    assert not pending.full
    assert pending.take() == []
    assert pending.first == 0


def test_consecutive_messages_of_one_author_are_one_run() -> None:
    """Messages that come one after the other, in one call or several, are encoded together."""
    pending = Pending(10, 10_000)
    extend(pending, entries("a", "b"), 1)
    extend(pending, entries("c"), 3)
    assert seqs(pending.take()) == [[1, 2, 3]]


def test_another_author_begins_another_run() -> None:
    """A run has one audience."""
    pending = Pending(10, 10_000)
    extend(pending, [*entries("a"), *entries("b", author=AUTHORS[1]), *entries("c")], 1)
    assert seqs(pending.take()) == [[1], [2], [3]]


@given(st.lists(st.tuples(st.sampled_from(AUTHORS), st.sampled_from(["x", LARGE]), st.sampled_from(["", "id"]))))
@settings(deadline=None)
def test_messages_together_are_as_those_one_by_one(said: list[tuple[Author, str, str]]) -> None:
    """How many are accepted at once changes neither the runs nor who is answered."""
    some = [Entry(author, text, id=id_) for author, text, id_ in said]
    together, singly = Pending(4, BYTES_OF_THREE * 2), Pending(4, BYTES_OF_THREE * 2)
    extend(together, some, 1)
    for seq, entry in enumerate(some, 1):
        extend(singly, [entry], seq)
    assert (together.messages, together.full) == (singly.messages, singly.full)
    while singly:
        one, other = together.take(), singly.take()
        assert [(run.author, run.events, run.asked, run.bytes) for run in one] == [
            (run.author, run.events, run.asked, run.bytes) for run in other
        ]
    assert not together


def test_another_name_begins_another_run() -> None:
    """A run says one name: an author that changed it begins a new one."""
    pending = Pending(10, 10_000)
    extend(pending, entries("a"), 1)
    extend(pending, entries("b", author=AUTHORS[0]._replace(name="ana")), 2)
    assert seqs(pending.take()) == [[1], [2]]


def test_a_notice_stands_between_runs() -> None:
    """What came after a notice is not put before it."""
    pending = Pending(10, 10_000)
    extend(pending, entries("a"), 1)
    pending.append(Run.of_notice(Event(Kind.LEFT, "b left", AUTHORS[1])))
    extend(pending, entries("b"), 2)
    assert [run.kind for run in pending.take()] == [Kind.MESSAGE, Kind.LEFT, Kind.MESSAGE]


def test_a_mark_divides_runs() -> None:
    """What comes after a mark is in later runs, also from the same author."""
    pending = Pending(10, 10_000)
    extend(pending, entries("a"), 1)
    mark = pending.mark()
    extend(pending, entries("b"), 2)
    assert mark == 1
    assert seqs(pending.take()) == [[1], [2]]
    assert pending.mark() == pending.first == 2


def test_after_a_flush_a_new_run_begins() -> None:
    """A run that was taken grows no more."""
    pending = Pending(10, 10_000)
    extend(pending, entries("a"), 1)
    taken = pending.take()
    extend(pending, entries("b"), 2)
    assert seqs(taken) == [[1]]
    assert seqs(pending.take()) == [[2]]


def test_no_messages_change_nothing() -> None:
    """An empty answer of a broker does not join what comes after a notice or a line to what was before it."""
    pending = Pending(10, 10_000)
    pending.append(Run.of_notice(Event(Kind.LEFT, "b left", AUTHORS[1])))
    extend(pending, entries(), 1)
    extend(pending, entries("a", author=AUTHORS[1]), 1)
    assert [run.kind for run in pending.take()] == [Kind.LEFT, Kind.MESSAGE]


def test_a_flush_takes_no_more_messages_than_it_may() -> None:
    """Past ``batch_messages`` the rest waits for the next flush."""
    pending = Pending(2, 10_000)
    extend(pending, entries("a", "b", "c", "d", "e"), 1)
    assert [seqs(pending.take()) for _ in range(4)] == [[[1, 2]], [[3, 4]], [[5]], []]


def test_a_flush_takes_no_more_bytes_than_it_may() -> None:
    """Past ``batch_bytes`` the rest waits for the next flush."""
    pending = Pending(100, BYTES_OF_THREE)
    extend(pending, entries("a", "b", "c", "d"), 1)
    assert [seqs(pending.take()) for _ in range(3)] == [[[1, 2, 3]], [[4]], []]


def test_a_single_larger_message_is_taken_alone() -> None:
    """A message that is more than a flush may take is neither stuck nor in company."""
    pending = Pending(100, BYTES_OF_THREE)
    extend(pending, entries("a", LARGE, "b"), 1)
    assert [seqs(pending.take()) for _ in range(4)] == [[[1]], [[2]], [[3]], []]


def test_where_many_speak_a_flush_takes_fewer_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them sees another part of it, and to find that out takes time for each run."""
    monkeypatch.setattr(pending_module, "MAX_LOOKS", 12)
    pending = Pending(100, 10_000)
    for place in range(9):
        assert pending.full == (place >= 4)
        extend(pending, entries("a", author=AUTHORS[place % 3]), place + 1)
    assert [[run[0] for run in seqs(pending.take())] for _ in range(4)] == [[1, 2, 3, 4], [5, 6, 7, 8], [9], []]
    assert not pending.full


def test_who_has_left_sees_no_part_of_a_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a crowd that leaves is told of at once."""
    monkeypatch.setattr(pending_module, "MAX_LOOKS", 12)
    pending = Pending(100, 10_000)
    for place in range(20):
        pending.append(Run.of_notice(Event(Kind.LEFT, "", AUTHORS[place % 3])))
    assert not pending.full
    assert len(pending.take()) == 20


def test_how_much_a_flush_takes_may_change() -> None:
    """What was put together under a larger bound is taken whole, nothing is stuck, and more than the bound is full."""
    pending = Pending(100, BYTES_OF_THREE)
    extend(pending, entries("a", "b", "c"), 1)
    pending.batch_bytes = BYTES_OF_THREE // 3
    assert pending.full
    extend(pending, entries("d", "e"), 4)
    assert [seqs(pending.take()) for _ in range(4)] == [[[1, 2, 3]], [[4]], [[5]], []]


def test_full_says_that_a_flush_has_enough() -> None:
    """It is full from the last message or byte on that a flush may take."""
    by_messages, by_bytes = Pending(2, 10_000), Pending(100, BYTES_OF_THREE)
    extend(by_messages, entries("a"), 1)
    extend(by_bytes, entries("a", "b"), 1)
    assert not by_messages.full
    assert not by_bytes.full
    by_messages.append(Run.of_notice(Event(Kind.LEFT, "b left", AUTHORS[1])))
    extend(by_bytes, entries("c"), 3)
    assert by_messages.full
    assert by_bytes.full


@dataclass
class Item:
    """Something pending, as the model keeps it."""

    seq: int  # 0 for a notice
    session: str
    text: str
    mark: int  # how many lines had been drawn before it


class PendingMachine(RuleBasedStateMachine):
    """What is pending beside a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.pending = Pending(4, BYTES_OF_THREE)
        self.model: list[Item] = []
        self.marks: list[tuple[int, int]] = []  # the run's number, and how many items were taken in before it
        self.seq = 0
        self.added = 0
        self.taken = 0

    @rule(texts=st.lists(st.sampled_from(["x", "y", LARGE]), max_size=6), author=st.sampled_from(AUTHORS))
    def extend(self, texts: list[str], author: Author) -> None:
        """Messages are accepted."""
        extend(self.pending, entries(*texts, author=author), self.seq + 1)
        for text in texts:
            self.seq += 1
            self.model.append(Item(self.seq, author.session, text, len(self.marks)))
        self.added += len(texts)

    @rule(author=st.sampled_from(AUTHORS))
    def notice(self, author: Author) -> None:
        """Somebody leaves."""
        self.pending.append(Run.of_notice(Event(Kind.LEFT, "left", author)))
        self.model.append(Item(0, author.session, "left", len(self.marks)))
        self.added += 1

    @rule()
    def mark(self) -> None:
        """A line is drawn."""
        self.marks.append((self.pending.mark(), self.added))

    @rule()
    def take(self) -> None:
        """A flush takes the next runs: in order, within its bounds, each of one author and on one side of each line."""
        first = self.pending.first
        runs = self.pending.take()
        assert bool(runs) is bool(self.model)
        assert self.pending.first == first + len(runs)
        events = [event for run in runs for event in run.events]
        items, self.model = self.model[: len(events)], self.model[len(events) :]
        assert [(e.seq, e.session, e.message) for e in events] == [(i.seq, i.session, i.text) for i in items]
        assert len(runs) == 1 or len(events) <= 4
        assert len(events) == 1 or sum(run.bytes for run in runs) <= BYTES_OF_THREE
        at = 0
        for number, run in enumerate(runs, first):
            own = items[at : at + len(run.events)]
            assert len({(item.session, item.mark) for item in own}) == 1
            assert {event.kind for event in run.events} == {run.kind}
            for mark, before in self.marks:
                assert (number < mark) is (self.taken + at < before)
            at += len(run.events)
        self.taken += len(events)

    @invariant()
    def it_knows_how_much_there_is(self) -> None:
        """It is truthy while something is pending, and full while that is as much as a flush takes."""
        assert bool(self.pending) is bool(self.model)
        size = sum(96 + len(item.text) for item in self.model)
        assert self.pending.full is (len(self.model) >= 4 or size >= BYTES_OF_THREE)


PendingMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
TestPending = PendingMachine.TestCase


@given(st.lists(st.sampled_from(["x", LARGE]), min_size=1, max_size=30), st.integers(1, 5), st.integers(100, 900))
@settings(deadline=None)
def test_flushes_come_to_an_end(texts: list[str], batch_messages: int, batch_bytes: int) -> None:
    """Whatever the bounds, each flush takes something, and together they take everything once."""
    pending = Pending(batch_messages, batch_bytes)
    extend(pending, entries(*texts), 1)
    taken: list[int] = []
    while pending:
        runs = pending.take()
        assert runs
        taken += [event.seq for run in runs for event in run.events]
    assert taken == list(range(1, len(texts) + 1))
