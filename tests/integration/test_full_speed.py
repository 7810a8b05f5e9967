"""The promises while senders send as fast as they are let, against a server in a process of its own."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bcast_grpc.v1 import chat_pb2 as pb

from .conftest import Spawn
from .peers import Door, Peer, within

SENDERS = 5


def frame(first: int, size: int) -> pb.ConnectRequest:
    """A frame of so many numbered messages; the last of them is to be acknowledged."""
    requests = [pb.ConnectRequest(msg=f"{n}") for n in range(first, first + size)]
    requests[-1].id = f"{first + size}"
    return requests[0] if size == 1 else pb.ConnectRequest(batch=requests)


async def send(sender: Peer, frames: int, size: int) -> None:
    """Send so many frames without waiting for anything, and wait until the last one is acknowledged."""

    async def write() -> None:
        for first in range(0, frames * size, size):
            await sender.send(frame(first, size))

    await asyncio.gather(write(), sender.answer(f"{frames * size}"))


def messages(peer: Peer) -> list[tuple[int, str]]:
    """The messages that a client heard."""
    return [(event.seq, event.message) for event in peer.heard if event.kind == pb.EVENT_KIND_MESSAGE]


@pytest.mark.parametrize(("frames", "size"), [(50, 64), (1000, 1)], ids=["batching", "one request a frame"])
async def test_every_promise(spawn: Spawn, frames: int, size: int) -> None:
    """To all but the author, once, in one order, each author's in its own, an ack for each id; late readers too."""
    server = await spawn()
    senders = [await server.connect(f"{n}", batch="1") for n in range(SENDERS)]
    readers = [await server.connect(batch="1"), await server.connect(), await server.subscribe(batch="1")]
    late = await server.connect(batch="1")
    hearing = asyncio.gather(*(reader.hear_until("the end") for reader in readers))
    await asyncio.gather(*(send(sender, frames, size) for sender in senders))
    await server.publish("the end")
    await hearing
    for peer in (late, *senders):
        await peer.hear_until("the end")

    order = messages(late)[:-1]
    assert [seq for seq, _ in order] == list(range(1, SENDERS * frames * size + 1))
    for name in range(SENDERS):
        own = [text for _, text in order if text.startswith(f"{name}: ")]
        assert own == [f"{name}: {n}" for n in range(frames * size)]
    assert all(messages(reader)[:-1] == order for reader in readers)
    for name, sender in enumerate(senders):
        assert messages(sender)[:-1] == [(seq, text) for seq, text in order if not text.startswith(f"{name}: ")]
        acks = [event for event in sender.heard if event.kind == pb.EVENT_KIND_ACK]
        assert [ack.id for ack in acks] == [f"{n}" for n in range(size, frames * size + 1, size)]
        places = {text: seq for seq, text in order}
        assert [ack.ack.seq for ack in acks] == [places[f"{name}: {int(ack.id) - 1}"] for ack in acks]
        assert {(ack.ack.queued, ack.ack.refused) for ack in acks} == {(SENDERS - 1 + len(readers) + 1, 0)}


async def test_a_large_room_starves_nobody(spawn: Spawn) -> None:
    """While a large room is as busy as it can be, clients come and go there and elsewhere, and talk."""
    server = await spawn("--max-clients", "200")
    senders = [await server.connect(room="large", batch="1") for _ in range(SENDERS)]
    crowd = [await server.connect(room="large", batch="1") for _ in range(100)]
    done = asyncio.Event()

    async def keep_busy(sender: Peer) -> int:
        for first in count(step=64):
            await sender.send(frame(first, 64))
            await sender.answer(f"{first + 64}")
            if done.is_set():
                await sender.half_close()
                return first + 64
        raise AssertionError

    async def drain(peer: Peer) -> None:
        frame = pb.ConnectResponse()
        while "the end" not in [event.message for event in frame.batch or [frame]]:
            frame = await peer.frame()

    busy = [asyncio.create_task(keep_busy(sender)) for sender in senders]
    draining = [asyncio.create_task(drain(peer)) for peer in crowd]
    health: Any = health_pb2_grpc.HealthStub(server.channel())
    for n in range(10):
        await come_and_go(server, f"{n}")
        newcomer = await server.connect("newcomer", room="large", batch="1")
        await newcomer.frame()
        newcomer.cancel()
        checked = await within(health.Check(health_pb2.HealthCheckRequest()))
        assert checked.status == health_pb2.HealthCheckResponse.SERVING
    assert not any(task.done() for task in busy + draining)
    done.set()
    assert all(sent > 64 for sent in await asyncio.gather(*busy))
    await server.publish("the end", room="large")
    await asyncio.gather(*draining)


async def come_and_go(server: Door, text: str) -> None:
    """Do in a small room of its own what clients do."""
    ana, bob = await server.connect("ana", room="small"), await server.connect(room="small")
    await ana.say(text, id="said")
    assert (await bob.hear()).message == f"ana: {text}"
    assert (await ana.answer("said")).ack.queued == 1
    await bob.ask("who", id="asked")
    assert len((await bob.answer("asked")).members.members) == 2
    for peer in (ana, bob):
        await peer.half_close()
        await peer.end()
