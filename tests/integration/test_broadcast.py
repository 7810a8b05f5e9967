"""Whatever a client sends, every other client connected to the same room receives."""

from __future__ import annotations

import asyncio
import time

import pytest
from grpc.aio import Channel

from bcast_grpc.v1 import chat_pb2 as pb

from .conftest import LocalDoor, Serve
from .peers import Event, Peer

MIB = 1024 * 1024


def texts(events: list[Event]) -> list[str]:
    """What a person reads."""
    return [event.message for event in events]


def messages(peer: Peer) -> list[tuple[int, str]]:
    """The messages that a client has heard, and their places."""
    return [(event.seq, event.message) for event in peer.heard if event.kind == pb.EVENT_KIND_MESSAGE]


async def test_to_all_the_others(door: LocalDoor) -> None:
    """A message reaches every other client, also one that never sent anything, and not its author."""
    ana, bob, eva = [await door.connect() for _ in range(3)]
    await ana.say("hola")
    assert (await bob.hear()).message == "hola"
    assert (await eva.hear()).message == "hola"
    await bob.say("ciao")
    assert (await ana.hear()).message == "ciao"  # the first thing that she hears at all
    assert (await eva.hear()).message == "ciao"


@pytest.mark.parametrize("operacion", ["", "broadcast"])
async def test_what_a_message_carries(door: LocalDoor, operacion: str) -> None:
    """A message comes with its author, its place, its time and its data, unchanged, and no answer's fields."""
    ana, bob = await door.connect("ana"), await door.connect()
    data = bytes(range(256))
    before = time.time()
    await ana.send(pb.ConnectRequest(operacion=operacion, msg="hola\n¿qué tal? 👋", data=data, id="1"))
    event = await bob.hear()
    assert event.kind == pb.EVENT_KIND_MESSAGE
    assert event.message == "ana: hola\n¿qué tal? 👋"
    assert event.sender == "ana"
    assert event.session == ana.session != bob.session
    assert event.seq == 1
    assert before - 1 <= event.time.ToNanoseconds() / 1e9 <= time.time() + 1
    assert event.data == data
    assert event.id == ""
    assert event.WhichOneof("detail") is None


async def test_the_name_before_the_text(door: LocalDoor) -> None:
    """The text is ``name: text`` with a name, ``name: `` with only data, and verbatim without a name."""
    ana, nobody, bob = await door.connect("ana"), await door.connect(), await door.connect()
    await ana.say("hola")
    await ana.say(data=b"\0")
    assert texts(await bob.hear_some(2)) == ["ana: hola", "ana: "]
    await nobody.say("ana: hola")
    await nobody.say(data=b"\0")
    spoof, data = await bob.hear_some(2)
    assert (spoof.message, spoof.sender) == ("ana: hola", "")
    assert (data.message, data.data) == ("", b"\0")


async def test_rooms_apart(door: LocalDoor) -> None:
    """A message stays in its room; without ``bcast-room`` that is the lobby."""
    ana = await door.connect()
    lobby = await door.connect(room="lobby")
    dev = await door.connect(room="dév/1")
    also_dev = await door.connect(room="dév/1")
    await ana.say("to the lobby")
    await also_dev.say("to dev")
    assert (await lobby.hear()).message == "to the lobby"
    assert (await dev.hear()).message == "to dev"
    assert ana.metadata["bcast-room"] == "lobby"
    assert dev.metadata["bcast-room"] == "d%C3%A9v%2F1"
    assert dev.epoch == also_dev.epoch != ana.epoch


async def test_many_streams_on_one_connection(door: LocalDoor) -> None:
    """One connection carries as many streams as wanted, each a client of its own."""
    channel: Channel = door.channel()
    peers = [await door.connect(on=channel, room=f"{n % 2}") for n in range(20)]
    await peers[0].say("even")
    await peers[1].say("odd")
    for n, peer in enumerate(peers[2:]):
        assert (await peer.hear()).message == ("odd" if n % 2 else "even")


async def test_from_now_on(door: LocalDoor) -> None:
    """A client hears what is accepted after its arrival, and nothing from before."""
    ana = await door.connect()
    await ana.say("before", id="1")
    await ana.answer("1")
    bob = await door.connect()
    await ana.say("after")
    assert (await bob.hear()).message == "after"


async def test_connected_from_the_arrival(door: LocalDoor) -> None:
    """A call counts as connected from the moment it arrives, before it has sent anything."""
    silent = await door.connect()
    ana = await door.connect()
    await ana.say("hola", id="1")
    assert (await ana.hear()).ack.queued == 1
    assert (await silent.hear()).message == "hola"


async def test_echo(door: LocalDoor) -> None:
    """With ``bcast-echo`` the author hears its own messages in their place, not counted by the ack."""
    ana = await door.connect(echo="1")
    bob = await door.connect(echo="0")
    await ana.say("one", id="1")
    assert (await bob.hear()).message == "one"
    await bob.say("two", id="2")
    assert (await bob.hear()).ack.queued == 1
    heard = await ana.hear_some(3)
    assert texts([event for event in heard if event.kind == pb.EVENT_KIND_MESSAGE]) == ["one", "two"]
    assert [event.ack.queued for event in heard if event.id == "1"] == [1]


async def test_frames(door: LocalDoor) -> None:
    """Only a client that asked for it gets several events in a frame, and such a frame holds nothing else."""
    batching, single, ana = await door.connect(batch="1"), await door.connect(batch="0"), await door.connect()
    await ana.send(pb.ConnectRequest(batch=[pb.ConnectRequest(msg=str(n)) for n in range(100)]))
    count = 0
    while count < 100:
        frame = await batching.frame()
        assert frame == pb.ConnectResponse(batch=frame.batch)
        assert texts(list(frame.batch)) == [str(count + n) for n in range(len(frame.batch))]
        count += len(frame.batch)
    for n in range(100):
        frame = await single.frame()
        assert (frame.message, len(frame.batch)) == (str(n), 0)


async def test_a_batch_of_ten_thousand(door: LocalDoor) -> None:
    """The requests of one frame are handled in order, each with its ack, and the frame's other fields ignored."""
    ana = await door.connect(batch="1")
    bob, eva = await door.connect(batch="1"), await door.connect()
    requests = [pb.ConnectRequest(msg=f"{n}", id=f"{n}") for n in range(10_000)]
    await ana.send(pb.ConnectRequest(operacion="leave", msg="ignored", id="ignored", batch=requests))
    wanted = [(f"{n}", n + 1) for n in range(10_000)]
    acks, at_bob, at_eva = await asyncio.gather(*(peer.hear_some(10_000) for peer in (ana, bob, eva)))
    assert [(event.id, event.ack.seq) for event in acks] == wanted
    assert {(event.kind, event.ack.queued, event.ack.refused) for event in acks} == {(pb.EVENT_KIND_ACK, 2, 0)}
    assert [(event.message, event.seq) for event in at_bob] == wanted
    assert [(event.message, event.seq) for event in at_eva] == wanted


async def test_one_order(door: LocalDoor) -> None:
    """All see the same messages in the same order, numbered from one on without a hole, whoever sends meanwhile."""
    senders = [await door.connect(str(n), echo="1", batch=str(n % 2)) for n in range(5)]
    readers = [await door.subscribe(batch=str(n % 2)) for n in range(2)]

    async def send(sender: Peer) -> None:
        for n in range(100):
            await sender.say(f"{n}")
        await sender.send(pb.ConnectRequest(batch=[pb.ConnectRequest(msg=f"{n}") for n in range(100, 199)]))
        await sender.say("199", id="the last one")
        await sender.answer("the last one")

    hearing = asyncio.gather(*(reader.hear_until("the end") for reader in readers))
    await asyncio.gather(*(send(sender) for sender in senders), *(door.publish(f"{n}", name="cron") for n in range(2)))
    await door.publish("the end")
    await hearing
    for sender in senders:
        await sender.hear_until("the end")
    orders = [messages(peer)[:-1] for peer in senders + readers]
    assert all(order == orders[0] for order in orders)
    assert [seq for seq, _ in orders[0]] == list(range(1, 1003))
    for name in range(5):
        own = [text for _, text in orders[0] if text.startswith(f"{name}: ")]
        assert own == [f"{name}: {n}" for n in range(200)]


async def test_without_its_own_the_order_is_the_same(door: LocalDoor) -> None:
    """A client sees the one order with its own messages left out."""
    ana, bob, eva = [await door.connect(name) for name in ("ana", "bob", "eva")]

    async def send(peer: Peer) -> None:
        for n in range(100):
            await peer.say(f"{n}", id=f"{n}")
            await peer.answer(f"{n}")

    await asyncio.gather(send(ana), send(bob))
    await door.publish("the end")
    for peer in (ana, bob, eva):
        await peer.hear_until("the end")
    order = messages(eva)
    assert [seq for seq, _ in order] == list(range(1, 202))
    assert messages(ana) == [(seq, text) for seq, text in order if not text.startswith("ana: ")]
    assert messages(bob) == [(seq, text) for seq, text in order if not text.startswith("bob: ")]


async def test_publish(door: LocalDoor) -> None:
    """``Publish`` reaches all, with the name and the data, and is answered with its place and audience."""
    ana, bob = await door.connect(), await door.subscribe()
    ack = await door.publish("hola", data=b"\xff", name="cron")
    for event in (await ana.hear(), await bob.hear()):
        assert event.kind == pb.EVENT_KIND_MESSAGE
        assert (event.message, event.sender, event.data, event.seq) == ("cron: hola", "cron", b"\xff", 1)
        assert event.session not in ("", ana.session, bob.session)
    assert ack == pb.Ack(seq=1, epoch=ana.epoch, queued=2)


async def test_publish_says_where_it_went(door: LocalDoor) -> None:
    """``Publish``, too, gets its session, room and epoch in initial metadata."""
    ana = await door.connect(room="dev")
    call = door.stub().Publish(pb.PublishRequest(msg="hola"), metadata=[("bcast-room", "dev")])
    metadata = dict(await call.initial_metadata())
    assert (await ana.hear()).session == metadata["bcast-session"]
    assert (metadata["bcast-room"], metadata["bcast-epoch"]) == ("dev", ana.epoch)
    await call


async def test_publish_to_nobody(door: LocalDoor) -> None:
    """``Publish`` to an empty room is accepted, for an audience of none."""
    ack = await door.publish("hola", room="dev")
    assert (ack.seq, ack.queued, ack.refused, ack.duplicate) == (1, 0, 0, False)
    assert ack.epoch


async def test_publish_joins_nothing(door: LocalDoor) -> None:
    """A producer that holds no stream is neither listed nor announced."""
    ana = await door.connect("ana", events="all")
    await door.publish("hola", name="cron")
    await ana.ask("who", id="1")
    assert texts(await ana.hear_some(3)) == ["welcome to lobby: 1 here", "cron: hola", "1 here: ana"]


async def test_subscribe(door: LocalDoor) -> None:
    """A reader is a client like any other: listed, counted and announced; it never sends."""
    ana = await door.connect("ana", events="all")
    reader = await door.subscribe("bob", events="welcome")
    assert (await reader.hear()).welcome.members == 2
    await ana.say("hola", id="1")
    await ana.ask("who", id="2")
    assert (await reader.hear()).message == "ana: hola"
    assert (await ana.answer("1")).ack.queued == 1
    assert (await ana.answer("2")).message == "2 here: ana and bob"
    reader.cancel()
    assert (await ana.hear()).message == "bob left"
    assert [event.message for event in ana.heard if event.kind == pb.EVENT_KIND_JOINED] == ["bob joined"]


async def test_the_same_client_over_three_calls(door: LocalDoor) -> None:
    """What one ``bcast-client`` sends by any call, none of its streams gets back, and every other does."""
    stream, reader = await door.connect(client="c1"), await door.subscribe(client="c1")
    other = await door.connect(client="c2")
    await stream.say("by stream", id="1")
    await stream.answer("1")
    assert (await door.publish("by call", client="c1")).queued == 1
    await other.say("by another")
    assert texts(await other.hear_some(2)) == ["by stream", "by call"]
    assert (await stream.hear()).message == "by another"
    assert (await reader.hear()).message == "by another"


async def test_the_same_client_with_echo(door: LocalDoor) -> None:
    """With ``bcast-echo`` each of a client's streams gets what the client published elsewhere."""
    stream, reader = await door.connect(client="c1"), await door.subscribe(client="c1", echo="1")
    ack = await door.publish("by call", client="c1")
    assert ack.queued == 0
    assert (await reader.hear()).message == "by call"
    await stream.say("by stream")
    assert (await reader.hear()).message == "by stream"


async def test_no_frame_is_larger_than_a_mebibyte(door: LocalDoor) -> None:
    """The server joins events into frames, and none of more than one event exceeds 1 MiB."""
    bob, ana = await door.connect(batch="1"), await door.connect()
    await ana.send(pb.ConnectRequest(batch=[pb.ConnectRequest(data=bytes(60_000)) for _ in range(60)]))
    sizes: list[tuple[int, int]] = []
    while sum(count for count, _ in sizes) < 60:
        frame = await bob.frame()
        sizes.append((len(frame.batch), frame.ByteSize()))
    assert max(size for _, size in sizes) <= MIB
    assert max(count for count, _ in sizes) > 1


async def test_a_larger_message_goes_alone(serve: Serve) -> None:
    """A message that is larger than a frame may be goes in a frame of its own."""
    door = await serve(max_message_bytes=3 * MIB)
    bob, ana = await door.connect(batch="1"), await door.connect(batch="1")
    large = [b"1", bytes(2 * MIB), b"2"]
    for data in large:
        await ana.say(data=data)
    frames = [await bob.frame()]
    while sum(len(frame.batch) for frame in frames) < 3:
        frames.append(await bob.frame())
    assert [event.data for frame in frames for event in frame.batch] == large
    assert all(len(frame.batch) == 1 for frame in frames if frame.ByteSize() > MIB)


async def test_an_order_lives_as_long_as_somebody_is_there(door: LocalDoor) -> None:
    """The epoch and the count go on while a room is in use, whoever comes and goes."""
    ana = await door.connect()
    await ana.say("one", id="1")
    await ana.answer("1")
    bob = await door.connect()
    assert bob.epoch == ana.epoch
    await ana.half_close()
    await ana.end()
    eva = await door.connect()
    await eva.say("two", id="1")
    ack = (await eva.hear()).ack
    assert (ack.seq, ack.epoch) == (2, ana.epoch)
    assert (await bob.hear()).seq == 2


async def test_a_new_order_has_a_new_name(serve: Serve) -> None:
    """When a room's order is dropped, the next one begins at one, under a new epoch."""
    door = await serve(history_messages=0)
    first = await door.publish("one", room="dev")
    again = await door.publish("one", room="dev")
    assert first.seq == again.seq == 1
    assert first.epoch != again.epoch
