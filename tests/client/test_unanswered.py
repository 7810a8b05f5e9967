"""Unanswered requests: ids, bounds, frames, and who is told of which answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcast_grpc.client.unanswered import MAX_FRAME_BYTES, Unanswered
from bcast_grpc.errors import BacklogFull, ConnectionLost, ErrorCode, RequestError
from bcast_grpc.events import Ack, Error, Event, Kind, Member, Members, Request
from bcast_grpc.wire.protobuf import decode_requests
from bcast_grpc.wire.protobuf_requests import MAX_REQUESTS


def unanswered(max_posts: int = 1000, max_bytes: int = 1 << 24) -> Unanswered:
    """One with room enough."""
    return Unanswered(max_posts, max_bytes)


def ack(id_: str) -> Event:
    """The server did it."""
    return Event(Kind.ACK, "sent to 1", id=id_, detail=Ack(1))


def refusal(id_: str) -> Event:
    """The server did not do it."""
    return Event(Kind.ERROR, "no", id=id_, detail=Error(ErrorCode.RATE_LIMITED, "no"))


def take_all(unanswered: Unanswered) -> list[Request]:
    """All requests that wait to be written, with their ids."""
    requests = []
    while frame := unanswered.take():
        requests += decode_requests(frame)
    return requests


@settings(deadline=None)  # megabytes are copied
@given(st.lists(st.integers(1, 2 * MAX_FRAME_BYTES), max_size=12))
def test_frames_hold_all_requests_in_order_and_are_bounded(sizes: list[int]) -> None:
    """A single larger request apart."""
    queue = unanswered()
    for number, size in enumerate(sizes):
        queue.post(Request(id=str(number), data=b"x" * size))
    frames, answered = [], 0
    while queue.count:
        if frame := queue.take():
            frames.append(decode_requests(frame))
            assert len(frame) <= MAX_FRAME_BYTES or len(frames[-1]) == 1
        else:  # as much is under way as may be
            assert queue.resolve(ack(str(answered)))
            answered += 1
    assert [(request.id, len(request.data)) for frame in frames for request in frame] == [
        (str(number), size) for number, size in enumerate(sizes)
    ]


def test_no_frame_has_more_requests_than_a_server_takes() -> None:
    """However small they are, and however fast the line."""
    queue, most, answered = unanswered(max_posts=100_000), 0, 0
    for number in range(50_000):
        queue.post(Request(msg="x", id=str(number)))
    while queue.count:
        queue._window.answered(1 << 24)
        requests = decode_requests(queue.take())
        most = max(most, len(requests))
        for request in requests:
            queue.resolve(ack(request.id))
            answered += 1
    assert (answered, most) == (50_000, MAX_REQUESTS)


def test_ids_are_short_and_no_two_chats_choose_the_same() -> None:
    """A server may remember them for a client's next connection too."""
    one, other = unanswered(), unanswered()
    for queue in (one, other):
        for _ in range(100):
            queue.post(Request(msg="x"))
    ids = [request.id for queue in (one, other) for request in take_all(queue)]
    assert len(set(ids)) == 200
    assert max(map(len, ids)) <= 12


@given(st.lists(st.sampled_from(["post", "ack", "refuse"]), max_size=60), st.integers(1, 5))
def test_no_more_posts_than_the_bound_are_without_an_answer(steps: list[str], max_posts: int) -> None:
    """Each answer, a refusal too, makes room for one more."""
    queue = unanswered(max_posts)
    waiting: list[str] = []
    for number, step in enumerate(steps):
        if step != "post":
            if waiting:
                queue.resolve(ack(waiting.pop(0)) if step == "ack" else refusal(waiting.pop(0)))
        elif len(waiting) < max_posts:
            queue.post(Request(msg="x", id=str(number)))
            waiting.append(str(number))
        else:
            with pytest.raises(BacklogFull, match=f"^too many unanswered requests: {max_posts} "):
                queue.post(Request(msg="x", id=str(number)))
    assert queue.unacknowledged == len(waiting)
    assert [request.id for request in take_all(queue)] == [
        str(number) for number, step in enumerate(steps) if step == "post" and str(number) in posted(steps, max_posts)
    ]


def posted(steps: list[str], max_posts: int) -> set[str]:
    """Which of the steps' posts found room."""
    found, waiting = set(), 0
    for number, step in enumerate(steps):
        if step != "post":
            waiting = max(0, waiting - 1)
        elif waiting < max_posts:
            found.add(str(number))
            waiting += 1
    return found


def test_posts_are_bounded_in_bytes_too_and_the_error_names_the_bound() -> None:
    """A single larger one apart, which would never find room."""
    queue = unanswered(max_bytes=1000)
    queue.post(Request(data=b"x" * 5000, id="large"))
    with pytest.raises(BacklogFull, match=r"requests: 1 \(50\d\d bytes\); at most \d+ \(1000 bytes\) are allowed"):
        queue.post(Request(msg="x"))
    queue.resolve(ack("large"))
    queue.post(Request(msg="x"))


async def test_an_answer_goes_to_who_asked_and_to_nobody_else() -> None:
    """Whether it is good or bad."""
    queue = unanswered()
    good, bad = queue.ask(Request(msg="x", id="1")), queue.ask(Request(msg="x", id="2"))
    assert queue.resolve(refusal("2"))
    assert queue.resolve(ack("1"))
    assert (await good, await bad) == (ack("1"), refusal("2"))
    assert not queue.count


@given(st.lists(st.lists(st.text(max_size=3), max_size=4), min_size=1, max_size=6))
async def test_an_answer_that_comes_in_parts_is_put_together(parts: list[list[str]]) -> None:
    """All but the last say that there is more; after a rewind it begins anew."""
    queue = unanswered()
    answer = queue.ask(Request("who", id="w"))
    queue.take()
    for attempt in range(2):
        for number, names in enumerate(parts, 1):
            members = tuple(Member("s", name, 0) for name in names)
            more = number < len(parts) or not attempt
            assert not answer.done()
            assert queue.resolve(Event(Kind.MEMBERS, "here", id="w", detail=Members(members, more)))
        if not attempt:
            queue.rewind()
    detail = answer.result().detail
    assert isinstance(detail, Members)
    assert [member.name for member in detail.members] == [name for names in parts for name in names]
    assert not detail.more


def test_a_refused_post_is_of_interest_to_others() -> None:
    """Nobody waits for it, so it is left to the iteration; an acknowledgement is not."""
    queue = unanswered()
    queue.post(Request(msg="x", id="1"))
    queue.post(Request(msg="x", id="2"))
    assert queue.resolve(ack("1"))
    assert not queue.resolve(refusal("2"))
    assert not queue.count


@pytest.mark.parametrize("event", [ack("other"), refusal("other"), Event(Kind.MESSAGE, "x", id="1")])
def test_what_answers_nothing_that_was_asked_is_left_alone(event: Event) -> None:
    """An id that is not known, or an event that is no answer."""
    queue = unanswered()
    queue.post(Request(msg="x", id="1"))
    assert not queue.resolve(event)
    assert queue.count


async def test_the_answer_to_who_gave_up_is_swallowed() -> None:
    """It is nobody else's."""
    queue = unanswered()
    queue.ask(Request(msg="x", id="1")).cancel()
    assert queue.count
    assert queue.resolve(ack("1"))


async def test_an_id_that_is_not_answered_yet_is_refused_and_afterwards_taken_again() -> None:
    """Two answers could not be told apart."""
    queue = unanswered()
    queue.post(Request(msg="x", id="1"))
    asked = queue.ask(Request(msg="x", id="2"))
    for id_ in ("1", "2"):
        with pytest.raises(ValueError, match="in use"):
            queue.post(Request(msg="x", id=id_))
        with pytest.raises(ValueError, match="in use"):
            queue.ask(Request(msg="x", id=id_))
    queue.resolve(ack("1"))
    queue.resolve(ack("2"))
    await asked
    queue.post(Request(msg="x", id="1"))
    queue.post(Request(msg="x", id="2"))
    assert [request.id for request in take_all(queue)] == ["1", "2", "1", "2"]


def test_a_request_that_would_end_the_call_is_not_sent() -> None:
    """Others' requests are on the same call."""
    queue = unanswered()
    with pytest.raises(RequestError, match="at most 4194304") as caught:
        queue.post(Request(data=b"x" * 4194304))
    assert caught.value.code is ErrorCode.MESSAGE_TOO_LARGE
    assert not queue.take()
    assert not queue.count


@given(st.permutations(range(6)), st.integers(0, 6), st.integers(0, 4))
async def test_a_flush_waits_for_what_was_posted_before_it_and_for_nothing_else(
    order: list[int], before: int, answered_before: int
) -> None:
    """In whatever order the answers come."""
    queue = unanswered()
    for number in range(before):
        queue.post(Request(msg="x", id=str(number)))
    for number in range(min(answered_before, before)):
        queue.resolve(ack(str(number)))
    flushed = queue.flushed()
    for number in range(before, 6):
        queue.post(Request(msg="x", id=str(number)))
    missing = set(range(min(answered_before, before), before))
    for number in order:
        assert flushed.done() == (not missing)
        queue.resolve(ack(str(number)))
        missing.discard(number)
    assert flushed.done()


async def test_when_the_call_ends_all_who_wait_are_told_and_lost_posts_stay_counted() -> None:
    """Whoever gave up before is not."""
    queue = unanswered()
    queue.post(Request(msg="x"))
    waiting: list[asyncio.Future[Any]] = [queue.ask(Request(msg="x")), queue.flushed()]
    queue.ask(Request(msg="x")).cancel()
    queue.fail(ConnectionLost("gone"))
    for result in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(result, ConnectionLost)
    assert queue.unacknowledged == 1


def test_a_bound_of_nothing_is_refused() -> None:
    """No post could ever be made."""
    with pytest.raises(ValueError, match="max_backlog must be 1 or more, not 0"):
        Unanswered(0, 1)


@given(st.lists(st.sampled_from(["post", "ask", "take", "answer", "rewind"]), max_size=60))
async def test_after_a_rewind_all_that_is_not_answered_is_written_again_in_order(steps: list[str]) -> None:
    """And before what is newer; what is answered is not."""
    queue, made, answered = unanswered(max_posts=5), 0, 0
    for step in steps:
        match step:
            case "post" if queue.count < 5:
                queue.post(Request(msg="x", id=str(made)))
                made += 1
            case "ask":
                queue.ask(Request(msg="x", id=str(made)))
                made += 1
            case "take":
                queue.take()
            case "answer" if answered < made:
                assert queue.resolve(ack(str(answered)))
                answered += 1
            case "rewind":
                queue.rewind()
                assert [request.id for request in take_all(queue)] == [
                    str(number) for number in range(answered, min(made, answered + 5))
                ]
    assert queue.count == made - answered


async def test_the_name_that_was_agreed_to_is_remembered() -> None:
    """Though whoever asked has given up; one that was refused is not."""
    queue = unanswered()
    queue.ask(Request("join", "eva", id="1")).cancel()
    queue.ask(Request("join", " ", id="2"))
    assert queue.name is None
    queue.resolve(ack("1"))
    queue.resolve(refusal("2"))
    assert queue.name == "eva"
