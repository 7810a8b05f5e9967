"""Out of file descriptors: newcomers are refused at once, and health and everyone inside go on."""

from __future__ import annotations

import asyncio
import json
import re
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import ConnectionClosed, InvalidMessage

from .conftest import ServerProcess, end_process
from .json_peers import SocketPeer
from .peers import PATIENCE_S, Door, begun, within

LIMIT = 128
CROWD = 160
AT_ONCE = 16
"""So many connect at the same time: whoever has not begun a second later counts as idle, and may be hung up on."""

StartLimited = Callable[..., Awaitable[ServerProcess]]


@pytest.fixture
async def start() -> AsyncIterator[StartLimited]:
    """Start servers that may open few files, with all doors; at the end none is left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))  # for our own side of it
    async with AsyncExitStack() as stack:

        async def start(*arguments: str, limits: str = f"ulimit -S -n {LIMIT}; ulimit -H -n {LIMIT}") -> ServerProcess:
            command = f'{limits}; exec "$0" -m bcast_grpc.server --port 0 --http-port 0 --tcp-port 0 "$@"'
            pipe = asyncio.subprocess.PIPE
            process = await asyncio.create_subprocess_exec(
                "/bin/bash", "-c", command, sys.executable, *arguments, stdout=pipe, stderr=pipe
            )
            stack.push_async_callback(end_process, process)
            assert process.stdout
            lines = [(await begun(process.stdout.readline())).decode().strip() for _ in range(3)]
            server = ServerProcess(process, lines)
            stack.push_async_callback(server.close)
            return server

        yield start
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def port_of(server: ServerProcess, scheme: str) -> int:
    """The port of a door."""
    [line] = [line for line in server.said if f" {scheme}://" in line]
    return int(line.rpartition(":")[2])


async def is_healthy(door: Door) -> bool:
    """Ask over a new connection, as a probe does: one try, answered at once or refused at once."""
    stub: Any = health_pb2_grpc.HealthStub(door.channel())
    try:
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S)
    except grpc.aio.AioRpcError as error:
        if error.code() is not StatusCode.UNAVAILABLE:
            raise
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def soon(is_so: Callable[[], Awaitable[object]]) -> None:
    """Try until it is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not await is_so():  # noqa: ASYNC110  # there is no event to wait for
            await asyncio.sleep(0.02)


async def comes_in(door: Door) -> bool:
    """Try to come in."""
    try:
        metadata = await within(door.open("late").call.initial_metadata())
    except grpc.aio.AioRpcError:
        return False
    return "bcast-session" in dict(metadata or ())


async def is_soon_healthy(door: Door) -> None:
    """Wait for an answer to a new connection: in the rush itself one may be turned away."""
    await soon(lambda: is_healthy(door))


async def test_too_many_at_the_grpc_door(start: StartLimited) -> None:
    """Those who fit are in; the others are refused at once, and in when there is room again."""
    server = await start()
    health: Any = health_pb2_grpc.HealthStub(server.channel())
    watching = health.Watch(health_pb2.HealthCheckRequest())
    assert (await within(watching.read())).status
    publisher = server.channel()
    ana = await server.connect("ana", on=publisher)

    peers = []
    for first in range(0, CROWD, AT_ONCE):
        peers += [server.open(f"n{n}", batch="1") for n in range(first, first + AT_ONCE)]
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(peer.call.initial_metadata() for peer in peers[first:]), return_exceptions=True)
    inside = [peer for peer in peers if not peer.call.done()]
    assert LIMIT // 2 < len(inside) < LIMIT
    for peer in peers:
        if peer not in inside:
            ending = await peer.end()
            assert (ending.code, ending.reason) in {
                (StatusCode.RESOURCE_EXHAUSTED, "SERVER_FULL"),  # a call could be made
                (StatusCode.UNAVAILABLE, ""),  # not even a connection
            }
    await is_soon_healthy(server)
    assert not watching.done()
    await ana.say("hola")
    assert [event.message for event in [await peer.hear() for peer in inside[:3]]] == ["ana: hola"] * 3

    while await comes_in(server):  # one by one, until there is no room again
        assert len(inside) < LIMIT
    late = server.open("late")
    assert (await late.end()).reason == "SERVER_FULL"
    for peer in inside[:20]:
        peer.cancel()
    await soon(lambda: comes_in(server))

    server.signal(signal.SIGTERM)
    code, stderr = await server.exit()
    assert code == 0
    assert "Traceback" not in stderr
    assert re.search(r"WARNING .* max-clients is 20000, .*ulimit -n 20064.*LimitNOFILE=20064", stderr)
    assert 1 <= stderr.count("new clients are refused") <= 3


async def plug(port: int) -> tuple[SocketPeer, bool]:
    """Open a plain socket; return it, and whether it is in."""
    peer = await SocketPeer.connect(port)
    try:
        await peer.send({"operacion": "who", "id": "1"})
        event = await peer.hear()
    except TimeoutError:
        raise
    except (AssertionError, OSError):  # it was hung up on
        return peer, False
    return peer, event["kind"] == "EVENT_KIND_MEMBERS" or event["error"]["code"] != "ERROR_CODE_SERVER_FULL"


@pytest.mark.one_engine
async def test_too_many_at_the_tcp_door(start: StartLimited) -> None:
    """They are refused with a reason, or closed, at once; also those that do not close their connections themselves."""
    server = await start()
    port = port_of(server, "tcp")
    async with asyncio.timeout(2 * PATIENCE_S):
        peers = await asyncio.gather(*(plug(port) for _ in range(CROWD)))
    inside = [peer for peer, is_in in peers if is_in]
    assert LIMIT // 2 < len(inside) < LIMIT
    await is_soon_healthy(server)
    await inside[0].say("hola")
    for peer in inside[1:]:
        assert (await peer.hear())["message"] == "hola"
    for peer in inside[:20]:
        await peer.close()

    async def comes_in_here() -> bool:
        peer, is_in = await plug(port)
        await peer.close()
        return is_in

    await soon(comes_in_here)
    for peer, _ in peers:
        await peer.close()
    server.signal(signal.SIGTERM)
    assert (await server.exit())[0] == 0


@pytest.mark.one_engine
async def test_too_many_at_the_http_door(start: StartLimited) -> None:
    """The same for WebSockets, and ``/healthz`` answers."""
    server = await start()
    port = port_of(server, "http")
    turns = asyncio.Semaphore(AT_ONCE)

    async def browse() -> Any:
        try:
            async with turns:
                socket = await connect_websocket(f"ws://127.0.0.1:{port}/ws?events=welcome", open_timeout=PATIENCE_S)
                event = json.loads(await socket.recv())
        except (OSError, EOFError, InvalidMessage, ConnectionClosed):
            return None
        assert event["kind"] == "EVENT_KIND_WELCOME" or event["error"]["code"] == "ERROR_CODE_SERVER_FULL"
        return socket if event["kind"] == "EVENT_KIND_WELCOME" else None

    async with asyncio.timeout(2 * PATIENCE_S):
        sockets = [socket for socket in await asyncio.gather(*(browse() for _ in range(CROWD))) if socket]
    assert LIMIT // 2 < len(sockets) < LIMIT
    await is_soon_healthy(server)
    await soon(lambda: is_alive(port))
    for socket in sockets:
        socket.transport.abort()
    await soon(browse)
    server.signal(signal.SIGTERM)
    assert (await server.exit())[0] == 0


async def is_alive(port: int) -> bool:
    """Ask over HTTP, over a connection of its own."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /healthz HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n".encode())
        line = await within(reader.readline())
        writer.close()
    except OSError:
        return False
    return line == b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "scheme", ["grpc", *(pytest.param(other, marks=pytest.mark.one_engine) for other in ("http", "tcp"))]
)
async def test_connections_that_carry_no_call(start: StartLimited, scheme: str) -> None:
    """However many there are, a client comes in and health answers, and the loop does not turn for nothing."""
    server = await start()
    idle = []
    for _ in range(CROWD):
        try:
            idle.append(await asyncio.open_connection("127.0.0.1", port_of(server, scheme)))
        except OSError:
            continue
    await is_soon_healthy(server)
    if scheme != "tcp":  # there each is a client
        await soon(lambda: comes_in(server))
    before, began = cpu_s(server), time.monotonic()
    await asyncio.sleep(2)  # nothing happens, and costs nothing
    assert cpu_s(server) - before < 0.5 * (time.monotonic() - began)
    for _, writer in idle:
        writer.transport.abort()
    server.signal(signal.SIGTERM)
    assert (await server.exit())[0] == 0


def cpu_s(server: ServerProcess) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@pytest.mark.one_engine
async def test_the_soft_limit_goes_to_the_hard_one(start: StartLimited) -> None:
    """A limit that may be raised is, and nothing is to be warned of."""
    server = await start("--log-level", "debug", "--max-clients", "1000", limits="ulimit -S -n 100; ulimit -H -n 2048")
    limits = await asyncio.to_thread(Path(f"/proc/{server.process.pid}/limits").read_text)
    [line] = [line for line in limits.splitlines() if line.startswith("Max open files")]
    assert line.split()[3:5] == ["2048", "2048"]
    server.signal(signal.SIGTERM)
    _, stderr = await server.exit()
    assert "the limit of open files is 2048; it was 100" in stderr
    assert "WARNING" not in stderr
