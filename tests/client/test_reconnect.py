"""A connection that is lost comes back: nothing is lost, nothing comes twice, and what is missing is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bcast_grpc
from bcast_grpc import (
    BacklogFull,
    CallError,
    Chat,
    ChatClosed,
    ConnectionLost,
    ErrorCode,
    Event,
    Gap,
    GapReason,
    Kind,
    Reconnecting,
    Resumed,
)

from .fake import FULL, GONE, FakeServer, Refusal

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("nothing_left")]

NEVER = 3600.0


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    """One room, faults at will."""
    async with FakeServer() as server:
        yield server


def connect(server: FakeServer, *, name: str = "ana", max_downtime_s: float | None = None, **more: object) -> Chat:
    """A chat that tries again at once."""
    options = {"first_retry_s": 0.001, "max_retry_s": 0.002} | more
    return bcast_grpc.connect(server.target, name=name, max_downtime_s=max_downtime_s, **options)  # type: ignore[arg-type]


async def until(chat: Chat, kind: Kind) -> list[Event]:
    """The next events up to one of a kind, with that."""
    events = [await anext(chat)]
    while events[-1].kind is not kind:
        events.append(await anext(chat))
    return events


async def texts(chat: Chat, count: int) -> list[str]:
    """The texts of the next messages."""
    found: list[str] = []
    while len(found) < count:
        event = await anext(chat)
        if event.kind is Kind.MESSAGE:
            found.append(event.text)
    return found


# --- what comes


async def test_what_was_said_meanwhile_comes_after_what_came_before(server: FakeServer) -> None:
    """By the place of the last message that was received; the iteration tells of it, and need not be looked at."""
    async with connect(server) as chat:
        server.say("one")
        assert await texts(chat, 1) == ["one"]
        server.drop()
        server.say("two")
        lost, back, two = await until(chat, Kind.MESSAGE)
        assert isinstance(lost.detail, Reconnecting)
        assert lost.detail.attempt == 1
        assert isinstance(lost.detail.error, ConnectionLost)
        assert lost.detail.retry_in_s <= 0.001
        assert isinstance(back.detail, Resumed)
        assert back.detail.complete
        assert (lost.kind, back.kind, two.text) == (Kind.RECONNECTING, Kind.RESUMED, "two")
        assert all(event.message for event in (lost, back))
        assert server.calls[1]["bcast-after"] == "e1:1"
        assert server.calls[0]["bcast-client"] == server.calls[1]["bcast-client"] == chat.client
        assert chat.session == "s2"


async def test_before_there_was_a_message_it_goes_on_from_where_it_came_in(server: FakeServer) -> None:
    """The welcome, which only those get who asked for it, tells where that is."""
    for text in ("one", "two"):
        server.say(text)
    async with connect(server, events="none") as chat:
        await chat.members()
        server.drop()
        server.say("three")
        assert [event.kind for event in await until(chat, Kind.MESSAGE)] == [
            Kind.RECONNECTING,
            Kind.RESUMED,
            Kind.MESSAGE,
        ]
    assert server.calls[1]["bcast-after"] == "e1:2"


async def test_who_asked_for_the_welcome_gets_one_with_each_connection(server: FakeServer) -> None:
    """After the notice that there is one."""
    async with connect(server, events="welcome") as chat:
        assert (await anext(chat)).kind is Kind.WELCOME
        server.drop()
        events = await until(chat, Kind.WELCOME)
        assert [event.kind for event in events] == [Kind.RECONNECTING, Kind.RESUMED, Kind.WELCOME]


async def test_who_was_lost_before_there_was_a_place_to_go_on_from_is_told_so(server: FakeServer) -> None:
    """By a gap that knows no numbers."""
    server.is_mute = True
    async with connect(server) as chat:
        await server.until_called(1)
        server.is_mute = False
        server.drop()
        lost, back, gap = await until(chat, Kind.GAP)
        assert (lost.kind, isinstance(back.detail, Resumed) and back.detail.complete) == (Kind.RECONNECTING, False)
        assert gap.detail == Gap(0, 0, GapReason.UNSPECIFIED)


async def test_what_is_no_longer_kept_is_told_by_a_gap_and_not_asked_for_again(server: FakeServer) -> None:
    """And the place after it is the next to go on from."""
    async with connect(server) as chat:
        server.say("one")
        await texts(chat, 1)
        server.drop()
        for _ in range(3):
            server.say("lost")
        server.trim()
        _, back, gap = await until(chat, Kind.GAP)
        assert isinstance(back.detail, Resumed)
        assert not back.detail.complete
        assert gap.detail == Gap(2, 4, GapReason.TRIMMED)
        server.drop()
        await until(chat, Kind.RESUMED)
        assert server.calls[-1]["bcast-after"] == "e1:4"


async def test_a_new_order_is_told_and_all_that_is_kept_of_it_comes(server: FakeServer) -> None:
    """Though its numbers are those of messages that came before."""
    async with connect(server) as chat:
        for text in ("one", "two"):
            server.say(text)
        await texts(chat, 2)
        await server.stop()
        server.begin_anew()
        server.say("three")
        await server.start()
        events = await until(chat, Kind.MESSAGE)
        assert [event.kind for event in events[-3:]] == [Kind.RESUMED, Kind.GAP, Kind.MESSAGE]
        assert events[-2].detail == Gap(0, 0, GapReason.NEW_EPOCH)
        assert (events[-1].text, events[-1].seq, chat.epoch) == ("three", 1, "e2")


async def test_history_comes_first_and_once(server: FakeServer) -> None:
    """The next connection goes on from the last message, or from where the history began if none came."""
    for number in range(10):
        server.say(str(number))
    async with connect(server, history=3) as chat:
        assert await texts(chat, 3) == ["7", "8", "9"]
        server.drop()
        await until(chat, Kind.RESUMED)
        server.say("10")
        assert await texts(chat, 1) == ["10"]
    assert [call.get("bcast-history") for call in server.calls] == ["3", None]


async def test_ones_own_messages_leave_no_gap(server: FakeServer) -> None:
    """They are passed when they are acknowledged, also where they are no longer kept."""
    async with connect(server) as chat:
        server.say("hola")
        await texts(chat, 1)
        for number in range(5):
            await chat.send(str(number))
        server.drop()
        server.trim()
        back = (await until(chat, Kind.RESUMED))[-1]
        assert isinstance(back.detail, Resumed)
        assert back.detail.complete
        assert server.calls[-1]["bcast-after"] == "e1:6"


async def test_who_hears_oneself_is_not_robbed_of_that(server: FakeServer) -> None:
    """An acknowledgement may come before its message does."""
    async with connect(server, echo=True) as chat:
        for number in range(5):
            await chat.send(str(number))
        server.drop()
        assert await texts(chat, 5) == list("01234")


# --- what one says


@pytest.mark.parametrize("fault", ["drop_before", "drop_after"])
async def test_what_was_not_acknowledged_is_sent_again(server: FakeServer, fault: str) -> None:
    """Once for the others, whether the server had it or not; whoever waits for the answer gets it."""
    async with connect(server) as chat:
        setattr(server, fault, 1)
        ack = await chat.send("hola")
        assert ack == bcast_grpc.Ack(1, "e1", duplicate=fault == "drop_after")
        assert server.texts == ["hola"]


async def test_what_is_said_without_a_connection_goes_out_in_order_when_there_is_one(server: FakeServer) -> None:
    """After what was not acknowledged, whoever said it and however."""
    async with connect(server) as chat:
        chat.post("0")
        await server.until_called(1)
        await server.stop()
        for number in range(1, 5):
            chat.post(str(number))
        sending = [asyncio.create_task(chat.send(str(number))) for number in range(5, 10)]
        await asyncio.sleep(0)
        await server.start()
        await asyncio.gather(*sending)
        assert server.texts == list("0123456789")


async def test_no_more_is_kept_than_there_is_room_for(server: FakeServer) -> None:
    """A post is refused then; who sends waits, and is first when there is room; who gives up leaves none behind."""
    async with connect(server, max_backlog=3) as chat:
        await server.stop()
        await until(chat, Kind.RECONNECTING)
        for number in range(3):
            chat.post(str(number))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await chat.send("given up")
        sending = [asyncio.create_task(chat.send(str(number))) for number in range(3, 9)]
        await asyncio.sleep(0)
        with pytest.raises(BacklogFull, match="unanswered requests: 3 "):
            chat.post("too much")
        await server.start()
        await asyncio.gather(*sending)
        assert server.texts == list("012345678")


async def test_a_new_name_is_kept(server: FakeServer) -> None:
    """For the next connection, from its acknowledgement on."""
    async with connect(server) as chat:
        await chat.rename("eva")
        server.drop()
        await until(chat, Kind.RESUMED)
        server.drop_after = 1
        await chat.rename("zoe")
        await chat.send("hola")
    assert [call["bcast-name"] for call in server.calls] == ["ana", "eva", "eva"]
    assert server.log[-1].event.message == "zoe: hola"


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
    server: FakeServer, refusal: Refusal, when: str
) -> None:
    """With its error, whether it ended the call or refused the next one."""
    async with connect(server) as chat:
        if when == "refused":
            server.refusals.append(refusal)
        server.drop(GONE if when == "refused" else refusal)
        with pytest.raises(CallError, match=r"no|larger"):
            await until(chat, Kind.MESSAGE)
        with pytest.raises(CallError, match=r"no|larger"):
            await chat.send("x")
    assert len(server.calls) == (2 if when == "refused" else 1)


@pytest.mark.parametrize("refusal", AGAIN, ids=str)
async def test_where_it_may_be_better_later_it_tries_again(server: FakeServer, refusal: Refusal) -> None:
    """Each failure is told, with its cause."""
    async with connect(server) as chat:
        server.refusals += [refusal] * 3
        server.drop(refusal)
        events = await until(chat, Kind.RESUMED)
        details = [event.detail for event in events[:-1] if isinstance(event.detail, Reconnecting)]
        assert details[-1].attempt == 4
        assert refusal.text in str(details[-1].error)


async def test_it_does_not_come_back_before_the_server_wants_it(server: FakeServer) -> None:
    """Which is said in the event that tells of the end, or in a status."""
    async with connect(server) as chat:
        server.close(0.1)
        await until(chat, Kind.CLOSING)
        server.refusals.append(FULL._replace(retry_after_s=0.05))
        server.drop()
        waits: list[float] = []
        async for event in chat:
            if event.kind is Kind.RESUMED:
                break
            assert isinstance(event.detail, Reconnecting)
            waits.append(event.detail.retry_in_s)
        assert waits == [0.1, 0.05]


async def test_after_too_long_it_gives_up_and_says_what_was_not_acknowledged(server: FakeServer) -> None:
    """To whoever waits, and to the iteration."""
    async with connect(server, max_downtime_s=0.05) as chat:
        await server.stop()
        await until(chat, Kind.RECONNECTING)
        chat.post("x")
        sending = asyncio.create_task(chat.send("y"))
        with pytest.raises(ConnectionLost, match=r"given up after 0.\d s; 2 requests were not acknowledged"):
            await until(chat, Kind.MESSAGE)
        with pytest.raises(ConnectionLost, match="2 requests"):
            await sending
        with pytest.raises(ConnectionLost, match="2 requests"):
            await chat.flush()


async def test_a_server_that_wants_more_time_than_there_is_is_given_up_at_once(server: FakeServer) -> None:
    """There is nothing to wait for."""
    async with connect(server, max_downtime_s=60) as chat:
        server.drop(GONE._replace(retry_after_s=0.9, reason="BROKER_UNAVAILABLE"))
        await until(chat, Kind.RESUMED)
    async with connect(server, max_downtime_s=0.5) as chat:
        server.drop(GONE._replace(retry_after_s=0.9, reason="BROKER_UNAVAILABLE"))
        with pytest.raises(ConnectionLost, match=r"given up after 0\.0 s"):
            await anext(chat)


async def test_one_that_is_not_to_try_again_does_not(server: FakeServer) -> None:
    """With the error as it is."""
    async with connect(server, max_downtime_s=0) as chat:
        server.drop()
        with pytest.raises(ConnectionLost, match=r"was lost: Socket closed$"):
            await anext(chat)


async def test_the_first_connection_has_a_single_try(server: FakeServer) -> None:
    """Whoever starts a program wants to know."""
    server.refusals.append(FULL)
    with pytest.raises(CallError) as caught:
        await connect(server).__aenter__()
    assert caught.value.code is ErrorCode.SERVER_FULL
    assert len(server.calls) == 1


# --- leaving meanwhile


async def test_who_leaves_without_a_connection_and_has_nothing_to_send_leaves_at_once(server: FakeServer) -> None:
    """And the iteration ends well."""
    async with connect(server, first_retry_s=NEVER, max_retry_s=NEVER) as chat:
        await server.stop()
        await until(chat, Kind.RECONNECTING)
    assert [event async for event in chat] == []


async def test_who_leaves_without_a_connection_sends_first_what_is_to_be_sent(server: FakeServer) -> None:
    """If there is one in time."""
    async with connect(server) as chat:
        await server.stop()
        await until(chat, Kind.RECONNECTING)
        chat.post("bye")
        leaving = asyncio.create_task(chat.leave())
        await asyncio.sleep(0)
        with pytest.raises(ChatClosed):
            chat.post("too late")
        await server.start()
        await leaving
    assert server.texts == ["bye"]


async def test_who_leaves_for_good_is_told_what_was_not_sent(server: FakeServer) -> None:
    """After a while that has an end, though it would have tried for ever."""
    with pytest.raises(ConnectionLost, match="1 request was not acknowledged"):  # noqa: PT012
        async with connect(server, leave_timeout_s=0.05) as chat:
            await server.stop()
            chat.post("bye")


@pytest.mark.parametrize("wait_s", [NEVER, 0.001])
async def test_an_error_leaves_at_once_while_it_waits_or_tries(server: FakeServer, wait_s: float) -> None:
    """Nothing is left behind."""
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with connect(server, first_retry_s=wait_s, max_retry_s=wait_s) as chat:
            await server.stop()
            await until(chat, Kind.RECONNECTING)
            waiting = asyncio.create_task(chat.send("x"))
            await asyncio.sleep(0)
            raise ZeroDivisionError
    with pytest.raises(ChatClosed):
        await waiting


async def test_nobody_takes_events_and_what_is_kept_of_outages_is_bounded(server: FakeServer) -> None:
    """Of many tries only the last waits to be told."""
    async with connect(server) as chat:
        server.refusals += [FULL] * 20
        server.drop()
        await server.until_called(22)
        await chat.members()
        kinds = [event.kind for event in chat._events]
        assert kinds == [Kind.RECONNECTING, Kind.RESUMED]


# --- without async


async def test_leaving_the_synchronous_chat_is_bounded_too(server: FakeServer) -> None:
    """A server that answers nothing is given up, and what was not acknowledged is told."""

    def talk() -> None:
        with bcast_grpc.connect_sync(server.target, leave_timeout_s=0.2) as chat:
            chat.post("x")

    server.is_deaf = True
    with pytest.raises(ConnectionLost, match="1 request was not acknowledged"):
        await asyncio.to_thread(talk)


async def test_the_synchronous_chat_comes_back_too(server: FakeServer) -> None:
    """Whoever waits for an event or an answer waits on."""

    def talk() -> list[str]:
        with bcast_grpc.connect_sync(server.target, first_retry_s=0.001, max_retry_s=0.002) as chat:
            chat.send("one")
            chat.post("two")
            chat.flush()
            return [next(chat).kind.name for _ in range(3)]

    server.drop_after = 1
    talking = asyncio.create_task(asyncio.to_thread(talk))
    await server.until_said(["one", "two"])
    server.say("hola")
    assert await talking == ["RECONNECTING", "RESUMED", "MESSAGE"]


# --- everything at once


class World:
    """A chat and its server, and what is known of both by the simplest means."""

    def __init__(self, server: FakeServer, chat: Chat) -> None:
        self.server = server
        self.chat = chat
        self.said: list[str] = []
        self.heard: list[Event] = []
        self.others: list[tuple[str, int]] = []
        self.sending: list[asyncio.Task[bcast_grpc.Ack]] = []

    async def step(self, step: str) -> None:
        """Let something happen."""
        server = self.server
        match step:
            case "post":
                self.said.append(str(len(self.said)))
                self.chat.post(self.said[-1])
            case "send":
                self.said.append(str(len(self.said)))
                self.sending.append(asyncio.create_task(self.chat.send(self.said[-1])))
                await asyncio.sleep(0)
            case "hear":
                seq = server.say(f"{server.epoch} {len(server.log) + 1}")
                self.others.append((server.epoch, seq))
            case "drop":
                server.drop()
            case "before":
                server.drop_before += 1
            case "after":
                server.drop_after += 1
            case "refuse":
                server.refusals.append(FULL)
            case "trim":
                server.trim()
            case "restart" | "anew":
                await server.stop()
                if step == "anew":
                    server.begin_anew()
                await server.start()
            case "turn":
                await self.chat.members()

    async def listen(self) -> None:
        """Hear everything."""
        async for event in self.chat:
            self.heard.append(event)

    def check(self) -> None:
        """Each message once and in order, or a gap."""
        logs = [[int(entry.event.text) for entry in log if entry.client] for log in self.server.logs.values()]
        for log in logs:
            assert log == sorted(set(log))
        assert {number for log in logs for number in log} == set(range(len(self.said)))
        if len(logs) == 1:
            assert logs[0] == list(range(len(self.said)))
        heard = [event.text for event in self.heard if event.kind is Kind.MESSAGE]
        gaps = [event.detail for event in self.heard if isinstance(event.detail, Gap)]
        told = [f"{epoch} {seq}" for epoch, seq in self.others]
        assert heard == [text for text in told if text in set(heard)]
        for epoch, seq in self.others:
            if f"{epoch} {seq}" not in heard:
                assert any(self.covers(gap, epoch, seq) for gap in gaps), (epoch, seq, gaps)

    def covers(self, gap: Gap, epoch: str, seq: int) -> bool:
        """Whether a gap tells of a message."""
        if gap.reason is GapReason.UNSPECIFIED:  # lost before there was a place to go on from: any may be missing
            return True
        if gap.reason is GapReason.NEW_EPOCH:
            return epoch != self.server.epoch or seq < self.server.kept_from
        return gap.first_missed <= seq <= gap.last_missed


STEPS = ["post", "post", "send", "hear", "hear", "hear", "drop", "before", "after", "refuse", "trim", "restart", "turn"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([*STEPS, "anew"]), max_size=30))
async def test_each_message_arrives_once_and_in_order_whatever_happens(steps: list[str]) -> None:
    """Or a gap tells of it: with lost connections before and after an acknowledgement, refusals and restarts."""
    async with FakeServer() as server, connect(server) as chat:
        world = World(server, chat)
        listening = asyncio.create_task(world.listen())
        for step in steps:
            await world.step(step)
        await chat.flush()
        await asyncio.gather(*world.sending)
        await chat.members()
        await chat.leave()
        await listening
        world.check()
