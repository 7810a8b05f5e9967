"""One client's queue: bounded, in order, and never waited for."""

from __future__ import annotations

from collections import deque

import pytest

from bcast_grpc.core.batch import Encoder, Frame
from bcast_grpc.core.outbox import SHORT_BYTES, Outbox, OutboxClosed
from bcast_grpc.errors import CallError, ErrorCode

from .outboxes import FRAME_BYTES, nothing, outbox_of, taken

FAULT = CallError(ErrorCode.SLOW_CONSUMER, "too slow")


# --- bounds


def test_bounds_are_inclusive() -> None:
    """A queue holds exactly as many messages and bytes as its bounds say."""
    by_messages, _ = outbox_of(max_messages=2)
    assert by_messages.offer([Frame(b"a", 1), Frame(b"b", 1)])
    assert not by_messages.offer([Frame(b"c", 1)])
    by_bytes, _ = outbox_of(max_bytes=2)
    assert by_bytes.offer([Frame(b"ab", 1)])
    assert not by_bytes.offer([Frame(b"c", 1)])


def test_an_offer_is_taken_whole_or_not_at_all() -> None:
    """Of an offer that does not fit as a whole, nothing is queued, and a smaller one still may be."""
    outbox, _ = outbox_of(max_messages=3)
    assert outbox.offer([Frame(b"a", 2)])
    assert not outbox.offer([Frame(b"b", 1), Frame(b"c", 1)])
    assert (outbox.queued_messages, outbox.queued_bytes) == (2, 1)
    assert outbox.offer([Frame(b"d", 1)])
    assert taken(outbox) == [b"ad"]


def test_what_is_taken_makes_room() -> None:
    """The bounds are those of what is queued, not of what was ever offered."""
    outbox, _ = outbox_of(max_messages=1, max_bytes=1)
    for _ in range(3):
        assert outbox.offer([Frame(b"a", 1)])
        assert taken(outbox) == [b"a"]
    assert (outbox.queued_messages, outbox.queued_bytes) == (0, 0)


# --- frames


def test_neighbours_are_joined_up_to_the_frame_size() -> None:
    """A frame holds as many neighbours as fit, to the byte."""
    outbox, _ = outbox_of()
    outbox.offer([Frame(b"1234", 1), Frame(b"123456", 1), Frame(b"1", 1)])
    assert taken(outbox) == [b"1234123456", b"1"]


def test_a_single_larger_piece_is_a_frame_of_its_own() -> None:
    """What is larger than a frame may be is neither refused, nor split, nor joined."""
    outbox, _ = outbox_of()
    large = bytes(FRAME_BYTES + 1)
    outbox.offer([Frame(b"a", 1), Frame(large, 1), Frame(b"b", 1)])
    assert taken(outbox) == [b"a", large, b"b"]


def test_a_format_that_joins_nothing_gets_each_piece_alone() -> None:
    """With a frame size of 0, one piece is one frame."""
    outbox, _ = outbox_of(frame_bytes=0)
    outbox.offer([Frame(b"a", 1), Frame(b"b", 1)])
    assert taken(outbox) == [b"a", b"b"]


def test_a_lone_piece_is_not_copied() -> None:
    """The bytes that all clients share are handed on as they are."""
    outbox, _ = outbox_of()
    piece = bytes(5)
    outbox.offer([Frame(piece, 1)])
    assert outbox.take() is piece


# --- waking


@pytest.mark.parametrize(
    ("idle", "size", "room", "passed"),
    [
        (True, SHORT_BYTES, True, True),
        (True, SHORT_BYTES, False, False),
        (True, SHORT_BYTES + 1, True, False),
        (False, SHORT_BYTES, True, False),
    ],
)
def test_a_short_frame_is_passed_on_where_nothing_is_before_it(idle: bool, size: int, room: bool, passed: bool) -> None:
    """Else nothing happens: it may be offered."""
    outbox, wakes = outbox_of(max_bytes=2 * SHORT_BYTES)
    lines: list[bytes] = []

    def write_now(data: bytes) -> bool:
        lines.append(data)
        return room

    outbox.write_now = write_now
    assert outbox.take() is None
    if not idle:
        outbox.offer([Frame(b"before", 1)], wake=False)
    frame = Frame(bytes(size), 1, 7, True)
    assert outbox.pass_on(frame) is passed
    assert (outbox.seq, outbox.idle, wakes) == (7 if passed else 0, idle, [])
    assert lines == [frame.data] * (idle and size <= SHORT_BYTES)


def test_nothing_is_passed_on_after_close() -> None:
    """The call is ending."""
    outbox, _ = outbox_of()
    outbox.write_now = lambda _: True
    outbox.take()
    outbox.close()
    assert not outbox.pass_on(Frame(b"a", 1))


@pytest.mark.parametrize(("idle", "size"), [(False, 1), (True, SHORT_BYTES + 1), (True, SHORT_BYTES)])
def test_a_short_frame_is_deferred_where_nothing_is_before_it(idle: bool, size: int) -> None:
    """It is queued, and counts, but wakes nobody."""
    outbox, wakes = outbox_of(max_bytes=2 * SHORT_BYTES)
    assert outbox.take() is None
    if not idle:
        outbox.offer([Frame(b"before", 1)], wake=False)
    frame = Frame(bytes(size), 1, 7, True)
    deferred = idle and size <= SHORT_BYTES
    assert outbox.defer(frame) is deferred
    assert outbox.idle is (idle and not deferred)
    assert (frame in outbox.frames) is deferred
    assert wakes == []


def test_what_no_queue_holds_is_not_deferred() -> None:
    """It may be offered, so that it is decided what happens to the client."""
    outbox, _ = outbox_of(max_messages=3)
    outbox.take()
    assert not outbox.defer(Frame(b"a", 4))
    assert outbox.idle


def test_what_was_deferred_is_left_to_the_writer_where_the_line_has_no_room() -> None:
    """The writer is woken then."""
    outbox, wakes = outbox_of()
    outbox.take()
    outbox.defer(Frame(b"a", 1, 7, True))
    outbox.write_now = lambda _: False
    assert not outbox.send()
    assert (wakes, outbox.take(), outbox.seq) == ([1], b"a", 7)


def test_a_call_that_ends_takes_along_what_was_deferred() -> None:
    """The writer is woken by the end, and takes it; what is sent later is nothing."""
    outbox, _ = outbox_of()
    outbox.take()
    outbox.defer(Frame(b"a", 1))
    outbox.write_now = lambda _: True
    outbox.close()
    assert not outbox.send()
    assert taken(outbox) == [b"a"]


def test_discard_drops_what_was_deferred() -> None:
    """The client would not read it."""
    outbox, _ = outbox_of()
    outbox.take()
    outbox.defer(Frame(b"a", 1))
    outbox.close(FAULT, discard=True)
    assert (outbox.frames, outbox.queued_bytes, outbox.send(), outbox.take()) == (deque(), 0, False, None)


def test_a_busy_writer_is_not_woken() -> None:
    """Until the writer has found the queue empty, an offer wakes nobody."""
    outbox, wakes = outbox_of()
    outbox.offer([Frame(b"a", 1)])
    outbox.take()
    outbox.offer([Frame(b"b", 1)])
    assert wakes == []


def test_an_idle_writer_is_woken_once() -> None:
    """The first offer after the queue was found empty wakes the writer, the next one does not."""
    outbox, wakes = outbox_of()
    assert outbox.take() is None
    assert outbox.idle
    outbox.offer([Frame(b"a", 1)])
    outbox.offer([Frame(b"b", 1)])
    assert not outbox.idle
    assert wakes == [1]


def test_a_single_message_always_fits_an_empty_queue() -> None:
    """What a format makes of a message may be larger than the bound: who keeps up gets it all the same."""
    outbox, _ = outbox_of(max_bytes=10)
    assert outbox.offer([Frame(b"x" * 100, 1, 1, True)])
    assert not outbox.offer([Frame(b"a", 1, 2, True)])
    assert outbox.take() == b"x" * 100
    assert not outbox.offer([Frame(b"x" * 11, 2, 3, True)])
    assert outbox.offer([Frame(b"a", 1, 3, True)])


def test_a_refused_offer_wakes_nobody() -> None:
    """A writer is not woken for nothing."""
    outbox, wakes = outbox_of(max_messages=1)
    outbox.take()
    assert not outbox.offer([Frame(b"ab", 2)])
    assert outbox.idle
    assert wakes == []


def test_wake_comes_last() -> None:
    """Whoever is woken may take at once, in the same thread."""
    woken: list[bytes | None] = []
    outbox = Outbox(Encoder(nothing, 0), max_messages=1, max_bytes=1, wake=lambda: woken.append(outbox.take()))
    outbox.take()
    outbox.offer([Frame(b"a", 1)])
    outbox.close()
    assert woken == [b"a", None]


# --- the end


def test_after_close_nothing_more_is_taken_in() -> None:
    """An offer after ``close()`` raises, and changes nothing."""
    outbox, _ = outbox_of()
    outbox.offer([Frame(b"a", 1)])
    outbox.close()
    with pytest.raises(OutboxClosed):
        outbox.offer([Frame(b"b", 1)])
    assert outbox.closed
    assert taken(outbox) == [b"a"]


def test_close_lets_out_what_is_queued() -> None:
    """A good end loses nothing: the writer is woken, takes the rest, and does not wait for more."""
    outbox, wakes = outbox_of()
    outbox.offer([Frame(b"a", 1)])
    outbox.close()
    assert wakes == [1]
    assert not outbox.discarded
    assert taken(outbox) == [b"a"]
    assert not outbox.idle


def test_discard_drops_what_is_queued() -> None:
    """For a client that would not read it, the queue is emptied at once."""
    outbox, wakes = outbox_of()
    outbox.offer([Frame(b"a", 1)])
    outbox.close(FAULT, discard=True)
    assert wakes == [1]
    assert outbox.discarded
    assert (outbox.queued_messages, outbox.queued_bytes, outbox.take()) == (0, 0, None)


def test_the_first_close_says_how_the_call_ends() -> None:
    """A later close changes neither a good end nor an error, and wakes nobody again."""
    well, wakes = outbox_of()
    well.close()
    well.close(FAULT)
    assert (well.error, wakes) == (None, [1])
    badly, _ = outbox_of()
    badly.close(FAULT)
    badly.close()
    assert badly.error is FAULT


def test_discard_after_close_drops_the_rest_and_keeps_the_end() -> None:
    """Who was let out well and does not read may still be cut short."""
    outbox, wakes = outbox_of()
    outbox.offer([Frame(b"a", 1)])
    outbox.close()
    outbox.close(FAULT, discard=True)
    assert (outbox.error, outbox.discarded, outbox.take(), wakes) == (None, True, None, [1, 1])
