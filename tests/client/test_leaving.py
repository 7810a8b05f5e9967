"""Leaving: in a hurry, or a server that does not let go."""

from __future__ import annotations

import asyncio
from itertools import count

import grpc
import pytest

import bcast_grpc
from bcast_grpc import ChatClosed, ConnectionLost

from .played import Context, Play, ack, acknowledge, frame_of, goodbye, hang, message, requests, serving

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("nothing_left")]

# --- leaving in a hurry


async def test_an_error_in_the_body_leaves_at_once() -> None:
    """Whatever was posted, and whoever waits."""
    gone = asyncio.Event()

    async def never_answer(context: Context) -> None:
        try:
            await hang(context)
        finally:
            gone.set()

    async with serving(never_answer) as target:
        with pytest.raises(ZeroDivisionError):  # noqa: PT012
            async with bcast_grpc.connect(target) as chat:
                waiting = [asyncio.create_task(chat.send("x")), asyncio.create_task(chat.flush())]
                iterating = asyncio.create_task(anext(chat, None))
                chat.post("x")
                await asyncio.sleep(0)
                raise ZeroDivisionError
        sent, flushed = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(sent, ChatClosed)
        assert flushed is None or isinstance(flushed, ChatClosed)
        assert await iterating is None
        await gone.wait()


@pytest.mark.parametrize("where", ["body", "leave"])
async def test_a_cancelled_task_leaves_at_once(where: str) -> None:
    """Also while it leaves already, and waits for an answer."""
    there = asyncio.Event()

    async def chat_for_ever(target: str) -> None:
        async with bcast_grpc.connect(target) as chat:
            chat.post("x")
            there.set()
            if where == "body":
                await chat.flush()

    async with serving(hang) as target:
        task = asyncio.create_task(chat_for_ever(target))
        await there.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_chat_that_is_not_entered_says_so() -> None:
    """And one that was, cannot be entered again."""
    async with serving(acknowledge) as target:
        chat = bcast_grpc.connect(target)
        with pytest.raises(ChatClosed, match="not open"):
            await chat.send("x")
        with pytest.raises(ChatClosed, match="not open"):
            await chat.leave()
        async with chat:
            await chat.send("x")
        with pytest.raises(RuntimeError, match="only once"):
            await chat.__aenter__()


# --- leaving a server that does not let go


async def keep_busy(context: Context) -> None:
    """Answer nothing, end nothing, and say something now and then; gRPC answers pings of itself."""
    for seq in count(1):
        await context.write(frame_of(message(seq)))
        await asyncio.sleep(0.01)  # now and then, for ever


@pytest.mark.parametrize("play", [hang, keep_busy])
async def test_leaving_is_bounded_where_the_server_never_ends_the_call(play: Play) -> None:
    """Nothing is missing but the end, which the iteration tells."""
    async with serving(play) as target:
        async with bcast_grpc.connect(target, leave_timeout_s=0.2) as chat:
            pass
        with pytest.raises(ConnectionLost, match=r"the server did not end the call within 0\.2 s after we left"):
            async for _ in chat:
                pass


@pytest.mark.parametrize("play", [hang, keep_busy])
async def test_leaving_is_bounded_where_the_server_answers_nothing(play: Play) -> None:
    """What was not acknowledged is told to all who wait for it."""
    async with serving(play) as target:
        with pytest.raises(ConnectionLost, match=r"no answer within 0\.2 s; 3 requests were not acknowledged"):  # noqa: PT012
            async with bcast_grpc.connect(target, leave_timeout_s=0.2) as chat:
                chat.post("x")
                waiting = [asyncio.create_task(asking) for asking in (chat.send("y"), chat.members())]
                await asyncio.sleep(0)
        for result in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(result, ConnectionLost)


async def test_leaving_waits_as_long_as_answers_come() -> None:
    """However many there are: a slow server is not one that does not answer."""

    async def slowly(context: Context) -> None:
        async for request in requests(context):
            await asyncio.sleep(0.1)  # 20 of them take longer than leaving may
            await context.write(frame_of(ack(request)))

    async with serving(slowly) as target, bcast_grpc.connect(target, leave_timeout_s=1) as chat:
        for _ in range(20):
            chat.post("x")


async def test_the_answer_that_nobody_waits_for_any_more_holds_nobody_up() -> None:
    """Whoever asked has given up."""
    async with serving(goodbye) as target, bcast_grpc.connect(target, leave_timeout_s=60) as chat:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await chat.send("x")


async def test_a_server_that_lets_in_and_throws_out_does_not_keep_who_leaves() -> None:
    """Each time anew, without an answer."""

    async def throw_out(context: Context) -> None:
        await context.read()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "again")

    async with serving(throw_out) as target:
        with pytest.raises(ConnectionLost, match="1 request was not acknowledged"):
            async with bcast_grpc.connect(target, leave_timeout_s=0.3, first_retry_s=0.01, max_retry_s=0.01) as chat:
                chat.post("x")


def test_a_wait_of_no_time_is_refused() -> None:
    """Nobody could leave well."""
    with pytest.raises(ValueError, match="leave_timeout_s must be more than 0, not 0"):
        bcast_grpc.connect(leave_timeout_s=0)
