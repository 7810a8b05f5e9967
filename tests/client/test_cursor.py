"""The cursor goes on after the last that came, and lets nothing pass twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcast_grpc.client.cursor import Cursor
from bcast_grpc.events import Ack, Gap, GapReason, ResumePoint


def cursor(history: int = 0, *, echo: bool = False, head: int | None = 10) -> Cursor:
    """One that came into a room."""
    cursor = Cursor(history=history, echo=echo)
    cursor.begin("e")
    if head is not None:
        cursor.welcome(head)
    return cursor


@given(st.lists(st.integers(1, 20), max_size=40))
def test_no_message_passes_twice_nor_after_a_later_one(seqs: list[int]) -> None:
    """Whatever is repeated."""
    here = cursor(head=0)
    passed = [seq for seq in seqs if here.take(seq)]
    assert passed == sorted(set(passed))
    assert here.resume_point == ResumePoint("e", max(seqs, default=0))


def test_without_a_word_of_the_server_there_is_no_place() -> None:
    """The room's head is one, the beginning of the history that was asked for too, and a message."""
    assert cursor(head=None).resume_point is None
    assert cursor().resume_point == ResumePoint("e", 10)
    assert cursor(history=3).resume_point == ResumePoint("e", 7)
    assert cursor(history=30).resume_point == ResumePoint("e", 0)
    here = cursor(head=None)
    here.take(5)
    assert here.resume_point == ResumePoint("e", 5)


def test_the_history_passes_though_it_is_older_than_the_head() -> None:
    """And moves the place."""
    here = cursor(history=3)
    assert here.take(8)
    assert here.resume_point == ResumePoint("e", 8)


@given(st.lists(st.booleans(), max_size=30), st.data())
def test_ones_own_messages_are_passed_once_all_before_them_came(own: list[bool], data: st.DataObject) -> None:
    """In whatever order the acknowledgements come between; never beyond what is still to come."""
    here, last, open_ = cursor(head=0), 0, {seq for seq, _ in enumerate(own, 1)}
    acks = [seq for seq, mine in enumerate(own, 1) if mine]
    others = [seq for seq, mine in enumerate(own, 1) if not mine]
    while acks or others:
        if acks and (not others or data.draw(st.booleans())):
            seq = acks.pop(0)
            here.own(Ack(seq, "e"))
        else:
            seq = others.pop(0)
            assert here.take(seq)
        open_.discard(seq)
        last = max(last, here.resume_point.seq if here.resume_point else 0)
        assert all(other > last for other in others)
    assert here.resume_point == ResumePoint("e", len(own))


@pytest.mark.parametrize("ack", [Ack(11, "other"), Ack(0, "e"), Ack()])
def test_an_acknowledgement_without_a_place_in_this_order_moves_nothing(ack: Ack) -> None:
    """Of a new name, say."""
    here = cursor()
    here.own(ack)
    assert here.resume_point == ResumePoint("e", 10)


def test_who_hears_oneself_is_moved_by_messages_alone() -> None:
    """Else they would be left out."""
    here = cursor(echo=True)
    here.own(Ack(11, "e"))
    assert here.resume_point == ResumePoint("e", 10)
    assert here.take(11)


def test_a_gap_is_passed() -> None:
    """What follows comes."""
    here = cursor()
    here.gap(Gap(11, 20, GapReason.SLOW))
    assert here.resume_point == ResumePoint("e", 20)
    assert here.take(21)


@pytest.mark.parametrize("told", ["hello", "gap"])
def test_a_new_order_begins_at_its_beginning(told: str) -> None:
    """With numbers that came before in another."""
    here = cursor()
    here.take(11)
    if told == "hello":
        here.begin("f")
    here.gap(Gap(0, 0, GapReason.NEW_EPOCH))
    assert here.resume_point == ResumePoint("f" if told == "hello" else "e", 0)
    assert here.take(1)
