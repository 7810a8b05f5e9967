"""A client in a room: it is given what it can hold, and let go where it does not read."""

from __future__ import annotations

import logging

import pytest

from bcast_grpc.core.batch import Frame
from bcast_grpc.core.member import Member, Offered, slow_consumer
from bcast_grpc.core.outbox import Outbox
from bcast_grpc.errors import ErrorCode
from bcast_grpc.events import Author, Event, Kind

from .world import PlainWire


def member_of(max_messages: int) -> Member:
    """A member with an empty queue."""
    encoder = PlainWire(1000).encoder
    outbox = Outbox(encoder, max_messages=max_messages, max_bytes=1000, wake=lambda: None)
    return Member(Author("session", "", "session"), outbox)


def test_a_member_wants_messages_only_unless_it_says_more() -> None:
    """By default it gets no notices, no echo, and may write."""
    member = member_of(1)
    assert (member.kinds, member.echo, member.reader) == (frozenset({Kind.MESSAGE}), False, False)


def test_answers_are_queued_in_its_own_format() -> None:
    """Answers to one client are encoded for it, in as few frames as its format allows."""
    member = member_of(2)
    member.answer([Event(Kind.ACK, "one"), Event(Kind.ACK, "two")])
    assert member.outbox.queued_messages == 2
    assert member.outbox.take() is not None
    assert member.outbox.take() is None


def test_a_full_queue_ends_the_call_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """A slow client is told so by its status, its queue is dropped, and the log has one line for it."""
    member = member_of(1)
    assert member.offer([Frame(b"a", 1)]) is Offered.QUEUED
    with caplog.at_level(logging.WARNING):
        assert member.offer([Frame(b"b", 1)]) is Offered.DISCONNECTED
        assert member.offer([Frame(b"c", 1)]) is Offered.TOO_LATE
    assert member.outbox.error is not None
    assert member.outbox.error.code is ErrorCode.SLOW_CONSUMER
    assert member.outbox.discarded
    assert [record.message for record in caplog.records] == [
        "slow consumer: session session, 1 messages queued: disconnected"
    ]


def test_a_leaving_member_takes_nothing_more() -> None:
    """An offer after the end is neither taken nor refused."""
    member = member_of(1)
    member.outbox.close()
    assert member.offer([Frame(b"a", 1)]) is Offered.TOO_LATE
    assert member.outbox.error is None


def test_a_slow_client_is_told_its_bounds() -> None:
    """The status says how much is queued for one client."""
    error = slow_consumer(member_of(7).outbox)
    assert error.code is ErrorCode.SLOW_CONSUMER
    assert error.retryable
    assert "7 messages" in error.reason
    assert "1000 bytes" in error.reason
