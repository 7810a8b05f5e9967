"""Clients on slow lines, and behind dead ones: who is there stays, who is not is found."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from websockets.asyncio.client import connect as connect_websocket

from bcast_grpc.v1 import chat_pb2_grpc
from tests.engine import engine
from tests.forked import Forked
from tests.network import Line

from .conftest import end_process
from .json_peers import JsonPeer, SocketPeer, WebSocketPeer
from .peers import PATIENCE_S, SCALE, Peer, begun

KEEPALIVE_S = (5 if engine() == "grpcio" else 2.5) * SCALE
"""grpcio pings who has sent nothing for 0.4 of it, wherever its answer has to wait: a busy machine takes a second."""

RATE = 20_000
TEXT = "x" * 950
MESSAGES = round(2.5 * KEEPALIVE_S * RATE / len(TEXT))
SLOW = 8000
LARGE = "y" * round(1.9 * KEEPALIVE_S * SLOW)
LARGE_MESSAGES = 3
BROWSE, PLUG = (pytest.param(way, marks=pytest.mark.one_engine) for way in ("browse", "plug"))


class Far:
    """A server at the far end of a line, and a client beside it."""

    def __init__(self, cable: Line, ports: dict[str, int], neighbour: SocketPeer) -> None:
        self.cable = cable
        self.ports = ports
        self.neighbour = neighbour
        self.channels: list[grpc.aio.Channel] = []
        self.others: list[WebSocketPeer | SocketPeer] = []

    async def talk(self, count: int = MESSAGES, text: str = TEXT) -> None:
        """Have the neighbour say so much."""
        await self.neighbour.send(*({"msg": f"{n} {text}"} for n in range(count)))
        await self.neighbour.send({"operacion": "who", "id": "said"})
        while (await self.neighbour.hear()).get("id") != "said":
            pass

    async def connect(self, history: int, window: int = 0) -> Peer:
        """Come through gRPC; with a window of so many bytes instead of one that gRPC chooses."""
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
        if window:
            options += [("grpc.http2.lookahead_bytes", window), ("grpc.http2.bdp_probe", 0)]
        self.channels.append(grpc.aio.insecure_channel(f"{self.cable.server_host}:{self.ports['grpc']}", options))
        stub = chat_pb2_grpc.ChatStub(self.channels[-1])  # type: ignore[no-untyped-call]
        pairs = (("bcast-name", "far"), ("bcast-history", f"{history}"), ("bcast-batch", "1"))
        peer = Peer(stub.Connect(metadata=pairs))
        peer.metadata = dict(await peer.call.initial_metadata())
        return peer

    async def browse(self, history: int) -> WebSocketPeer:
        """Come through a WebSocket that does not ping."""
        host, port = self.cable.server_host, self.ports["http"]
        url = f"ws://{host}:{port}/ws?name=far&batch=1&history={history}"
        socket = await connect_websocket(url, compression=None, max_size=None, ping_interval=None, proxy=None)
        peer = WebSocketPeer(socket)
        self.others.append(peer)
        return peer

    async def plug(self) -> SocketPeer:
        """Come through a plain socket, and wait until the neighbour has heard of it."""
        peer = SocketPeer(*await asyncio.open_connection(self.cable.server_host, self.ports["tcp"], limit=2**16))
        self.others.append(peer)
        await peer.send({"operacion": "join", "msg": "far", "id": "in"})
        assert (await peer.hear())["id"] == "in"
        return peer

    async def nobody_left(self) -> None:
        """Check that the neighbour has heard of no departure."""
        await self.neighbour.send({"operacion": "who", "id": "now"})
        while (event := await self.neighbour.hear()).get("id") != "now":
            assert event["kind"] != "EVENT_KIND_LEFT"

    async def left(self) -> None:
        """Wait until the neighbour hears that the client is gone: after twice the keepalive at the latest."""
        async with asyncio.timeout(2 * KEEPALIVE_S + PATIENCE_S):
            while not (self.neighbour.heard and self.neighbour.heard[-1]["message"] == "far left"):
                await self.neighbour.hear()


@pytest.fixture
async def far(cable: Line) -> AsyncIterator[Far]:
    """A server at the far end of a line. It is a process, as gRPC's threads would stay in the namespace."""
    host = cable.server_host
    doors = (f"--{door}port=0" for door in ("", "http-", "tcp-"))
    settings = (f"--host={host}", "--open", *doors, f"--keepalive-s={KEEPALIVE_S}")
    server = await Forked.run("bcast_grpc.server", *settings, first=cable.enter)
    try:
        ports = await listening(server)
        with cable.inside():
            beside = socket.create_connection((host, ports["tcp"]))
        made = Far(cable, ports, SocketPeer(*await asyncio.open_connection(sock=beside, limit=2**26)))
        yield made
        for channel in made.channels:
            await channel.close()
        for peer in (*made.others, made.neighbour):
            await peer.close()
    finally:
        await end_process(server)


async def listening(server: Forked) -> dict[str, int]:
    """Wait until a server listens, and return the port of each of its three doors."""
    ports: dict[str, int] = {}
    while len(ports) < 3:
        url = urlsplit((await begun(server.stdout.readline())).decode().split()[-1])
        ports[url.scheme] = url.port or 0
    return ports


async def texts(peer: Peer | JsonPeer, count: int = MESSAGES) -> list[str]:
    """The first of what was said, as it comes, however long that takes."""
    heard: list[str] = []
    while len(heard) < count:
        if isinstance(peer, Peer):
            frame = await peer.call.read()
            heard += [event.message for event in frame.batch or [frame]]
        else:
            frame = await read(peer)
            heard += [event["message"] for event in (frame if isinstance(frame, list) else [frame])]
    return [text.split(" ")[0] for text in heard[:count]]  # the last frame may hold more


async def read(peer: JsonPeer) -> Any:
    """Read a frame without a time limit."""
    if isinstance(peer, WebSocketPeer):
        return json.loads(await peer.socket.recv())
    assert isinstance(peer, SocketPeer)
    return json.loads(await peer.reader.readline())


@pytest.mark.timeout(200)
@pytest.mark.parametrize("way", ["connect", BROWSE])
async def test_a_replay_on_a_slow_line_comes_to_its_end(far: Far, way: str) -> None:
    """It takes more than twice the keepalive; nobody is cut, nobody left."""
    await far.talk()
    far.cable.set_rate(RATE)
    peer: Peer | JsonPeer = await getattr(far, way)(MESSAGES)
    assert await texts(peer) == [f"{n}" for n in range(MESSAGES)]
    await far.nobody_left()


@pytest.mark.timeout(200)
async def test_a_replay_into_a_large_window_comes_to_its_end(far: Far) -> None:
    """All of it could be under way at once, and take longer than a ping may."""
    await far.talk()
    far.cable.set_rate(RATE)
    peer = await far.connect(MESSAGES, window=2**20)
    assert await texts(peer) == [f"{n}" for n in range(MESSAGES)]
    await far.nobody_left()


@pytest.mark.one_engine
@pytest.mark.timeout(200)
async def test_a_socket_on_a_slow_line_hears_everything(far: Far) -> None:
    """At the plain door too."""
    peer = await far.plug()
    far.cable.set_rate(RATE)
    await far.talk()
    assert await texts(peer) == [f"{n}" for n in range(MESSAGES)]
    await far.nobody_left()


@pytest.mark.timeout(200)
@pytest.mark.parametrize("way", [BROWSE, PLUG])
async def test_who_stops_reading_for_a_while_is_not_cut(far: Far, way: str) -> None:
    """``nc | less``: its system answers for it, and its queue is not full."""
    peer = await (far.browse(0) if way == "browse" else far.plug())
    transport: Any = peer.socket.transport if isinstance(peer, WebSocketPeer) else peer.writer.transport
    transport.pause_reading()
    for _ in range(10):
        await far.talk(MESSAGES)
    await asyncio.sleep(3 * KEEPALIVE_S)  # the time is the matter here
    await far.nobody_left()
    transport.resume_reading()
    assert await texts(peer) == [f"{n}" for n in range(MESSAGES)]


@pytest.mark.parametrize("state", ["idle", "under way"])
@pytest.mark.parametrize("way", ["connect", BROWSE, PLUG])
async def test_a_dead_line_is_found(far: Far, way: str, state: str) -> None:
    """Whether anything is under way or not: the others hear that the client has left."""
    await (far.plug() if way == "plug" else getattr(far, way)(0))
    if state == "under way":
        far.cable.set_rate(RATE)
        await far.talk()
    far.cable.cut()
    await far.left()


@pytest.mark.one_engine
async def test_a_dead_line_is_found_behind_a_full_window(far: Far) -> None:
    """A reader that has stopped, and then is gone."""
    peer = await far.plug()
    transport: Any = peer.writer.transport
    transport.pause_reading()
    for _ in range(10):
        await far.talk(MESSAGES)
    await asyncio.sleep(KEEPALIVE_S)  # the server must keep it for so long
    await far.nobody_left()
    far.cable.cut()
    await far.left()


# --- messages that take as long as a ping may


@pytest.mark.one_engine
@pytest.mark.timeout(200)
async def test_a_replay_of_large_messages_comes_to_its_end(far: Far) -> None:
    """Each takes nearly twice the keepalive."""
    await far.talk(LARGE_MESSAGES, LARGE)
    far.cable.set_rate(SLOW)
    peer = await far.browse(LARGE_MESSAGES)
    assert await texts(peer, LARGE_MESSAGES) == [f"{n}" for n in range(LARGE_MESSAGES)]
    await far.nobody_left()


@pytest.mark.one_engine
@pytest.mark.timeout(200)
async def test_a_socket_hears_large_messages(far: Far) -> None:
    """At the plain door too."""
    peer = await far.plug()
    far.cable.set_rate(SLOW)
    await far.talk(LARGE_MESSAGES, LARGE)
    assert await texts(peer, LARGE_MESSAGES) == [f"{n}" for n in range(LARGE_MESSAGES)]
    await far.nobody_left()


# --- last words


@pytest.mark.timeout(200)
@pytest.mark.parametrize("way", [BROWSE, PLUG])
async def test_last_words_come_on_a_slow_line(far: Far, way: str) -> None:
    """Who leaves gets what is queued for it, though that takes longer than it may take nothing."""
    peer: Any = await (far.plug() if way == "plug" else getattr(far, way)(0))
    far.cable.set_rate(SLOW)
    await far.talk(LARGE_MESSAGES, LARGE)
    if way == "browse":
        await peer.send({"operacion": "leave"})
    else:
        peer.writer.write_eof()
    assert await texts(peer, LARGE_MESSAGES) == [f"{n}" for n in range(LARGE_MESSAGES)]
    if way == "browse":
        await peer.socket.wait_closed()
        assert peer.socket.close_code == 1000
    else:
        assert await peer.reader.read() == b""
