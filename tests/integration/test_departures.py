"""When a named client's stream ends, for whatever cause, the others are told, once."""

from __future__ import annotations

import asyncio
import signal
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bcast_grpc.v1 import chat_pb2 as pb
from tests.client.relay import PREFACE, frame

from .conftest import LocalDoor, Serve
from .peers import Peer, eventually, within
from .wire import Wire

_SETTINGS, _PING, _GOAWAY = 4, 6, 7
LEAVE = pb.ConnectRequest(operacion="leave").SerializeToString()
LoneClient = Callable[..., Awaitable[Process]]


async def cancel(call: Any) -> None:
    """Break the call off."""
    call.cancel()


async def leave(call: Any) -> None:
    """Ask to leave."""
    await call.write(LEAVE)


async def half_close(call: Any) -> None:
    """End the stream of requests."""
    await call.done_writing()


async def talk_nonsense(call: Any) -> None:
    """Send a frame that does not parse."""
    await call.write(b"\xff\xff\xff")


async def talk_too_much(call: Any) -> None:
    """Send a frame that is too large."""
    await call.write(bytes(5_000_000))


WAYS = [cancel, leave, half_close, talk_nonsense, talk_too_much]
KILLED = [signal.SIGKILL, signal.SIGTERM]


async def heard_of(watcher: Peer, door: LocalDoor, clients: int) -> list[str]:
    """Wait until so many clients are left, and return what the watcher has heard of it."""
    await eventually(lambda: door.server.hub.clients == clients)
    await door.publish("that is all")
    return [event.message for event in await watcher.hear_until("that is all")]


@pytest.mark.parametrize("way", WAYS)
async def test_a_named_client_goes(door: LocalDoor, way: Callable[[Any], Awaitable[None]]) -> None:
    """However a named client goes, the others get one LEFT."""
    watcher = await door.connect()
    ana = door.raw(pairs=[("bcast-name", "ana")])
    session = dict(await ana.initial_metadata())["bcast-session"]
    await way(ana)
    left = await watcher.hear()
    assert (left.kind, left.message, left.sender) == (pb.EVENT_KIND_LEFT, "ana left", "ana")
    assert (left.session, left.seq) == (session, 0)
    assert left.time.seconds > 0
    assert await heard_of(watcher, door, 1) == []


@pytest.mark.parametrize("way", WAYS)
async def test_a_nameless_client_goes(door: LocalDoor, way: Callable[[Any], Awaitable[None]]) -> None:
    """However the stream of a client without a name ends, nothing is announced."""
    watcher = await door.connect(events="all")
    nobody = door.raw()
    await nobody.initial_metadata()
    await way(nobody)
    assert await heard_of(watcher, door, 1) == ["welcome to lobby: 1 here"]


async def test_a_reader_goes(door: LocalDoor) -> None:
    """The departure of a named reader that breaks off is announced, too."""
    watcher, reader = await door.connect(), await door.subscribe("ana")
    reader.cancel()
    assert await heard_of(watcher, door, 1) == ["ana left"]


async def test_only_its_room_is_told(door: LocalDoor) -> None:
    """A departure is announced in the client's room, to those who ask for such notices."""
    lobby, dev, indifferent = await door.connect(), await door.connect(room="dev"), await door.connect(events="none")
    ana = await door.connect("ana")
    ana.cancel()
    assert await heard_of(lobby, door, 3) == ["ana left"]
    await indifferent.hear_until("that is all")
    assert [event.kind for event in indifferent.heard] == [pb.EVENT_KIND_MESSAGE]
    await door.publish("hola", room="dev")
    assert (await dev.hear()).message == "hola"


@pytest.mark.parametrize("number", KILLED)
async def test_a_client_process_is_killed(door: LocalDoor, lone_client: LoneClient, number: signal.Signals) -> None:
    """When a client's process is killed, the others get one LEFT; none if it had no name."""
    watcher = await door.connect()
    named, nameless = await lone_client(door.address, "ana"), await lone_client(door.address)
    assert door.server.hub.clients == 3
    named.send_signal(number)
    nameless.send_signal(number)
    assert await heard_of(watcher, door, 1) == ["ana left"]


async def test_killed_while_messages_flow(door: LocalDoor, lone_client: LoneClient) -> None:
    """A client killed in the middle of it all costs nobody a message."""
    ana, bob = await door.connect(batch="1"), await door.connect(batch="1")
    lone = await lone_client(door.address, "lone")
    for n in range(100):
        await ana.send(pb.ConnectRequest(batch=[pb.ConnectRequest(msg="hola", data=bytes(1000)) for _ in range(20)]))
        if n == 50:
            lone.kill()
    assert (await ana.hear()).message == "lone left"
    events = [await bob.hear() for _ in range(2001)]
    assert [event.seq for event in events if event.kind == pb.EVENT_KIND_MESSAGE] == list(range(1, 2001))
    assert [event.message for event in events if event.kind != pb.EVENT_KIND_MESSAGE] == ["lone left"]


async def test_a_connection_is_reset(door: LocalDoor, wire: Wire) -> None:
    """When a connection is reset, the departure of each named client on it is announced once."""
    watcher = await door.connect()
    await wire.lay(door.address)
    channel = door.channel(wire.address)
    for name in ("ana", "", "bob"):
        await door.connect(name, on=channel)
    wire.reset()
    assert sorted(await heard_of(watcher, door, 1)) == ["ana left", "bob left"]


async def test_a_connection_goes_mad(door: LocalDoor, wire: Wire) -> None:
    """When a client's connection suddenly carries garbage, the others get its ``LEFT``."""
    watcher = await door.connect()
    await wire.lay(door.address)
    await door.connect("ana", on=door.channel(wire.address))
    wire.interject(b"\xff" * 4096)
    assert await heard_of(watcher, door, 1) == ["ana left"]


async def test_who_speaks_another_protocol(door: LocalDoor) -> None:
    """Who connects and speaks anything but gRPC is turned away, and nobody notices."""
    ana, bob = await door.connect(), await door.connect(events="all")
    host, _, port = door.address.rpartition(":")
    for noise in (b"GET / HTTP/1.1\r\nHost: bcast\r\n\r\n", b"\0" * 4096):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(noise)
        await within(reader.read())
        writer.close()
    await ana.say("hola")
    assert [event.message for event in await bob.hear_until("hola")] == ["welcome to lobby: 2 here"]


async def test_a_client_freezes(serve: Serve, lone_client: LoneClient) -> None:
    """A client that freezes is disconnected, as ``keepalive-s`` says, and the others get one ``LEFT``."""
    door = await serve(keepalive_s=1)
    watcher = await door.connect()
    frozen = await lone_client(door.address, "ana")
    frozen.send_signal(signal.SIGSTOP)
    assert (await watcher.hear()).message == "ana left"
    assert await heard_of(watcher, door, 1) == []


async def test_a_frozen_client_holds_nobody_up(door: LocalDoor, lone_client: LoneClient) -> None:
    """While a client is frozen, the others get everything, in order; when it wakes in time, it is still there."""
    ana, bob = await door.connect("ana"), await door.connect("bob")
    frozen = await lone_client(door.address, "eva")
    frozen.send_signal(signal.SIGSTOP)
    for n in range(300):
        await ana.say(data=bytes(10_000), id=f"{n}")
        assert (await ana.answer(f"{n}")).ack.queued == 2
        assert (await bob.hear()).seq == n + 1
    frozen.send_signal(signal.SIGCONT)
    await ana.ask("who", id="who")
    assert (await ana.answer("who")).message == "3 here: ana, bob and eva"
    frozen.kill()
    assert await heard_of(bob, door, 2) == ["eva left"]


async def test_who_pings_is_not_cut_off(door: LocalDoor) -> None:
    """An idle client may make sure that the server is alive, once a second: it is answered, and not disconnected."""
    host, _, port = door.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(PREFACE + frame(_SETTINGS, 0, 0))
    for n in range(5):  # gRPC's own default would end the connection after the fourth
        await asyncio.sleep(1.05 if 0 < n < 4 else 0)  # as often as is promised, and not more
        payload = n.to_bytes(8, "big")
        writer.write(frame(_PING, 0, 0, payload))
        while (received := await within(read_http2_frame(reader))) != (_PING, payload):
            assert received[0] != _GOAWAY, received
    writer.close()


async def read_http2_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read a frame; return its kind and its payload."""
    header = await reader.readexactly(9)
    return header[3], await reader.readexactly(int.from_bytes(header[:3], "big"))


async def test_leaving_in_two_ways_at_once(door: LocalDoor) -> None:
    """A client that leaves and breaks off in the same moment is announced once as ``LEFT``, and the room goes on."""
    watcher = await door.connect()
    channel = door.channel()
    for n in range(50):
        ana = await door.connect(f"{n}", on=channel)
        await (ana.ask("leave") if n % 2 else ana.half_close())
        if n % 3:
            await asyncio.sleep(0)
        ana.cancel()
    assert sorted(await heard_of(watcher, door, 1)) == sorted(f"{n} left" for n in range(50))
