"""The end of a server: a drain on a signal, as its clients and its health see it."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bcast_grpc.v1 import chat_pb2 as pb
from tests.ports import free_port

from .conftest import LocalDoor, Serve, ServerProcess, Spawn
from .endings import check_closing, stop_reading
from .peers import SCALE, Door, within

SERVICE = "bcast_grpc.v1.Chat"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def health(door: Door) -> Any:
    """The stub of the health service."""
    return health_pb2_grpc.HealthStub(door.channel())


async def watch(door: Door, service: str) -> AsyncIterator[int]:
    """Watch a service's health."""
    call = health(door).Watch(health_pb2.HealthCheckRequest(service=service))
    while True:
        yield (await within(call.read())).status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_drain(server: ServerProcess, number: signal.Signals) -> None:
    """On a signal every client gets what is queued for it, then CLOSING, then UNAVAILABLE; the exit code is 0."""
    ana, bob, reader = await server.connect("ana"), await server.connect("bob", batch="1"), await server.subscribe()
    await ana.send(pb.ConnectRequest(batch=[pb.ConnectRequest(msg=f"{n}", id=f"{n}") for n in range(2000)]))
    await ana.answer("1999")
    server.signal(number)
    endings = await asyncio.gather(ana.end(), bob.end(), reader.end())
    for ending in endings:
        check_closing(ending)
    for ending in endings[1:]:
        messages = [event.message for event in ending.before if event.kind == pb.EVENT_KIND_MESSAGE]
        assert messages == [f"ana: {n}" for n in range(2000)]
    code, stderr = await server.exit()
    assert code == 0
    assert "Traceback" not in stderr
    assert server.said == [f"listening on grpc://{server.address}"]


async def test_drain_with_nobody_there(spawn: Spawn) -> None:
    """A server without clients ends at once, however long it would wait for them."""
    server = await spawn("--drain-s", "600")
    server.signal(signal.SIGTERM)
    code, stderr = await server.exit()
    assert code == 0
    assert "Traceback" not in stderr


async def test_not_all_come_back_at_once(server: ServerProcess) -> None:
    """Each client is given its own time to come back."""
    peers = [await server.connect() for _ in range(10)]
    server.signal(signal.SIGTERM)
    endings = [await peer.end() for peer in peers]
    times = {ending.before[-1].closing.reconnect_after.ToNanoseconds() for ending in endings}
    assert len(times) > 5


async def test_what_a_drain_looks_like_from_outside(spawn: Spawn) -> None:
    """While a server drains it is NOT_SERVING, lets nobody in, and waits for slow clients, but not for ever."""
    drain_s = 4 * SCALE  # until then new clients must have been refused, however busy the machine is
    server = await spawn("--drain-s", f"{drain_s}", "--queue-bytes", "67108864")
    states = [watch(server, service) for service in ("", SERVICE)]
    assert [await anext(state) for state in states] == [SERVING, SERVING]
    slow, other = await stop_reading(server), await server.connect()
    began = asyncio.get_running_loop().time()
    server.signal(signal.SIGTERM)
    assert [await anext(state) for state in states] == [NOT_SERVING, NOT_SERVING]
    check_closing(await other.end())
    for ending in (await server.open().end(), await server.publish_in_vain("hola")):
        assert (ending.code, ending.reason) == (StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
    code, stderr = await server.exit()
    took_s = asyncio.get_running_loop().time() - began
    assert code == 0
    assert took_s >= drain_s
    assert "Traceback" not in stderr
    assert (await slow.end()).code == StatusCode.UNAVAILABLE


async def test_a_slow_client_may_take_its_time(spawn: Spawn) -> None:
    """A client that begins to read during the drain gets all that is queued for it."""
    server = await spawn("--queue-bytes", "67108864")
    slow, other = await stop_reading(server), await server.connect()
    server.signal(signal.SIGTERM)
    check_closing(await other.end())
    ending = await slow.end()
    check_closing(ending)
    assert [event.seq for event in ending.before if event.kind == pb.EVENT_KIND_MESSAGE] == list(range(1, 489))
    assert (await server.exit())[0] == 0


async def test_a_server_in_an_application_drains(serve: Serve) -> None:
    """``drain`` ends the calls of an embedded server in the same way, and frees its port."""
    port = free_port()
    door = await serve(port=port)
    ana, bob = await door.connect("ana"), await door.connect()
    await ana.say("hola", id="1")
    await ana.answer("1")
    await within(door.server.drain())
    check_closing(await ana.end())
    ending = await bob.end()
    check_closing(ending)
    assert ending.before[0].message == "ana: hola"
    with socket.create_server(("127.0.0.1", port)):
        pass


class Held:
    """A line to a server on which the server's bytes are held back, until they are let through.

    Attributes:
        held: set once there are some.
        let: set to let them through.
    """

    def __init__(self, server: str) -> None:
        self.held = asyncio.Event()
        self.let = asyncio.Event()
        self._server = server

    async def pass_on(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """Be one connection."""
        host, _, port = self._server.rpartition(":")
        with suppress(OSError):
            far, on = await asyncio.open_connection(host, int(port))
            await asyncio.gather(self._pump(near, on), self._pump(far, back, self.held))
            on.close()
        back.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, held: asyncio.Event | None = None
    ) -> None:
        with suppress(OSError, RuntimeError):  # uvloop's, of a closed transport
            while some := await reader.read(65536):
                if held:
                    held.set()
                    await self.let.wait()
                writer.write(some)
            writer.write_eof()


@pytest.mark.one_engine  # gRPC's own server sends its GOAWAY to everybody
@pytest.mark.parametrize("is_over", [False, True])
async def test_a_drain_while_a_client_connects(door: LocalDoor, *, is_over: bool) -> None:
    """It finds no GOAWAY behind the server's first bytes: gRPC's own client would then fill its memory."""
    held = Held(door.address)
    async with await asyncio.start_server(held.pass_on, "127.0.0.1", 0) as line:
        ana = Door("{}:{}".format(*line.sockets[0].getsockname()))
        ana.credentials = door.credentials
        peer = ana.open("ana", room="lobby")
        await within(held.held.wait())
        await within(door.server.drain() if is_over else door.server.doors[0].drain())
        held.let.set()
        if is_over:
            assert (await peer.end()).code == StatusCode.UNAVAILABLE
        else:
            await peer.arrive()
            await within(door.server.drain())
            check_closing(await peer.end())
        await ana.close()
