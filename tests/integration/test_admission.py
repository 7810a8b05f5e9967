"""A client waits until it is admitted, at every door; meanwhile anything may happen."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias

import pytest

from bcast_grpc.core.admission import Admission
from bcast_grpc.core.entrance import Entrance, settled
from bcast_grpc.core.hub import Hub
from bcast_grpc.transport.turns import Turns
from bcast_grpc.v1 import chat_pb2 as pb
from benchmarks.attacker import CONNECT, PUBLISH, Attacker, block, data, message, request

from .conftest import LocalDoor
from .peers import eventually, within


class ClosedEntrance:
    """Admits nobody until it is opened.

    Attributes:
        waiting: how many wait.
        entered: how many came in.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waiting = 0
        self.entered = 0
        self._open = asyncio.Event()
        begin, join = Entrance.begin, Hub.join

        async def wait(*args: Any, **options: Any) -> Admission:
            self.waiting += 1
            try:
                await self._open.wait()
            finally:
                self.waiting -= 1
            return await settled(begin(*args, **options))

        def enter(*args: Any) -> None:
            self.entered += 1
            join(*args)

        monkeypatch.setattr(Entrance, "begin", lambda *args, **options: partial(wait, *args, **options))
        monkeypatch.setattr(Hub, "join", enter)

    def open(self) -> None:
        """Let them in."""
        self._open.set()


@pytest.fixture
def entrance(monkeypatch: pytest.MonkeyPatch) -> ClosedEntrance:
    """It is closed."""
    return ClosedEntrance(monkeypatch)


Come: TypeAlias = Callable[[LocalDoor], Awaitable[Any]]


async def by_grpc(doors: LocalDoor) -> Any:
    """Call ``Connect``, say something, and do not wait."""
    call = doors.stub().Connect()
    await call.write(pb.ConnectRequest(msg="hola"))
    return call


async def by_socket(doors: LocalDoor) -> Any:
    """Open a plain socket, and say something."""
    peer = await doors.plug()
    await peer.send({"msg": "hola"})
    return peer


async def by_websocket(doors: LocalDoor) -> Any:
    """Ask for a WebSocket."""
    reader, writer = await asyncio.open_connection("127.0.0.1", doors.server.http_port)
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    return reader, writer


async def by_many_calls(doors: LocalDoor) -> Any:
    """Make many calls with one write."""
    attacker = await Attacker.connect(doors.address)
    await attacker.send(b"".join(request(number) for number in range(1, 17, 2)))
    return attacker


async def go(client: Any) -> None:
    """Leave without a word."""
    if isinstance(client, Attacker):
        client.close()
    elif isinstance(client, tuple):
        client[1].transport.abort()
    elif hasattr(client, "writer"):
        client.writer.transport.abort()
    else:
        client.cancel()


async def round_trip(doors: LocalDoor) -> None:
    """Ask the server something and wait for the answer: by then it has seen what happened to it before."""
    reader, writer = await asyncio.open_connection("127.0.0.1", doors.server.http_port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert (await within(reader.read())).startswith(b"HTTP/1.1 200")
    writer.close()


@pytest.mark.parametrize("come", [by_grpc, by_socket, by_websocket])
async def test_who_goes_while_it_waits_leaves_nothing(doors: LocalDoor, entrance: ClosedEntrance, come: Come) -> None:
    """No client, no room, no task, and no notice. It does not even come in: it could replace its own next stream."""
    client = await come(doors)
    await eventually(lambda: entrance.waiting == 1)
    assert doors.server.hub.clients == 0
    await go(client)
    await round_trip(doors)
    if come is by_grpc:  # the library grpcio hears of it in a thread of its own
        await eventually(lambda: not entrance.waiting)
    entrance.open()
    await eventually(lambda: not entrance.waiting and not doors.server.hub.clients and not doors.server.hub.rooms)
    if come is not by_socket:  # where one that sends no more may still read
        assert entrance.entered == 0


async def test_what_is_said_while_it_waits_is_carried_out(doors: LocalDoor, entrance: ClosedEntrance) -> None:
    """At the doors where something can be said before the answer."""
    calls = [await by_grpc(doors), await by_socket(doors)]
    await eventually(lambda: entrance.waiting == 2)
    listener = asyncio.ensure_future(doors.connect())
    await eventually(lambda: entrance.waiting == 3)
    entrance.open()
    await listener
    await eventually(lambda: doors.server.hub.clients == 3)
    await doors.publish("the end")
    for client in calls:
        await go(client)


async def test_a_drain_does_not_wait_for_them(doors: LocalDoor, entrance: ClosedEntrance) -> None:
    """They are refused, or their connections end."""
    call, socket = await by_grpc(doors), await by_socket(doors)
    reader, writer = await by_websocket(doors)
    await eventually(lambda: entrance.waiting == 3)
    draining = asyncio.create_task(doors.server.drain())
    await eventually(lambda: bool(doors.server.hub.closed))
    entrance.open()
    await within(draining)
    assert "UNAVAILABLE" in str(await within(call.code()))
    (event,) = await within(socket.end())
    assert event["error"]["code"] == "ERROR_CODE_SHUTTING_DOWN"
    answer = await within(reader.read())
    assert b"SHUTTING_DOWN" in answer
    writer.close()
    assert (doors.server.hub.clients, list(doors.server.hub.rooms)) == (0, [])


async def test_a_drain_ends_who_is_never_admitted(doors: LocalDoor, entrance: ClosedEntrance) -> None:
    """A broker that does not answer holds up nobody's end."""
    call, socket = await by_grpc(doors), await by_socket(doors)
    await eventually(lambda: entrance.waiting == 2)
    await within(doors.server.drain())
    assert entrance.waiting == 0
    assert "OK" not in str(await within(call.code()))
    assert await within(socket.end()) == []


@pytest.mark.parametrize("come", [by_grpc, by_many_calls, by_socket, by_websocket])
async def test_those_who_ask_at_once_take_turns(doors: LocalDoor, monkeypatch: pytest.MonkeyPatch, come: Come) -> None:
    """Where an admission takes long, each pass of the loop makes one, and others have their turns in between."""
    turns = doors.server._scheduler.turns
    begin, passes, now = Entrance.begin, list[int](), 0

    def slow(*args: Any, **options: Any) -> Any:
        passes.append(now)
        turns.worked(1.0)
        return begin(*args, **options)

    async def count() -> None:
        nonlocal now
        while True:
            await asyncio.sleep(0)
            now += 1

    monkeypatch.setattr(Entrance, "begin", slow)
    counting = asyncio.create_task(count())
    clients = await asyncio.gather(*(come(doors) for _ in range(8)))
    await eventually(lambda: doors.server.hub.clients >= 8)
    counting.cancel()
    assert max(Counter(passes).values()) <= 2  # whose turn it is, and one who asks just then
    for client in clients:
        await go(client)


async def by_publish(doors: LocalDoor) -> Any:
    """Publish a message, and do not wait."""
    return asyncio.ensure_future(doors.publish("hola"))


@pytest.mark.parametrize("path", [CONNECT, PUBLISH])
@pytest.mark.parametrize("come", [by_grpc, by_publish, by_socket, by_websocket])
async def test_whoever_asks_for_much_waits_behind_itself(
    doors: LocalDoor, monkeypatch: pytest.MonkeyPatch, come: Come, path: str
) -> None:
    """Hundreds ask to come in on one connection, or with messages; another address is let in next."""
    waiting, asked = list[str](), list[str]()
    turns, soon, begin = doors.server._scheduler.turns, Turns.soon, Entrance.begin

    def wait(self: Turns, peer: str, work: Any) -> None:
        waiting.append(peer)
        soon(self, peer, work)

    def note(self: Entrance, hello: Any, caller: Any, **options: Any) -> Any:
        asked.append(caller.peer)
        return begin(self, hello, caller, **options)

    monkeypatch.setattr(Turns, "soon", wait)
    monkeypatch.setattr(Entrance, "begin", note)
    with monkeypatch.context() as held:
        held.setattr(Turns, "_work", lambda _: None)
        turns.soon("", lambda: None)  # who comes first has to wait, too
        attacker = await Attacker.connect(doors.address, local_addr=("127.0.0.2", 0))
        calls = (request(number, block(path)) + data(number, message(b""), 1) for number in range(1, 600, 2))
        await attacker.send(b"".join(calls))
        await eventually(lambda: len(waiting) == 301)
        client = await come(doors)
        await eventually(lambda: len(waiting) == 302)
    turns._work()
    await eventually(lambda: len(asked) == 301)
    assert [("127.0.0.1" in peer) for peer in asked[:3]].count(True) == 1
    attacker.close()
    await go(client)


async def test_renewals_take_turns_too(doors: LocalDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verifying a token takes as long as it does for newcomers, and all of a server's may expire at once."""
    waiting, do = list[str](), Turns.do

    async def note(self: Turns, peer: str, work: Any) -> Any:
        waiting.append(peer)
        return await do(self, peer, work)

    ana, bob = await doors.plug(), await doors.connect("bob")
    monkeypatch.setattr(Turns, "do", note)
    await ana.send({"operacion": "auth", "msg": "a.b.c", "id": "1"})
    await bob.send(pb.ConnectRequest(operacion="auth", msg="a.b.c", id="1"))
    await ana.hear()
    await bob.hear()
    assert len(waiting) == 2
    assert all("127.0.0.1:" in peer for peer in waiting)
