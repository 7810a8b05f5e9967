"""A server that sends clients away after a time: they come back, or go to another server, and lose nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

import bcast_grpc
from bcast_grpc.server import Server
from tests.engine import settings

from .conftest import LocalDoor
from .endings import check_closing
from .peers import within

AGE_S = 0.4
COUNT = 40


@pytest.fixture
async def hasty() -> AsyncIterator[LocalDoor]:
    """A server that sends clients away soon."""
    async with Server(settings(max_connection_age_s=AGE_S, http_port=0, tcp_port=0)) as server:
        door = LocalDoor(server)
        try:
            yield door
        finally:
            await door.close()


async def test_every_call_ends_as_in_a_drain(hasty: LocalDoor) -> None:
    """With CLOSING, and an error to come back after; the server goes on, and lets clients in again."""
    peers = [await hasty.connect("ana"), await hasty.connect(batch="1"), await hasty.subscribe()]
    page, socket = await hasty.browse(), await hasty.plug()
    for peer in peers:
        check_closing(await peer.end())
    for other in (page, socket):
        closing, error = [event for event in await other.end() if event["kind"] != "EVENT_KIND_LEFT"]
        assert "max-connection-age-s" in closing["closing"]["reason"]
        assert closing["closing"]["reconnect_after"] == error["error"]["retry_after"]
        assert error["error"]["code"] == "ERROR_CODE_SHUTTING_DOWN"
    assert page.closed[0] == 4013
    await hasty.connect("ana")


async def test_the_library_loses_nothing(hasty: LocalDoor) -> None:
    """It comes back again and again, in the same order, and says everything once."""
    async with (
        bcast_grpc.connect(hasty.address, name="ana") as ana,
        bcast_grpc.connect(hasty.address, name="bob") as bob,
    ):

        async def talk() -> None:
            for number in range(COUNT):
                await ana.send(f"{number}")
                await asyncio.sleep(2 * AGE_S / COUNT)  # so that it talks while both are sent away

        talking = asyncio.create_task(talk())
        heard: list[str] = []
        resumed = 0
        while len(heard) < COUNT:
            event = await within(anext(bob))
            assert event.kind is not bcast_grpc.Kind.GAP
            resumed += event.kind is bcast_grpc.Kind.RESUMED
            if event.kind is bcast_grpc.Kind.MESSAGE:
                heard.append(event.text)
        await talking
        assert heard == [f"{number}" for number in range(COUNT)]
        while not resumed:
            resumed += (await within(anext(bob))).kind is bcast_grpc.Kind.RESUMED


@pytest.mark.grpc_engine("native", reason="the other engine keeps the connection")
async def test_the_next_call_comes_over_another_connection(hasty: LocalDoor) -> None:
    """So that a balancer may lead it to another server, though the client has one channel."""
    channel, connections = hasty.channel(), []
    for _ in range(2):
        peer = await hasty.connect("ana", on=channel)
        connections.append(set(hasty.server._connections._busy))
        check_closing(await peer.end())
    assert connections[0] != connections[1]
