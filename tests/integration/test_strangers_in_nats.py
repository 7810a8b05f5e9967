"""A client of NATS that is no server, and says whatever it likes where servers listen."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from secrets import token_hex

import nats
import pytest
from nats.aio.client import Client

from bcast_grpc.broker.nats.names import Names, token
from bcast_grpc.log.v1 import peers_pb2 as peers
from bcast_grpc.log.v1 import record_pb2 as records
from tests.nats_server import NatsServer

from .conftest import Serve
from .peers import Peer, eventually, within

pytestmark = pytest.mark.one_engine

LARGE = 900_000


@pytest.fixture
async def stranger(shared_nats: NatsServer) -> AsyncIterator[Client]:
    """It may do everything."""
    client = await nats.connect(shared_nats.url)
    yield client
    await client.close()


def garbage(some: random.Random) -> list[bytes]:
    """Return what nobody can read, and what reads as a message and is out of all bounds."""
    huge = 2**64 - 1
    said = [
        peers.PeerMessage(beat=peers.Beat(host="x" * LARGE)),
        peers.PeerMessage(notice=peers.Notice(number=huge, clock=huge)),
        peers.PeerMessage(
            notice=peers.Notice(
                number=1, changes=[peers.Change(room="lobby", left=peers.Departed(session="x" * LARGE, seq=huge))]
            )
        ),
        peers.PeerMessage(ask=peers.Ask(rooms=["lobby"] * 100_000)),
        peers.PeerMessage(used=peers.Used(usages=[peers.Usage(key="@" + "x" * LARGE, messages=2**32 - 1)])),
        peers.PeerMessage(heads_asked=peers.HeadsAsked(number=huge, rooms=[peers.Told(room="bG9iYnk")] * 50_000)),
        peers.PeerMessage(heads=peers.Heads(heads=[peers.Head(room="bG9iYnk", sequence=huge, record="x")])),
        peers.PeerMessage(lists=peers.Lists(lists=[peers.List(room="lobby", part=7, more=True, number=huge)])),
    ]
    for number, one in enumerate(said):
        one.version, one.server = 1, ("stranger", "a b", "*", "x\r\nPUB y 0\r\n\r\n")[number % 4]
    read = [one.SerializeToString() for one in said]
    for one in said:
        one.server = "stranger"
    read += [one.SerializeToString() for one in said]
    forwarded = records.Forward(version=1, sequence=huge, items=[records.Item(uid=f"{n}") for n in range(50_000)])
    cut = [one[: some.randrange(len(one))] for one in read]
    return [b"", b"\xff" * 100, some.randbytes(1000), *read, *cut, forwarded.SerializeToString()]


async def talk(ana: Peer, bob: Peer, number: int) -> None:
    """Say something, and hear it at the other server."""
    await ana.say(f"{number}", id=f"{number}")
    assert (await ana.answer(f"{number}")).ack.seq == number
    assert (await bob.hear()).message == f"ana: {number}"


async def test_garbage_changes_nothing(serve: Serve, shared_nats: NatsServer, stranger: Client) -> None:
    """Clients of several servers talk as before, and the log of the servers has no fault."""
    names = Names(token_hex(4))
    here, there = [await serve(store=shared_nats.url, cluster=names.cluster) for _ in range(2)]
    ana, bob = await here.connect("ana"), await there.connect("bob", events="left,joined")
    await talk(ana, bob, 1)
    some = random.Random(15)
    incarnations = [door.server.hub._broker.me.name for door in (here, there)]  # type: ignore[attr-defined]
    subjects = [names.peers(), names.live("lobby")]
    subjects += [names.peers(one) for one in incarnations]
    subjects += [f"bcast.{names.cluster}.fwd.{one}.{room}" for one in incarnations for room in (token("lobby"), "x")]
    for number, subject in enumerate(subjects, 2):
        for one in garbage(some):
            await stranger.publish(subject, one)
            await stranger.publish(subject, one, headers={"Nats-Sequence": "9" * 5000, "Nats-Last-Sequence": "-1"})
        await within(stranger.flush())
        await talk(ana, bob, number)
    await within(stranger.publish(names.log("lobby"), b"\xff" * 100))
    await within(stranger.flush())
    await talk(ana, bob, len(subjects) + 2)
    assert ana.epoch == bob.epoch
    await eventually(lambda: here.server.hub.clients == there.server.hub.clients == 1)
