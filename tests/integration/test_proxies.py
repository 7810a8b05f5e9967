"""nginx and HAProxy before the server: what is quiet, a drain and a restart behind them; clients keep their address."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError
from websockets.asyncio.client import connect as connect_websocket

import bcast_grpc
from bcast_grpc import Chat, Kind
from tests.client.relay import PREFACE, frame, headers
from tests.engine import engine
from tests.ports import free_port

from .conftest import Serve, Spawn
from .peers import Door, eventually, within

TIMEOUT_S = 2
"""After how long without a byte a proxy gives up."""

QUIET_S = 2.5 * TIMEOUT_S

_SETTINGS = 4

NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    keepalive_timeout {timeout_s}s; send_timeout {timeout_s}s;
    server {{
        listen 127.0.0.1:{port} http2;
        client_max_body_size 0;
        location / {{
            grpc_pass grpc://{target};
            grpc_connect_timeout {timeout_s}s; grpc_read_timeout {timeout_s}s; grpc_send_timeout {timeout_s}s;
        }}
    }}
}}
"""

HAPROXY = """
defaults
    mode http
    timeout connect {timeout_s}s
    timeout client {timeout_s}s
    timeout server {timeout_s}s
listen chat
    bind 127.0.0.1:{port} proto h2
    server behind {target} proto h2
"""


@dataclass(frozen=True)
class Proxy:
    """A kind of proxy.

    Attributes:
        program: what runs it.
        template: of its configuration.
        options: the command's, before the name of its configuration.
        quiet_settings: what the server is started with, so that nobody is quiet for too long.
        events: what clients ask for, for the same reason.
    """

    program: str
    template: str
    options: tuple[str, ...]
    quiet_settings: tuple[str, ...]
    events: str


GRPC_OVER_HTTP = """
listen headers
    mode http
    bind :50061 proto h2
    option forwardfor
    server chat 127.0.0.1:50052 proto h2
"""
"""Beside what the page says: HAProxy appends the client's address to what the client says itself."""

PAGE = Path(__file__).parent.parent.parent / "docs" / "security.md"
FOUND = re.search(r"```haproxy\n(.*?)```", PAGE.read_text(), re.DOTALL)

PROXIES = [
    Proxy("nginx", NGINX, ("-c",), (f"--keepalive-s={TIMEOUT_S / 5}",), "left"),
    Proxy("haproxy", HAPROXY, ("-db", "-f"), (f"--progress-s={TIMEOUT_S / 5}",), "left,progress"),
]

PASSING = (StatusCode.UNAVAILABLE, StatusCode.CANCELLED, StatusCode.INTERNAL)
"""What a drain's status comes to: proxies reset a call that ends before its client's side does, whatever serves it."""

Lay = Callable[[str], Awaitable[str]]


@pytest.fixture(params=PROXIES, ids=lambda proxy: proxy.program)
def proxy(request: pytest.FixtureRequest) -> Proxy:
    """Each of them."""
    kind: Proxy = request.param
    _check_installed(kind)
    return kind


@pytest.fixture
async def lay(proxy: Proxy, tmp_path: Path) -> AsyncIterator[Lay]:
    """Put it before a server; returns its address."""
    async with AsyncExitStack() as stack:

        async def start(target: str) -> str:
            port = free_port()
            text = proxy.template.format(folder=tmp_path, port=port, target=target, timeout_s=TIMEOUT_S)
            await stack.enter_async_context(_running(proxy, text, [port], tmp_path))
            return f"127.0.0.1:{port}"

        yield start


@asynccontextmanager
async def _running(proxy: Proxy, configuration: str, ports: Sequence[int], folder: Path) -> AsyncIterator[None]:
    """Run a proxy, from when it listens on the ports."""
    file = folder / "proxy.conf"
    file.write_text(configuration)
    command = (_find(proxy.program), *proxy.options, str(file))
    process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE)
    try:
        await eventually(lambda: process.returncode is not None or all(map(_listens, ports)))
        yield
    finally:
        process.terminate()
        await within(process.communicate())


def _check_installed(proxy: Proxy) -> None:
    if not _find(proxy.program):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{proxy.program} is not installed")


def _find(program: str) -> str:
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") or ""


def _listens(port: int) -> bool:
    """Whether somebody does, as the system knows it: a connection that is tried would be one more client."""
    return f"0100007F:{port:04X} 00000000:0000 0A" in Path("/proc/net/tcp").read_text()


async def test_who_is_quiet_for_longer_than_the_proxy_waits(proxy: Proxy, lay: Lay, spawn: Spawn) -> None:
    """The server's pings, or its events, keep the stream; readers and writers alike."""
    server = await spawn(*proxy.quiet_settings)
    door = Door(await lay(server.address))
    ana, bob = await door.connect("ana", events=proxy.events), await door.subscribe("bob", events=proxy.events)
    await asyncio.sleep(QUIET_S)  # nothing happens: that is what is tested
    await ana.say("hola")
    assert all(event.kind == int(Kind.PROGRESS) for event in await bob.hear_until("ana: hola"))
    await door.close()


async def test_a_drain_behind_a_proxy(proxy: Proxy, lay: Lay, spawn: Spawn) -> None:
    """The last words come through, and the call ends so that the client comes back."""
    server = await spawn(*proxy.quiet_settings)
    door = Door(await lay(server.address))
    ana = await door.connect("ana", events=f"joined,{proxy.events}")
    async with _plain_call(door.address, "bob") as reader:
        await ana.hear_until("bob joined")
        server.signal(signal.SIGTERM)
        await within(reader.readuntil(b"the server is shutting down"))
    with pytest.raises(AioRpcError) as ended:
        await ana.hear_until("what nobody says")
    assert ended.value.code() in PASSING
    assert (await server.exit())[0] == 0
    await door.close()


@asynccontextmanager
async def _plain_call(address: str, name: str) -> AsyncIterator[asyncio.StreamReader]:
    """Make a call and read what comes as it comes: gRPC drops what it has not read when a proxy resets the call."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/bcast_grpc.v1.Chat/Connect",
        ":authority": address,
        "te": "trailers",
        "content-type": "application/grpc",
        "bcast-name": name,
    }
    host, _, port = address.rpartition(":")
    reader, writer = await within(asyncio.open_connection(host, int(port)))
    try:
        writer.write(PREFACE + frame(_SETTINGS, 0, 0) + headers(1, *fields.items()))
        yield reader
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_restart_behind_a_proxy(
    proxy: Proxy, lay: Lay, spawn: Spawn, tmp_path: Path, number: signal.Signals
) -> None:
    """Clients come back through it, and nothing is lost or comes twice."""
    settings = (*proxy.quiet_settings, "--store", f"sqlite:{tmp_path / 'chat.db'}", "--drain-s", "1")
    settings = (*settings, "--port", f"{free_port()}")
    server = await spawn(*settings)
    address = await lay(server.address)
    texts = [f"{n}" for n in range(50)]
    async with (
        bcast_grpc.connect(address, name="ana", events=proxy.events, max_retry_s=0.2) as ana,
        bcast_grpc.connect(address, name="bob", events=proxy.events, max_retry_s=0.2) as bob,
    ):
        for text in texts[:25]:
            await within(ana.send(text))
        server.signal(number)
        await server.exit()
        await spawn(*settings)
        for text in texts[25:]:
            await within(ana.send(text))
        assert [await _next_text(bob) for _ in texts] == [f"ana: {text}" for text in texts]


async def _next_text(chat: Chat) -> str:
    while True:
        event = await within(anext(chat))
        if event.kind is Kind.MESSAGE:
            return event.message


@pytest.mark.timeout(60)
async def test_clients_behind_haproxy_have_their_own_address(serve: Serve, tmp_path: Path) -> None:
    """With the configuration of the page, at every door: it tells them from the proxy, and bounds them."""
    proxy = PROXIES[1]
    _check_installed(proxy)
    assert FOUND
    doors = await serve(http_port=0, tcp_port=0, trusted_proxy=("127.0.0.9",), max_clients_per_peer=4)
    text, peers = FOUND[1] + GRPC_OVER_HTTP, doors.server.hub.capacity.peers
    for shown, port in ((50052, doors.server.port), (8081, doors.server.http_port), (7001, doors.server.tcp_port)):
        text = text.replace(f"127.0.0.1:{shown}", f"127.0.0.1:{port} source 127.0.0.9")
    fronts = {}
    for shown in (50051, 50061, 8080, 7000):
        fronts[shown] = free_port()
        text = text.replace(f"bind :{shown}", f"bind 127.0.0.1:{fronts[shown]}")
    async with _running(proxy, text, list(fronts.values()), tmp_path), AsyncExitStack() as stack:
        count = 0
        for shown in (50061,) if engine() == "grpcio" else (50051, 50061):
            door = Door(f"127.0.0.1:{fronts[shown]}")
            stack.push_async_callback(door.close)
            await door.open("ana", pairs=[("x-forwarded-for", "6.6.6.6")]).arrive()
            count += 1
        _, writer = await asyncio.open_connection("127.0.0.1", fronts[7000])
        stack.callback(writer.transport.abort)
        url = f"ws://127.0.0.1:{fronts[8080]}/ws?name=bob&events=welcome"
        told = {"x-forwarded-for": "6.6.6.6", "forwarded": "for=6.6.6.6"}
        await stack.enter_async_context(connect_websocket(url, additional_headers=told))
        count += 2
        await eventually(lambda: peers.count("127.0.0.1") == count == len(doors.server.hub.members("lobby")))
        if count == 4:
            async with connect_websocket(url) as late:
                assert "SERVER_FULL" in str(await within(late.recv()))
