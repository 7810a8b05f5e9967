"""A connection that is lost comes back: nothing is lost, nothing comes twice, and what is missing is told."""

from __future__ import annotations

import asyncio

import pytest

import bcast_grpc
from bcast_grpc import BacklogFull, ConnectionLost, Gap, GapReason, Kind, Reconnecting, Resumed

from .fake import FakeServer
from .lost import connect, texts, until

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("nothing_left")]

# --- what comes


async def test_what_was_said_meanwhile_comes_after_what_came_before(fake: FakeServer) -> None:
    """By the place of the last message that was received; the iteration tells of it, and need not be looked at."""
    async with connect(fake) as chat:
        fake.say("one")
        assert await texts(chat, 1) == ["one"]
        fake.drop()
        fake.say("two")
        lost, back, two = await until(chat, Kind.MESSAGE)
        assert isinstance(lost.detail, Reconnecting)
        assert lost.detail.attempt == 1
        assert isinstance(lost.detail.error, ConnectionLost)
        assert lost.detail.retry_in_s <= 0.001
        assert isinstance(back.detail, Resumed)
        assert back.detail.complete
        assert (lost.kind, back.kind, two.text) == (Kind.RECONNECTING, Kind.RESUMED, "two")
        assert all(event.message for event in (lost, back))
        assert fake.calls[1]["bcast-after"] == "e1:1"
        assert fake.calls[0]["bcast-client"] == fake.calls[1]["bcast-client"] == chat.client
        assert chat.session == "s2"


async def test_before_there_was_a_message_it_goes_on_from_where_it_came_in(fake: FakeServer) -> None:
    """The welcome, which only those get who asked for it, tells where that is."""
    for text in ("one", "two"):
        fake.say(text)
    async with connect(fake, events="none") as chat:
        await chat.members()
        fake.drop()
        fake.say("three")
        assert [event.kind for event in await until(chat, Kind.MESSAGE)] == [
            Kind.RECONNECTING,
            Kind.RESUMED,
            Kind.MESSAGE,
        ]
    assert fake.calls[1]["bcast-after"] == "e1:2"


async def test_who_asked_for_the_welcome_gets_one_with_each_connection(fake: FakeServer) -> None:
    """After the notice that there is one."""
    async with connect(fake, events="welcome") as chat:
        assert (await anext(chat)).kind is Kind.WELCOME
        fake.drop()
        events = await until(chat, Kind.WELCOME)
        assert [event.kind for event in events] == [Kind.RECONNECTING, Kind.RESUMED, Kind.WELCOME]


async def test_who_was_lost_before_there_was_a_place_to_go_on_from_is_told_so(fake: FakeServer) -> None:
    """By a gap that knows no numbers."""
    fake.is_mute = True
    async with connect(fake) as chat:
        await fake.until_called(1)
        fake.is_mute = False
        fake.drop()
        lost, back, gap = await until(chat, Kind.GAP)
        assert (lost.kind, isinstance(back.detail, Resumed) and back.detail.complete) == (Kind.RECONNECTING, False)
        assert gap.detail == Gap(0, 0, GapReason.UNSPECIFIED)


async def test_what_is_no_longer_kept_is_told_by_a_gap_and_not_asked_for_again(fake: FakeServer) -> None:
    """And the place after it is the next to go on from."""
    async with connect(fake) as chat:
        fake.say("one")
        await texts(chat, 1)
        fake.drop()
        for _ in range(3):
            fake.say("lost")
        fake.trim()
        _, back, gap = await until(chat, Kind.GAP)
        assert isinstance(back.detail, Resumed)
        assert not back.detail.complete
        assert gap.detail == Gap(2, 4, GapReason.TRIMMED)
        fake.drop()
        await until(chat, Kind.RESUMED)
        assert fake.calls[-1]["bcast-after"] == "e1:4"


async def test_a_new_order_is_told_and_all_that_is_kept_of_it_comes(fake: FakeServer) -> None:
    """Though its numbers are those of messages that came before."""
    async with connect(fake) as chat:
        for text in ("one", "two"):
            fake.say(text)
        await texts(chat, 2)
        await fake.stop()
        fake.begin_anew()
        fake.say("three")
        await fake.start()
        events = await until(chat, Kind.MESSAGE)
        assert [event.kind for event in events[-3:]] == [Kind.RESUMED, Kind.GAP, Kind.MESSAGE]
        assert events[-2].detail == Gap(0, 0, GapReason.NEW_EPOCH)
        assert (events[-1].text, events[-1].seq, chat.epoch) == ("three", 1, "e2")


async def test_history_comes_first_and_once(fake: FakeServer) -> None:
    """The next connection goes on from the last message, or from where the history began if none came."""
    for number in range(10):
        fake.say(str(number))
    async with connect(fake, history=3) as chat:
        assert await texts(chat, 3) == ["7", "8", "9"]
        fake.drop()
        await until(chat, Kind.RESUMED)
        fake.say("10")
        assert await texts(chat, 1) == ["10"]
    assert [call.get("bcast-history") for call in fake.calls] == ["3", None]


async def test_ones_own_messages_leave_no_gap(fake: FakeServer) -> None:
    """They are passed when they are acknowledged, also where they are no longer kept."""
    async with connect(fake) as chat:
        fake.say("hola")
        await texts(chat, 1)
        for number in range(5):
            await chat.send(str(number))
        fake.drop()
        fake.trim()
        back = (await until(chat, Kind.RESUMED))[-1]
        assert isinstance(back.detail, Resumed)
        assert back.detail.complete
        assert fake.calls[-1]["bcast-after"] == "e1:6"


async def test_who_hears_oneself_is_not_robbed_of_that(fake: FakeServer) -> None:
    """An acknowledgement may come before its message does."""
    async with connect(fake, echo=True) as chat:
        for number in range(5):
            await chat.send(str(number))
        fake.drop()
        assert await texts(chat, 5) == list("01234")


# --- what one says


@pytest.mark.parametrize("fault", ["drop_before", "drop_after"])
async def test_what_was_not_acknowledged_is_sent_again(fake: FakeServer, fault: str) -> None:
    """Once for the others, whether the server had it or not; whoever waits for the answer gets it."""
    async with connect(fake) as chat:
        setattr(fake, fault, 1)
        ack = await chat.send("hola")
        assert ack == bcast_grpc.Ack(1, "e1", duplicate=fault == "drop_after")
        assert fake.texts == ["hola"]


async def test_what_is_said_without_a_connection_goes_out_in_order_when_there_is_one(fake: FakeServer) -> None:
    """After what was not acknowledged, whoever said it and however."""
    async with connect(fake) as chat:
        chat.post("0")
        await fake.until_called(1)
        await fake.stop()
        for number in range(1, 5):
            chat.post(str(number))
        sending = [asyncio.create_task(chat.send(str(number))) for number in range(5, 10)]
        await asyncio.sleep(0)
        await fake.start()
        await asyncio.gather(*sending)
        assert fake.texts == list("0123456789")


async def test_no_more_is_kept_than_there_is_room_for(fake: FakeServer) -> None:
    """A post is refused then; who sends waits, and is first when there is room; who gives up leaves none behind."""
    async with connect(fake, max_backlog=3) as chat:
        await fake.stop()
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
        await fake.start()
        await asyncio.gather(*sending)
        assert fake.texts == list("012345678")


async def test_a_new_name_is_kept(fake: FakeServer) -> None:
    """For the next connection, from its acknowledgement on."""
    async with connect(fake) as chat:
        await chat.rename("eva")
        fake.drop()
        await until(chat, Kind.RESUMED)
        fake.drop_after = 1
        await chat.rename("zoe")
        await chat.send("hola")
    assert [call["bcast-name"] for call in fake.calls] == ["ana", "eva", "eva"]
    assert fake.log[-1].event.message == "zoe: hola"
