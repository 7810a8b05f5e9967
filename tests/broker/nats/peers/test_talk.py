"""Servers of a cluster hear each other over a real NATS server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from secrets import token_hex

import pytest

from bcast_grpc import __version__
from bcast_grpc.broker.nats.connection.connection import Connection
from bcast_grpc.broker.nats.connection.target import Target
from bcast_grpc.broker.nats.names import Names
from bcast_grpc.broker.nats.peers import talk
from bcast_grpc.broker.nats.peers.talk import Talk, roll_call
from bcast_grpc.log.v1 import peers_pb2 as pb
from tests.broker.nats.servers import until
from tests.nats_server import NatsServer


class Listener:
    """A part that takes down what it hears."""

    def __init__(self) -> None:
        self.said: list[pb.PeerMessage] = []
        self.lost: list[str] = []

    def beat(self) -> Iterator[pb.PeerMessage]:
        """Say one more thing."""
        yield pb.PeerMessage(notice=pb.Notice(number=7))

    def heard(self, message: pb.PeerMessage) -> None:
        """Take it down."""
        self.said.append(message)

    def gone(self, server: str) -> None:
        """Take it down."""
        self.lost.append(server)

    def tick(self, now_s: float) -> None:
        """Nothing is due."""

    def end(self) -> None:
        """Nothing is left to say."""


@asynccontextmanager
async def talking(nats: NatsServer, names: Names, name: str) -> AsyncIterator[tuple[Talk, Listener]]:
    """A server that talks, and says goodbye."""
    connection = Connection(Target([nats.url]), lambda _: None)
    await connection.start()
    talks, listener = Talk(name, names, connection, 50051), Listener()
    talks.attach(listener)
    await talks.start()
    running = asyncio.create_task(talks.run())
    try:
        yield talks, listener
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await talks.end()
        await connection.close()


async def test_who_comes_is_acquainted_soon_and_who_ends_says_so(
    shared_nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for a beat, nor for three that are missed."""
    monkeypatch.setattr(talk, "ACQUAINTED_S", 1.5)  # less than a beat, and enough for a busy machine
    names = Names(token_hex(4))
    async with talking(shared_nats, names, "a") as (a, hears):
        async with talking(shared_nats, names, "b") as (b, other):
            await b.acquainted()
            assert [peer.name for peer in b.peers.all] == ["a"]
            about = b.peers.all[0].about
            assert about
            assert (about.release, about.port) == (__version__, 50051)
            await until(lambda: any(said.notice.number == 7 for said in hears.said))
            a.say(pb.PeerMessage(ask=pb.Ask(rooms=["lobby"])), to="b")
            await until(lambda: any(said.ask.rooms for said in other.said))
        await until(lambda: hears.lost == ["b"])
        assert a.peers.all == []


async def test_a_program_that_is_no_server_may_ask_who_is_there(shared_nats: NatsServer) -> None:
    """It is not taken for one."""
    names = Names(token_hex(4))
    async with talking(shared_nats, names, "a") as (a, _), talking(shared_nats, names, "b"):
        connection = Connection(Target([shared_nats.url]), lambda _: None)
        await connection.start()
        try:
            there = await roll_call(connection, names, wait_s=2)
        finally:
            await connection.close()
        assert sorted(peer.name for peer in there) == ["a", "b"]
        assert {peer.about.pid for peer in there if peer.about} == {os.getpid()}
        assert [peer.name for peer in a.peers.all] == ["b"]
