"""What goes out in few frames, and what is received, also where nobody takes it."""

from __future__ import annotations

import asyncio

import grpc
import pytest

import bcast_grpc
from bcast_grpc import ErrorCode, Event, Gap, GapReason, Kind, RequestError
from bcast_grpc.wire.protobuf import decode_requests

from .played import Context, ack, frame_of, goodbye, message, requests, serving

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("nothing_left")]

# --- what is written


async def test_many_requests_go_out_in_few_frames() -> None:
    """Small ones until the line has shown how fast it is, then larger ones, none of more than 256 KiB."""
    frames: list[int] = []

    async def count(context: Context) -> None:
        while (frame := await context.read()) is not grpc.aio.EOF:  # type: ignore[comparison-overlap]
            frames.append(len(frame))
            await context.write(frame_of(*(ack(request) for request in decode_requests(frame))))

    async with serving(count) as target, bcast_grpc.connect(target) as chat:
        for _ in range(10_000):
            chat.post("x" * 64)
        await chat.flush()
    assert max(frames) <= 256 * 1024
    assert len(frames) <= 100


# --- what is received


async def test_a_message_as_large_as_the_contract_allows_is_received() -> None:
    """A frame of more than gRPC's own limit."""

    async def shout(context: Context) -> None:
        await context.write(frame_of(message(1, 4 * 1024 * 1024)))
        await goodbye(context)

    async with serving(shout) as target, bcast_grpc.connect(target) as chat:
        assert len((await anext(chat)).message) == 4 * 1024 * 1024


async def test_nobody_takes_events_and_answers_come_all_the_same() -> None:
    """The oldest events make room, and a gap tells which they were."""

    async def flood(context: Context) -> None:
        async for request in requests(context):
            for first in range(1, 1000, 100):
                await context.write(frame_of(*(message(seq) for seq in range(first, first + 100))))
            await context.write(frame_of(ack(request)))

    async with serving(flood) as target, bcast_grpc.connect(target, max_buffered=50) as chat:
        await chat.send("x")
        await chat.leave()
        events = [event async for event in chat]
    assert events[0].detail == Gap(1, 951, GapReason.SLOW)
    assert events[0].message == "you missed messages 1 to 951"
    assert [event.seq for event in events[1:]] == list(range(952, 1001))


async def test_who_takes_events_and_falls_behind_leaves_them_on_the_server() -> None:
    """Nothing is dropped here, and the server sees that it cannot write."""
    stuck = asyncio.Event()
    frames = 0

    async def flood(context: Context) -> None:
        nonlocal frames
        for seq in range(1, 2001):
            writing = asyncio.ensure_future(context.write(frame_of(message(seq, 60_000))))
            try:
                async with asyncio.timeout(None if stuck.is_set() else 0.5):
                    await asyncio.shield(writing)
            except TimeoutError:
                stuck.set()
                await writing
            frames = seq
        await goodbye(context)

    async with serving(flood) as target, bcast_grpc.connect(target, max_buffered=50) as chat:
        seqs = [(await anext(chat)).seq]
        await stuck.wait()
        assert frames < 1000
        seqs += [(await anext(chat)).seq for _ in range(1999)]
    assert seqs == list(range(1, 2001))


async def test_who_awaits_an_answer_behind_more_events_than_fit_gets_it() -> None:
    """It would wait for ever otherwise; the gap tells what made room."""

    async def flood(context: Context) -> None:
        for seq in range(1, 501):
            await context.write(frame_of(message(seq)))
        async for request in requests(context):
            await context.write(frame_of(ack(request, 501)))

    async with serving(flood) as target, bcast_grpc.connect(target, max_buffered=50) as chat:
        assert (await anext(chat)).seq == 1
        assert (await chat.send("x")).seq == 501
        await chat.leave()
        events = [event async for event in chat]
    assert events[0].detail == Gap(2, 451, GapReason.SLOW)
    assert [event.seq for event in events[1:]] == list(range(452, 501))


async def test_who_takes_events_while_an_answer_is_awaited_loses_none() -> None:
    """However small the inbox."""

    async def flood(context: Context) -> None:
        request = await anext(stream := requests(context))
        for first in range(1, 20_000, 100):
            await context.write(frame_of(*(message(seq) for seq in range(first, first + 100))))
        await context.write(frame_of(ack(request)))
        async for _ in stream:
            pass

    async with serving(flood) as target, bcast_grpc.connect(target, max_buffered=50) as chat:
        chat.post("x")
        seqs = [(await anext(chat)).seq for _ in range(20_000)]
    assert seqs == list(range(1, 20_001))


async def test_other_tasks_have_turns_while_events_are_taken() -> None:
    """Though taking what is there waits for nothing."""

    async def flood(context: Context) -> None:
        await context.write(frame_of(*(message(seq) for seq in range(1, 9_001))))
        await goodbye(context)

    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with serving(flood) as target, bcast_grpc.connect(target) as chat:
        await anext(chat)
        counting = asyncio.create_task(count_turns())
        loop = asyncio.get_running_loop()
        while (await anext(chat)).seq < 9_000:
            until = loop.time() + 0.00001
            while loop.time() < until:
                pass
        counting.cancel()
    assert turns >= 10


async def test_a_refused_request_is_told_to_who_asked_and_a_refused_post_in_the_iteration() -> None:
    """With its code, and how long to wait."""

    async def refuse_all(context: Context) -> None:
        async for request in requests(context):
            detail = bcast_grpc.Error(ErrorCode.RATE_LIMITED, "too many", True, 1.5)
            await context.write(frame_of(Event(Kind.ERROR, "too many", id=request.id, detail=detail)))

    async with serving(refuse_all) as target, bcast_grpc.connect(target) as chat:
        with pytest.raises(RequestError) as caught:
            await chat.send("x")
        assert (caught.value.code, caught.value.retry_after_s) == (ErrorCode.RATE_LIMITED, 1.5)
        chat.post("x", id="mine")
        await chat.flush()
        assert ((event := await anext(chat)).kind, event.id) == (Kind.ERROR, "mine")
