"""A chat with several servers goes on at another one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

import bcast_grpc
from bcast_grpc import (
    CallError,
    Chat,
    ConnectionLost,
    ErrorCode,
    Gap,
    GapReason,
    Kind,
    Reconnecting,
    RequestError,
    Resumed,
)

from .fake import FULL, GONE, FakeServer, Refusal
from .lost import connect, texts, until

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("nothing_left")]


@pytest.fixture
async def several() -> AsyncIterator[FakeServer]:
    """Three servers that share a room."""
    async with FakeServer(3) as server:
        yield server


@pytest.fixture
async def strangers() -> AsyncIterator[list[FakeServer]]:
    """Two servers that do not share their rooms."""
    async with FakeServer() as one, FakeServer() as other:
        other.begin_anew()
        yield [one, other]


def both(servers: list[FakeServer]) -> str:
    """Both targets."""
    return ",".join(server.target for server in servers)


def here_and_there(chat: Chat, servers: list[FakeServer]) -> tuple[FakeServer, FakeServer]:
    """The server that a chat is connected to, and the other one."""
    one, other = servers
    return (one, other) if chat.target == one.target else (other, one)


@contextmanager
def black_hole() -> Iterator[str]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        yield f"127.0.0.1:{mute.getsockname()[1]}"


async def resumed(chat: Chat) -> Resumed:
    """How it came back."""
    detail = (await until(chat, Kind.RESUMED))[-1].detail
    assert isinstance(detail, Resumed)
    return detail


@pytest.mark.parametrize("refusal", [GONE, FULL, Refusal(grpc.StatusCode.UNAVAILABLE, "no", "BROKER_UNAVAILABLE")])
async def test_it_goes_on_at_another_and_misses_nothing(several: FakeServer, refusal: Refusal) -> None:
    """From the same place, with the same ids; it says where it is."""
    async with connect(several, max_downtime_s=60) as chat:
        at = chat.target
        for n in range(4):
            several.drop_after = 1
            sending = asyncio.create_task(chat.send(str(n)))
            back = await resumed(chat)
            assert await sending == bcast_grpc.Ack(n + 1, "e1", duplicate=True)
            assert back.complete
            assert back.moved_to == chat.target != at
            assert chat.target in several.target.split(",")
            at = chat.target
        several.say("hola")
        several.drop(refusal)
        several.say("¿qué tal?")
        assert await texts(chat, 2) == ["hola", "¿qué tal?"]
        assert several.texts == list("0123")


async def test_clients_are_spread(several: FakeServer) -> None:
    """By chance."""
    found: set[str] = set()
    while len(found) < 3:
        async with connect(several) as chat:
            found.add(chat.target)


async def test_a_server_that_is_about_to_end_is_not_waited_for(several: FakeServer) -> None:
    """There are others; it alone is left alone for as long as it said."""
    async with connect(several, max_downtime_s=60) as chat:
        several.close(3600)
        await until(chat, Kind.CLOSING)
        first = chat.target
        several.drop(GONE._replace(reason="SHUTTING_DOWN", retry_after_s=3600))
        back = await until(chat, Kind.RESUMED)
        assert [each.detail.retry_in_s < 1 for each in back if isinstance(each.detail, Reconnecting)] == [True]
        for _ in range(5):
            several.drop()
            assert (await resumed(chat)).moved_to != first


async def test_one_that_is_full_asks_only_for_time_of_its_own(several: FakeServer) -> None:
    """Where all are, the shortest time counts."""
    async with connect(several, max_downtime_s=1000) as chat:
        several.refusals += [FULL._replace(retry_after_s=3600)] * 2
        several.drop()
        await resumed(chat)
        assert len(several.calls) == 4
        several.drop(FULL._replace(retry_after_s=3600))
        with pytest.raises(ConnectionLost, match=r"no room.*given up after"):
            await until(chat, Kind.MESSAGE)


async def test_what_a_server_cannot_do_another_is_asked_for(several: FakeServer) -> None:
    """In the same order, with the same ids; what was posted, and what somebody waits for."""
    async with connect(several) as chat:
        first = chat.target
        several.away_calls = 1
        for n in range(3):
            chat.post(str(n))
        assert (await chat.send("3")).seq == 4
        assert chat.target != first
        assert several.texts == list("0123")
        events = await until(chat, Kind.RESUMED)
        assert [event.kind for event in events] == [Kind.RECONNECTING, Kind.RESUMED]
        assert "the store is away (BROKER_UNAVAILABLE)" in events[0].message


async def test_what_another_server_cannot_do_either_fails(several: FakeServer) -> None:
    """Or the clients of servers whose common store is away would go round in circles."""
    async with connect(several) as chat:
        several.away_calls = 2
        with pytest.raises(RequestError, match="the store is away"):
            await chat.send("0")
        assert len(several.calls) == 2
        several.away_calls = 4
        chat.post("1", id="one")
        event = (await until(chat, Kind.ERROR))[-1]
        assert (event.id, len(several.calls)) == ("one", 3)


@pytest.mark.parametrize("is_single", [True, False])
async def test_without_another_server_it_fails_at_once(several: FakeServer, is_single: bool) -> None:
    """So it does for who does not reconnect."""
    options: dict[str, Any] = {"target": several.target.split(",")[0]} if is_single else {"max_downtime_s": 0.0}
    async with connect(several, **options) as chat:
        several.away_calls = 1
        with pytest.raises(RequestError, match="the store is away"):
            await chat.send("0")
        several.away_calls = 0
        await chat.send("1")
    assert len(several.calls) == 1


@pytest.mark.parametrize("status", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED])
async def test_who_is_not_let_in_by_one_asks_no_other(several: FakeServer, status: grpc.StatusCode) -> None:
    """A wrong token is not tried at every door."""
    several.refusals.append(Refusal(status, "no"))
    with pytest.raises(CallError, match="no"):
        await connect(several).__aenter__()
    assert len(several.calls) == 1


async def test_one_that_is_silent_is_passed_over(fake: FakeServer) -> None:
    """In half a second, also where it would be the first."""
    with black_hole() as hole:

        async def connect_once() -> str:
            async with bcast_grpc.connect(f"{hole},{fake.target}", connect_timeout_s=30) as chat:
                return chat.target

        assert await asyncio.gather(*(connect_once() for _ in range(8))) == [fake.target] * 8


async def test_another_kind_of_server_is_passed_over(fake: FakeServer) -> None:
    """Where one target is wrong the others are not; where all are, that is final."""
    servers = []
    for _ in range(2):
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append((server, f"127.0.0.1:{port}"))
    (one, stranger), (other, another) = servers
    for _ in range(4):
        async with bcast_grpc.connect(f"{stranger},{fake.target},{another}") as chat:
            assert chat.target == fake.target
    with pytest.raises(CallError) as caught:
        await bcast_grpc.connect([stranger, another]).__aenter__()
    assert f"no bcast_grpc server at {stranger}" in str(caught.value)
    assert f"no bcast_grpc server at {another}" in str(caught.value)
    assert not caught.value.retryable
    await one.stop(None)
    await other.stop(None)


async def test_where_none_is_reached_all_are_named() -> None:
    """With their reasons."""
    with black_hole() as hole, pytest.raises(ConnectionLost) as caught:
        await bcast_grpc.connect(f"127.0.0.1:1,{hole},127.0.0.1:2", connect_timeout_s=2).__aenter__()
    said = str(caught.value)
    assert f"no answer from {hole} within 2 s" in said
    assert "cannot connect to 127.0.0.1:1: " in said
    assert "cannot connect to 127.0.0.1:2: " in said


async def test_servers_that_do_not_share_their_rooms_leave_a_gap(strangers: list[FakeServer]) -> None:
    """The order of the other is another one: all that it keeps comes."""
    for server in strangers:
        server.say(f"at {server.epoch}")
    async with connect(strangers[0], target=both(strangers)) as chat:
        here, there = here_and_there(chat, strangers)
        here.say("hola")
        assert await texts(chat, 1) == ["hola"]
        await chat.send("one")
        await here.stop()
        await chat.send("two")
        events = await until(chat, Kind.MESSAGE)
        assert [event.kind for event in events[-3:]] == [Kind.RESUMED, Kind.GAP, Kind.MESSAGE]
        assert events[-2].detail == Gap(0, 0, GapReason.NEW_EPOCH)
        assert events[-1].text == f"at {there.epoch}"
        assert (here.texts, there.texts, chat.epoch) == (["one"], ["two"], there.epoch)


async def test_each_is_tried_once_before_the_pauses_grow(strangers: list[FakeServer]) -> None:
    """An attempt is one of all."""
    async with connect(strangers[0], target=both(strangers), max_downtime_s=60) as chat:
        for server in strangers:
            server.refusals += [FULL] * 3
        here, _ = here_and_there(chat, strangers)
        here.drop()
        events = await until(chat, Kind.RESUMED)
        details = [event.detail for event in events if isinstance(event.detail, Reconnecting)]
        assert details[-1].attempt == 4
        assert str(details[-1].error).count("no room") == 2
        assert sum(len(server.calls) for server in strangers) == 1 + 6 + 1


def test_the_synchronous_twin_goes_on_too() -> None:
    """With the same arguments, and says where it is."""

    async def run() -> None:
        async with FakeServer(2) as server:

            def talk() -> None:
                with bcast_grpc.connect_sync(server.target.split(","), first_retry_s=0.001) as chat:
                    first = chat.target
                    server.drop_after = 1
                    assert chat.send("hola").seq == 1
                    assert {first, chat.target} == set(server.target.split(","))

            await asyncio.to_thread(talk)

    asyncio.run(run())


async def test_an_end_that_is_final_is_final(several: FakeServer) -> None:
    """No other server is asked."""
    async with connect(several) as chat:
        several.drop(Refusal(grpc.StatusCode.ABORTED, "no", "REPLACED", retryable=False))
        with pytest.raises(CallError) as caught:
            await until(chat, Kind.MESSAGE)
        assert caught.value.code is ErrorCode.REPLACED
    assert len(several.calls) == 1
