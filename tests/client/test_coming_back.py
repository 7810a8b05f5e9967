"""When a chat comes back, when not, and how it is left meanwhile."""

from __future__ import annotations

import asyncio

import grpc
import pytest

import bcast_grpc
from bcast_grpc import CallError, ChatClosed, ConnectionLost, ErrorCode, Kind, Reconnecting

from .fake import FULL, GONE, FakeServer, Refusal
from .lost import NEVER, connect, until

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("nothing_left")]

# --- when it comes back, and when not


NOT_AGAIN = [
    Refusal(grpc.StatusCode.ABORTED, "no", "REPLACED", retryable=False),
    Refusal(grpc.StatusCode.INVALID_ARGUMENT, "no", "METADATA_INVALID"),
    Refusal(grpc.StatusCode.UNAUTHENTICATED, "no"),
    Refusal(grpc.StatusCode.PERMISSION_DENIED, "no"),
    Refusal(grpc.StatusCode.INTERNAL, "no", "INTERNAL", retryable=False),
    Refusal(grpc.StatusCode.UNAVAILABLE, "no", "SHUTTING_DOWN", retryable=False),
    Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max (5 vs. 4)"),
]

AGAIN = [
    GONE,
    FULL,
    Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "too slow", "SLOW_CONSUMER"),
    Refusal(grpc.StatusCode.UNAVAILABLE, "no", "BROKER_UNAVAILABLE"),
    Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "quota"),
    Refusal(grpc.StatusCode.ABORTED, "no", "FULL_MOON", retryable=True),
]


@pytest.mark.parametrize("refusal", NOT_AGAIN, ids=str)
@pytest.mark.parametrize("when", ["connected", "refused"])
async def test_where_the_server_says_not_to_come_back_the_chat_ends(
    fake: FakeServer, refusal: Refusal, when: str
) -> None:
    """With its error, whether it ended the call or refused the next one."""
    async with connect(fake) as chat:
        if when == "refused":
            fake.refusals.append(refusal)
        fake.drop(GONE if when == "refused" else refusal)
        with pytest.raises(CallError, match=r"no|larger"):
            await until(chat, Kind.MESSAGE)
        with pytest.raises(CallError, match=r"no|larger"):
            await chat.send("x")
    assert len(fake.calls) == (2 if when == "refused" else 1)


@pytest.mark.parametrize("refusal", AGAIN, ids=str)
async def test_where_it_may_be_better_later_it_tries_again(fake: FakeServer, refusal: Refusal) -> None:
    """Each failure is told, with its cause."""
    async with connect(fake) as chat:
        fake.refusals += [refusal] * 3
        fake.drop(refusal)
        events = await until(chat, Kind.RESUMED)
        details = [event.detail for event in events[:-1] if isinstance(event.detail, Reconnecting)]
        assert details[-1].attempt == 4
        assert refusal.text in str(details[-1].error)


async def test_it_does_not_come_back_before_the_server_wants_it(fake: FakeServer) -> None:
    """Which is said in the event that tells of the end, or in a status."""
    async with connect(fake) as chat:
        fake.close(0.1)
        await until(chat, Kind.CLOSING)
        fake.refusals.append(FULL._replace(retry_after_s=0.05))
        fake.drop()
        waits: list[float] = []
        async for event in chat:
            if event.kind is Kind.RESUMED:
                break
            assert isinstance(event.detail, Reconnecting)
            waits.append(event.detail.retry_in_s)
        first, second = waits  # what is left of the time that was asked for
        assert 0 < second <= 0.05 < first <= 0.1


async def test_after_too_long_it_gives_up_and_says_what_was_not_acknowledged(fake: FakeServer) -> None:
    """To whoever waits, and to the iteration."""
    async with connect(fake, max_downtime_s=0.05) as chat:
        await fake.stop()
        await until(chat, Kind.RECONNECTING)
        chat.post("x")
        sending = asyncio.create_task(chat.send("y"))
        with pytest.raises(ConnectionLost, match=r"given up after \d+\.\d s; 2 requests were not acknowledged"):
            await until(chat, Kind.MESSAGE)
        with pytest.raises(ConnectionLost, match="2 requests"):
            await sending
        with pytest.raises(ConnectionLost, match="2 requests"):
            await chat.flush()


async def test_a_server_that_wants_more_time_than_there_is_is_given_up_at_once(fake: FakeServer) -> None:
    """There is nothing to wait for."""
    async with connect(fake, max_downtime_s=60) as chat:
        fake.drop(GONE._replace(retry_after_s=0.9, reason="BROKER_UNAVAILABLE"))
        await until(chat, Kind.RESUMED)
    async with connect(fake, max_downtime_s=0.5) as chat:
        fake.drop(GONE._replace(retry_after_s=0.9, reason="BROKER_UNAVAILABLE"))
        with pytest.raises(ConnectionLost, match=r"given up after 0\.[0-4] s"):
            await anext(chat)


async def test_one_that_is_not_to_try_again_does_not(fake: FakeServer) -> None:
    """With the error as it is."""
    async with connect(fake, max_downtime_s=0) as chat:
        fake.drop()
        with pytest.raises(ConnectionLost, match=r"was lost: Socket closed$"):
            await anext(chat)


async def test_the_first_connection_has_a_single_try(fake: FakeServer) -> None:
    """Whoever starts a program wants to know."""
    fake.refusals.append(FULL)
    with pytest.raises(CallError) as caught:
        await connect(fake).__aenter__()
    assert caught.value.code is ErrorCode.SERVER_FULL
    assert len(fake.calls) == 1


# --- leaving meanwhile


async def test_who_leaves_without_a_connection_and_has_nothing_to_send_leaves_at_once(fake: FakeServer) -> None:
    """And the iteration ends well."""
    async with connect(fake, first_retry_s=NEVER, max_retry_s=NEVER) as chat:
        await fake.stop()
        await until(chat, Kind.RECONNECTING)
    assert [event async for event in chat] == []


async def test_who_leaves_without_a_connection_sends_first_what_is_to_be_sent(fake: FakeServer) -> None:
    """If there is one in time."""
    async with connect(fake) as chat:
        await fake.stop()
        await until(chat, Kind.RECONNECTING)
        chat.post("bye")
        leaving = asyncio.create_task(chat.leave())
        await asyncio.sleep(0)
        with pytest.raises(ChatClosed):
            chat.post("too late")
        await fake.start()
        await leaving
    assert fake.texts == ["bye"]


async def test_who_leaves_for_good_is_told_what_was_not_sent(fake: FakeServer) -> None:
    """After a while that has an end, though it would have tried for ever."""
    with pytest.raises(ConnectionLost, match="1 request was not acknowledged"):  # noqa: PT012
        async with connect(fake, leave_timeout_s=0.05) as chat:
            await fake.stop()
            chat.post("bye")


@pytest.mark.parametrize("wait_s", [NEVER, 0.001])
async def test_an_error_leaves_at_once_while_it_waits_or_tries(fake: FakeServer, wait_s: float) -> None:
    """Nothing is left behind."""
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with connect(fake, first_retry_s=wait_s, max_retry_s=wait_s) as chat:
            await fake.stop()
            await until(chat, Kind.RECONNECTING)
            waiting = asyncio.create_task(chat.send("x"))
            await asyncio.sleep(0)
            raise ZeroDivisionError
    with pytest.raises(ChatClosed):
        await waiting


async def test_nobody_takes_events_and_what_is_kept_of_outages_is_bounded(fake: FakeServer) -> None:
    """Of many tries only the last waits to be told."""
    async with connect(fake) as chat:
        fake.refusals += [FULL] * 20
        fake.drop()
        await fake.until_called(22)
        await chat.members()
        kinds = [event.kind for event in chat._events]
        assert kinds == [Kind.RECONNECTING, Kind.RESUMED]


# --- without async


async def test_leaving_the_synchronous_chat_is_bounded_too(fake: FakeServer) -> None:
    """A server that answers nothing is given up, and what was not acknowledged is told."""

    def talk() -> None:
        with bcast_grpc.connect_sync(fake.target, leave_timeout_s=0.2) as chat:
            chat.post("x")

    fake.is_deaf = True
    with pytest.raises(ConnectionLost, match="1 request was not acknowledged"):
        await asyncio.to_thread(talk)


async def test_the_synchronous_chat_comes_back_too(fake: FakeServer) -> None:
    """Whoever waits for an event or an answer waits on."""

    def talk() -> list[str]:
        with bcast_grpc.connect_sync(fake.target, first_retry_s=0.001, max_retry_s=0.002) as chat:
            chat.send("one")
            chat.post("two")
            chat.flush()
            return [next(chat).kind.name for _ in range(3)]

    fake.drop_after = 1
    talking = asyncio.create_task(asyncio.to_thread(talk))
    await fake.until_said(["one", "two"])
    fake.say("hola")
    assert await talking == ["RECONNECTING", "RESUMED", "MESSAGE"]
