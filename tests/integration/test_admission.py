"""A client waits until it is admitted, at every door; meanwhile anything may happen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import pytest

from bcast_grpc.core.admission import Admission
from bcast_grpc.core.hello import Hello
from bcast_grpc.core.hub import Hub
from bcast_grpc.core.identity import Caller
from bcast_grpc.v1 import chat_pb2 as pb

from .conftest import LocalDoor
from .peers import eventually, within


class Entrance:
    """Admits nobody until it is opened.

    Attributes:
        waiting: how many wait.
        entered: how many came in.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waiting = 0
        self.entered = 0
        self._open = asyncio.Event()
        admit, join = Hub.admit, Hub.join

        async def wait(hub: Hub, hello: Hello, caller: Caller | None, *, publishing: bool = False) -> Admission:
            self.waiting += 1
            try:
                await self._open.wait()
            finally:
                self.waiting -= 1
            return await admit(hub, hello, caller, publishing=publishing)

        def enter(*args: Any) -> None:
            self.entered += 1
            join(*args)

        monkeypatch.setattr(Hub, "admit", wait)
        monkeypatch.setattr(Hub, "join", enter)

    def open(self) -> None:
        """Let them in."""
        self._open.set()


@pytest.fixture
def entrance(monkeypatch: pytest.MonkeyPatch) -> Entrance:
    """It is closed."""
    return Entrance(monkeypatch)


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


async def go(client: Any) -> None:
    """Leave without a word."""
    if isinstance(client, tuple):
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
async def test_who_goes_while_it_waits_leaves_nothing(doors: LocalDoor, entrance: Entrance, come: Come) -> None:
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


async def test_what_is_said_while_it_waits_is_carried_out(doors: LocalDoor, entrance: Entrance) -> None:
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


async def test_a_drain_does_not_wait_for_them(doors: LocalDoor, entrance: Entrance) -> None:
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


async def test_a_drain_ends_who_is_never_admitted(doors: LocalDoor, entrance: Entrance) -> None:
    """A broker that does not answer holds up nobody's end."""
    call, socket = await by_grpc(doors), await by_socket(doors)
    await eventually(lambda: entrance.waiting == 2)
    await within(doors.server.drain())
    assert entrance.waiting == 0
    assert "OK" not in str(await within(call.code()))
    assert await within(socket.end()) == []
