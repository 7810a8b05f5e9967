"""One slow client harms nobody else, and who keeps up is never taken for slow."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from grpc import StatusCode

from bcast_grpc.core.member import Member
from bcast_grpc.core.outbox import Outbox
from bcast_grpc.core.session import Session
from bcast_grpc.transport import lingering
from bcast_grpc.v1 import chat_pb2 as pb

from .conftest import LocalDoor, Serve
from .peers import Event, Peer, eventually

pytestmark = pytest.mark.usefixtures("unhurried")

MIB = 1024 * 1024
BOUNDS = [
    pytest.param({"queue_messages": 50}, 10_000, id="messages"),
    pytest.param({"queue_bytes": 200_000}, 10_000, id="bytes"),
    pytest.param({"queue_bytes": 70_000}, 65_000, id="hardly a message"),
]
TINY = [(1, "0", 1000), (1, "1", 1000), (3, "1", 3000), (10, "0", 10_000)]


def member_of(door: LocalDoor, peer: Peer) -> Member:
    """Look into the server for a client."""
    return door.server.hub._rooms["lobby"].members[peer.session]


async def talk_until_left(ana: Peer, name: str, size: int) -> list[pb.Ack]:
    """Send one message after the other, each as soon as the last one is acknowledged, until a client has left."""
    acks: list[pb.Ack] = []
    while True:
        await ana.say(data=bytes(size), id=f"{len(acks)}")
        event = await ana.hear()
        while event.kind != pb.EVENT_KIND_ACK:
            if event.message == f"{name} left":
                return acks
            event = await ana.hear()
        acks.append(event.ack)
        assert len(acks) < 64 * MIB / size, "nothing stops it"


async def listen(peer: Peer) -> list[Event]:
    """Read until the message "the end"."""
    return [event for event in await peer.hear_until("the end") if event.kind == pb.EVENT_KIND_MESSAGE]


@pytest.mark.parametrize(("bounds", "size"), BOUNDS)
@pytest.mark.parametrize("batch", ["0", "1"])
async def test_who_stops_reading(serve: Serve, bounds: dict[str, int], size: int, batch: str) -> None:
    """Who stops reading is disconnected; the others get every message, in order, and senders wait for nobody."""
    door = await serve(**bounds, **({} if size < 60_000 else {"max_message_bytes": 65_000}))
    ana, slow = await door.connect(), await door.connect("slow", batch=batch)
    readers = [await door.connect(batch="1"), await door.subscribe()]
    hearing = asyncio.gather(*(listen(reader) for reader in readers))
    acks = await talk_until_left(ana, "slow", size)
    await door.publish("the end")
    for events in await hearing:
        assert [event.seq for event in events][: len(acks)] == [n + 1 for n in range(len(acks))]
    assert [ack.queued for ack in acks] == sorted((ack.queued for ack in acks), reverse=True)
    assert [ack.refused for ack in acks].count(1) == 1
    assert acks[0] == pb.Ack(seq=1, epoch=ana.epoch, queued=3)
    assert acks[-1].queued == 2
    ending = await slow.end()
    assert (ending.code, ending.reason) == (StatusCode.RESOURCE_EXHAUSTED, "SLOW_CONSUMER")
    assert (ending.domain, ending.retryable) == ("bcast_grpc", True)
    assert [event.seq for event in ending.before] == [n + 1 for n in range(len(ending.before))]


async def test_a_reader_that_stops_reading(serve: Serve) -> None:
    """A ``Subscribe`` that stops reading ends in the same way."""
    door = await serve(queue_messages=50)
    ana, slow = await door.connect(), await door.subscribe("slow")
    await talk_until_left(ana, "slow", 10_000)
    assert (await slow.end()).reason == "SLOW_CONSUMER"


@pytest.mark.parametrize(("bounds", "size"), BOUNDS[:2])
async def test_no_queue_exceeds_its_bounds(serve: Serve, bounds: dict[str, int], size: int) -> None:
    """What is queued for a slow client never exceeds ``queue-messages`` or ``queue-bytes``, and reaches near them."""
    door = await serve(**bounds)
    ana, slow = await door.connect(), await door.connect("slow")
    outbox = member_of(door, slow).outbox
    most_messages = most_bytes = n = 0
    while door.server.hub.clients == 2:
        await ana.say(data=bytes(size), id=f"{n}")
        await ana.answer(f"{n}")
        most_messages, most_bytes = max(most_messages, outbox.queued_messages), max(most_bytes, outbox.queued_bytes)
        n += 1
    assert most_messages <= outbox.max_messages
    assert most_bytes <= outbox.max_bytes
    assert most_messages == outbox.max_messages or most_bytes + 2 * size > outbox.max_bytes


async def test_many_slow_clients(serve: Serve) -> None:
    """Half of the clients stopping to read does not delay the others; the departure of each is announced once."""
    door = await serve(queue_bytes=500_000)
    ana = await door.connect()
    slow = [await door.connect(f"slow {n}") for n in range(8)]
    readers = [await door.connect(batch="1") for _ in range(8)]
    hearing = asyncio.gather(*(reader.hear_until("the end") for reader in readers))
    sent = 0
    while door.server.hub.clients > 9:
        await ana.say(data=bytes(50_000), id=f"{sent}")
        await ana.answer(f"{sent}")
        sent += 1
    await door.publish("the end")
    for events in await hearing:
        assert [event.seq for event in events if event.kind == pb.EVENT_KIND_MESSAGE] == list(range(1, sent + 1))
        left = [event.message for event in events if event.kind == pb.EVENT_KIND_LEFT]
        assert sorted(left) == [f"slow {n} left" for n in range(8)]
    for peer in slow:
        assert (await peer.end()).reason == "SLOW_CONSUMER"


@pytest.mark.parametrize(("queue_messages", "batch", "count"), TINY)
async def test_tiny_bounds_for_those_who_keep_up(serve: Serve, queue_messages: int, batch: str, count: int) -> None:
    """A burst much larger than any queue disconnects nobody who reads: it is taken in as fast as it goes out."""
    door = await serve(queue_messages=queue_messages)
    ana, bob, eva = [await door.connect(batch=batch) for _ in range(3)]
    hearing = asyncio.gather(listen(bob), listen(eva))
    await ana.send(pb.ConnectRequest(batch=[pb.ConnectRequest(msg=f"{n}") for n in range(count)]))
    await ana.say("the end")
    for events in await hearing:
        assert [event.message for event in events] == [f"{n}" for n in range(count)]


@pytest.mark.parametrize("queue_messages", [1, 3, 10])
@pytest.mark.parametrize("alone", [True, False])
async def test_tiny_bounds_for_the_sender(serve: Serve, queue_messages: int, alone: bool) -> None:
    """A burst of requests with answers does not disconnect its own sender either, as long as it reads."""
    door = await serve(queue_messages=queue_messages)
    ana = await door.connect()
    bob = ana if alone else await door.connect()
    count = 1000
    await ana.send(pb.ConnectRequest(batch=[pb.ConnectRequest(msg="hola", id=f"{n}") for n in range(count)]))
    assert [event.id for event in await ana.hear_some(count)] == [f"{n}" for n in range(count)]
    if not alone:
        await bob.hear_some(count)


@pytest.mark.parametrize("request_", [pb.ConnectRequest(), pb.ConnectRequest(operacion="who")], ids=["faults", "who"])
async def test_tiny_bounds_for_who_asks_much(serve: Serve, request_: pb.ConnectRequest) -> None:
    """Nor does a burst of questions disconnect the one who asks, as long as it reads the answers."""
    door = await serve(queue_messages=10)
    ana = await door.connect()
    await ana.send(pb.ConnectRequest(batch=[request_] * 1000))
    await ana.hear_some(1000)


async def test_tiny_bounds_in_bytes(serve: Serve) -> None:
    """The same for a queue that hardly holds one message."""
    door = await serve(queue_bytes=70_000)
    ana, bob, eva = await door.connect(), await door.connect(), await door.connect(batch="1")
    hearing = asyncio.gather(listen(bob), listen(eva))
    for _ in range(4):
        await ana.send(pb.ConnectRequest(batch=[pb.ConnectRequest(data=bytes(60_000)) for _ in range(60)]))
    await ana.say("the end")
    for events in await hearing:
        assert [event.seq for event in events] == list(range(1, 241))


async def test_the_default_bounds_in_a_storm(door: LocalDoor) -> None:
    """Many senders at once, each with a batch of thousands, disconnect nobody who reads."""
    senders = [await door.connect(batch="1") for _ in range(4)]
    requests = [pb.ConnectRequest(msg=f"{n}", data=bytes(200)) for n in range(5000)]
    hearing = asyncio.gather(*(peer.hear_some(15_000) for peer in senders))
    await asyncio.gather(*(peer.send(pb.ConnectRequest(batch=requests)) for peer in senders))
    for peer, events in zip(senders, await hearing, strict=True):
        assert [event.seq for event in events] == sorted(event.seq for event in events)
        assert peer.session not in {event.session for event in events}


async def test_who_leaves_and_does_not_read(door: LocalDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that leaves but never reads what is queued for it does not get OK, and does not stay for ever."""
    monkeypatch.setattr(lingering, "LINGER_S", 0.2)
    ana, slow = await door.connect(), await door.connect("slow")
    outbox = member_of(door, slow).outbox
    sent = 0
    while outbox.queued_bytes < MIB:
        await ana.say(data=bytes(60_000), id=f"{sent}")
        await ana.answer(f"{sent}")
        sent += 1
    await slow.half_close()
    assert (await ana.hear()).message == "slow left"
    ending = await slow.end()
    assert len(ending.before) < sent
    assert (ending.code, ending.reason) == (StatusCode.RESOURCE_EXHAUSTED, "SLOW_CONSUMER")


async def test_who_leaves_and_reads_late(door: LocalDoor) -> None:
    """Who leaves and reads only then gets all that was queued for it, then OK."""
    ana, slow = await door.connect(), await door.connect()
    for n in range(60):
        await ana.say(data=bytes(60_000), id=f"{n}")
        await ana.answer(f"{n}")
    await slow.half_close()
    ending = await slow.end()
    assert ending.code == StatusCode.OK
    assert [event.seq for event in ending.before] == list(range(1, 61))


# --- the same client again


@pytest.mark.parametrize("method", ["connect", "subscribe"])
async def test_replaced(door: LocalDoor, method: str) -> None:
    """A second stream of the same kind with one ``bcast-client`` ends the first; to the others nobody left or came."""
    arrive: Callable[..., Awaitable[Peer]] = getattr(door, method)
    watcher = await door.connect(events="all")
    first = await arrive("ana", client="c1")
    second = await arrive("ana", client="c1")
    ending = await first.end()
    assert (ending.code, ending.reason, ending.domain) == (StatusCode.ABORTED, "REPLACED", "bcast_grpc")
    assert not ending.retryable
    assert first.session != second.session
    await watcher.say("hola", id="1")
    assert (await watcher.answer("1")).ack.queued == 1
    assert (await second.hear()).message == "hola"
    await watcher.ask("who", id="2")
    assert (await watcher.answer("2")).message == "2 here: ana and one without a name"
    second.cancel()
    assert (await watcher.hear()).message == "ana left"
    assert [event.message for event in watcher.heard if event.kind == pb.EVENT_KIND_JOINED] == ["ana joined"]


async def test_what_replaces_nothing(door: LocalDoor) -> None:
    """The other kind of stream, another room, and another ``bcast-client`` leave a stream alone."""
    peers = [
        await door.connect(client="c1"),
        await door.subscribe(client="c1"),
        await door.connect(client="c1", room="dev"),
        await door.connect(client="c2"),
        await door.connect(),
        await door.connect(),
    ]
    assert door.server.hub.clients == len(peers)
    await door.publish("hola")
    await door.publish("hola", room="dev")
    for peer in peers:
        assert (await peer.hear()).message == "hola"


async def test_a_session_id_is_no_client(door: LocalDoor) -> None:
    """Nobody can take another's place with the session id that everyone sees."""
    ana = await door.connect("ana")
    await door.connect("eva", client=ana.session)
    await door.publish("hola", client=ana.session)
    assert (await ana.hear()).message == "hola"


async def test_a_client_that_does_not_read_is_replaced(door: LocalDoor) -> None:
    """A client that hangs makes room for itself at once, whatever was queued for it."""
    ana, slow = await door.connect(), await door.connect("slow", client="c1")
    outbox = member_of(door, slow).outbox
    n = 0
    while outbox.queued_bytes < MIB:
        await ana.say(data=bytes(60_000), id=f"{n}")
        await ana.answer(f"{n}")
        n += 1
    again = await door.connect("slow", client="c1")
    assert (await slow.end()).reason == "REPLACED"
    await ana.say("hola", id="hola")
    assert (await ana.answer("hola")).ack.queued == 1
    assert (await again.hear()).message == "hola"


async def test_replaced_again_and_again(door: LocalDoor) -> None:
    """However fast a client reconnects, one stream of it is left, and each of the others ended with the reason."""
    channel = door.channel()
    watcher = await door.connect(events="joined,left", on=channel)
    arriving = [door.open("ana", on=channel, client="c1") for _ in range(20)]
    endings = [asyncio.create_task(peer.end()) for peer in arriving]
    await eventually(lambda: sum(task.done() for task in endings) == 19)
    assert {task.result().reason for task in endings if task.done()} == {"REPLACED"}
    next(peer for peer, task in zip(arriving, endings, strict=True) if not task.done()).cancel()
    await eventually(lambda: door.server.hub.clients == 1)
    await asyncio.wait(endings)
    await door.publish("the end")
    assert [event.message for event in await watcher.hear_until("the end")] == ["ana joined", "ana left"]


# --- nothing is left behind


async def test_a_thousand_short_streams(serve: Serve) -> None:
    """A thousand clients that came and went, in several ways, leave nothing behind."""
    before = len(kept())
    door = await serve(rate=1000)
    watcher = await door.connect(events="none")
    channels = [door.channel() for _ in range(10)]

    async def come_and_go(n: int) -> None:
        peer = await door.connect(f"{n}", on=channels[n % 10], client=f"{n}", room=f"{n % 3}" if n % 2 else "lobby")
        await peer.say("hola", id="1")
        if n % 4 == 0:
            peer.cancel()
            return
        await peer.answer("1")
        await (peer.ask("leave") if n % 4 == 1 else peer.half_close())
        if n % 4 == 3:
            assert (await peer.end()).code == StatusCode.OK

    for wave in range(20):
        await asyncio.gather(*(come_and_go(50 * wave + n) for n in range(50)))
    hub = door.server.hub
    await eventually(lambda: hub.clients == 1)
    assert hub.rooms == ["lobby"]
    await door.publish("the end")
    await watcher.hear_until("the end")
    watcher.cancel()
    await eventually(lambda: not hub.clients and not hub.rooms)
    await eventually(lambda: len(kept()) == before)


def kept() -> list[object]:
    """Find what the server keeps for each client."""
    gc.collect()
    return [thing for thing in gc.get_objects() if isinstance(thing, Session | Member | Outbox)]


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@pytest.mark.parametrize(
    "door", ["grpc", *(pytest.param(other, marks=pytest.mark.one_engine) for other in ("ws", "tcp"))]
)
async def test_who_is_owed_more_answers_than_its_queue_holds(
    serve: Serve, store: str, door: str, tmp_path: Path
) -> None:
    """Two hundred retries at once, with a queue of eight: each is answered, and nobody is taken for slow."""
    at = await serve(
        store="memory:" if store == "memory" else f"sqlite:{tmp_path}/chat.db",
        queue_messages=8,
        http_port=0,
        tcp_port=0,
    )
    ids = [f"{n}" for n in range(200)]
    ana = await at.connect(client="ana") if door == "grpc" else await at.browse() if door == "ws" else await at.plug()
    for _ in range(2):
        for id_ in ids:
            await ana.say("hola", id=id_)
        answered: list[str] = []
        while len(answered) < len(ids):
            event = await ana.hear()
            answered.append(event["id"] if isinstance(event, dict) else event.id)
        assert answered == ids
