"""``bcast-store new-epoch`` on a log that servers use: they and their clients take the epoch over."""

from __future__ import annotations

import asyncio
import json
import os
from secrets import token_hex

import pytest

from bcast_grpc import __version__
from bcast_grpc.store.cli import run
from bcast_grpc.v1 import chat_pb2 as pb
from tests.nats_server import NatsServer

from .conftest import Serve
from .peers import eventually, within


async def begin(nats: NatsServer, cluster: str, *rooms: str) -> None:
    """Run the program."""
    code = await within(asyncio.to_thread(run, ["new-epoch", nats.url, *rooms, "--cluster", cluster]))
    assert code == 0


async def test_clients_go_on_in_the_new_epoch(
    serve: Serve, shared_nats: NatsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """At all servers, with a ``GAP`` and everything that is kept; ids are remembered, and other rooms go on."""
    cluster = token_hex(4)
    here, there = [await serve(store=shared_nats.url, cluster=cluster) for _ in range(2)]
    ana, bob = await here.connect("ana", client="ana's", room="a"), await there.connect("bob", room="a")
    other = await there.connect("eva", room="b")
    await ana.say("1", id="1")
    await ana.answer("1")
    assert (await bob.hear()).message == "ana: 1"
    await begin(shared_nats, cluster, "a")
    gap, kept = await bob.hear_some(2)
    assert (gap.kind, gap.gap.reason) == (pb.EVENT_KIND_GAP, pb.GAP_REASON_NEW_EPOCH)
    assert (kept.message, kept.seq) == ("ana: 1", 1)
    await ana.say("1", id="1")
    ack = (await ana.answer("1")).ack
    assert (ack.seq, ack.duplicate, ack.epoch != ana.epoch) == (1, True, True)
    await ana.say("2", id="2")
    assert (await ana.answer("2")).ack.seq == 2
    assert (await bob.hear()).message == "ana: 2"
    capsys.readouterr()
    assert await within(asyncio.to_thread(run, ["info", shared_nats.url, "--json", "--cluster", cluster])) == 0
    servers = json.loads(capsys.readouterr().out)["running"]
    assert {(one["version"], one["pid"]) for one in servers} == {(__version__, os.getpid())}
    assert len({one["incarnation"] for one in servers}) == len(servers) == 2
    late = await here.connect("late", room="a", history="9")
    assert [event.seq for event in await late.hear_some(2)] == [1, 2]
    back = await there.connect("back", room="a", after=f"{bob.epoch}:1")
    first, *_ = await back.hear_some(3)
    assert first.gap.reason == pb.GAP_REASON_NEW_EPOCH
    assert (await there.connect("bob", room="b")).epoch == other.epoch


async def test_while_servers_write(serve: Serve, shared_nats: NatsServer) -> None:
    """What they write meanwhile comes in the same epoch; nothing is twice in it, and no number is missing."""
    cluster = token_hex(4)
    here, there = [await serve(store=shared_nats.url, cluster=cluster) for _ in range(2)]
    ana, bob = await here.connect("ana", client="ana's"), await there.connect("bob", client="bob's")
    hearer = await here.connect("eva", events="welcome")

    async def talk(peer: object, count: int) -> None:
        for n in range(count):
            await peer.say(f"{n}", id=f"{n}")  # type: ignore[attr-defined]
            await peer.answer(f"{n}")  # type: ignore[attr-defined]

    async def change() -> None:
        for _ in range(3):
            await begin(shared_nats, cluster)

    await asyncio.gather(talk(ana, 150), talk(bob, 150), change())
    await ana.say("last", id="last")
    head = (await ana.answer("last")).ack
    heard: list[list[pb.ConnectResponse]] = []
    epoch = ""
    while epoch != head.epoch or not heard[-1] or heard[-1][-1].seq != head.seq:  # an epoch may be over unheard
        event = await hearer.hear()
        if event.kind == pb.EVENT_KIND_WELCOME:
            epoch = event.welcome.epoch
            heard.append([])
        elif event.kind == pb.EVENT_KIND_MESSAGE:
            heard[-1].append(event)
    for messages in heard:
        assert [event.seq for event in messages] == list(range(1, len(messages) + 1))
        assert len({event.message for event in messages}) == len(messages)
    assert {event.message for event in heard[-1]} == {
        "ana: last", *(f"{name}: {n}" for name in ("ana", "bob") for n in range(150))
    }  # fmt: skip
    await eventually(lambda: here.server.hub.clients == 2)
    assert await asyncio.to_thread(run, ["check", shared_nats.url, "--cluster", cluster]) == 0
