"""A trusted proxy says where a client comes from, and nobody else is believed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import ip_address

import pytest
from websockets.asyncio.client import connect as connect_websocket

from tests.authority import HOST, Authority
from tests.engine import engine

from .conftest import Serve
from .knocking import TRUSTED, answer, connections, is_hung_up, v1
from .peers import Door, eventually, within
from .wire import Wire

Lay = Callable[[int, bytes], Awaitable[Wire]]


@pytest.fixture
async def lay() -> AsyncIterator[Lay]:
    """Put a proxy before a port, that says something first on each connection."""
    wires: list[Wire] = []

    async def start(port: int, first: bytes) -> Wire:
        wires.append(Wire())
        await wires[-1].lay(f"{HOST}:{port}", first)
        return wires[-1]

    yield start
    for wire in wires:
        await wire.close()


V2 = b"\r\n\r\n\0\r\nQUIT\n"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def v2(address: str) -> bytes:
    """A PROXY header in binary."""
    packed = ip_address(address).packed
    body = packed * 2 + bytes(4) + b"\x04\0\2ab"
    return V2 + (b"\x21\x11" if len(packed) == 4 else b"\x21\x21") + len(body).to_bytes(2) + body


@pytest.mark.parametrize("header", [v1, v2])
@pytest.mark.parametrize("tls", [False, True])
async def test_a_proxy_says_whose_connection_it_is(
    serve: Serve, authority: Authority, lay: Lay, header: Callable[[str], bytes], tls: bool
) -> None:
    """At every door, before TLS; each address that it names has its own limit."""
    files = authority.sign("server").settings if tls else {}
    doors = await serve(http_port=0, tcp_port=0, max_clients_per_peer=1, trusted_proxy=TRUSTED, **files)
    context = authority.context() if tls else None
    peers = doors.server.hub.capacity.peers

    proxies: list[Wire] = []

    async def through(port: int, address: str) -> int:
        proxies.append(await lay(port, header(address)))
        return int(proxies[-1].address.rpartition(":")[2])

    async def plug(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        port = await through(doors.server.tcp_port, address)
        return await within(asyncio.open_connection(HOST, port, ssl=context))

    _, writer = await plug("203.0.113.7")
    await eventually(lambda: peers.count("203.0.113.7") == 1)
    late, late_writer = await plug("203.0.113.7")
    assert b"SERVER_FULL" in await within(late.readline())
    for address in ("203.0.113.7", "203.0.113.8"):
        port = await through(doors.server.http_port, address)
        url = f"{'wss' if tls else 'ws'}://{HOST}:{port}/ws?events=welcome"
        async with connect_websocket(url, ssl=context, compression=None) as browser:
            assert ("SERVER_FULL" in str(await within(browser.recv()))) is (address == "203.0.113.7")
    if engine() != "grpcio":
        for address in ("203.0.113.7", "203.0.113.9"):
            port = await through(doors.server.port, address)
            door = Door(f"{HOST}:{port}")
            door.credentials = doors.trust(authority).credentials if tls else None
            ana = door.open("ana")
            if address == "203.0.113.7":
                assert (await ana.end()).reason == "SERVER_FULL"
            else:
                await ana.arrive()
            await door.close()
    for one in (writer, late_writer):
        one.transport.abort()
    for proxy in proxies:
        await proxy.close()
    await eventually(lambda: not peers.count("203.0.113.7") and not connections(doors, "203.0.113.7"))


async def test_a_header_may_come_byte_by_byte(serve: Serve) -> None:
    """With what follows in the same segment as its end; an address that IPv6 maps is the IPv4 one."""
    doors = await serve(tcp_port=0, trusted_proxy=TRUSTED)
    peers = doors.server.hub.capacity.peers
    for header in (v1("203.0.113.7"), v2("203.0.113.7"), v1("::ffff:203.0.113.7"), v2("::ffff:203.0.113.7")):
        reader, writer = await asyncio.open_connection(HOST, doors.server.tcp_port)
        for byte in header[:-1]:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(header[-1:] + b'{"operacion":"who","id":"1"}')
        assert b"MEMBERS" in await within(reader.readline())
        assert peers.count("203.0.113.7") == 1
        writer.close()
        await eventually(lambda: not peers.count("203.0.113.7"))


@pytest.mark.parametrize("first", [b"PROXY TCP4 nonsense\r\n", b"PROXY " + b"x" * 200, b"PROXY TCP4 1.2", V2[:14]])
async def test_a_malformed_or_slow_header_ends_the_connection(serve: Serve, first: bytes) -> None:
    """Without a word, also where the proxy has ended its side; nothing is left of it."""
    doors = await serve(http_port=0, tcp_port=0, trusted_proxy=TRUSTED, handshake_timeout_s=0.2)
    for port in (doors.server.http_port, doors.server.tcp_port):
        assert await is_hung_up(port, first)
        assert await is_hung_up(port, first, ends=True)
    assert doors.server.hub.clients == 0


async def test_a_trusted_proxy_may_say_nothing(serve: Serve) -> None:
    """What comes without a header, or with one for the proxy itself, is the proxy's, even if it is silence."""
    doors = await serve(http_port=0, tcp_port=0, trusted_proxy=TRUSTED, handshake_timeout_s=1)
    await doors.connect("ana")
    await doors.plug()
    await doors.browse()
    _, writer = await asyncio.open_connection(HOST, doors.server.tcp_port)
    writer.write(V2 + b"\x20\0\0\0")
    await eventually(lambda: doors.server.hub.capacity.peers.count("127.0.0.1") == 4)
    assert connections(doors) == 0
    writer.close()


@pytest.mark.parametrize("header", [v1, v2])
@pytest.mark.parametrize("tls", [False, True])
async def test_nobody_else_is_believed(
    serve: Serve, authority: Authority, header: Callable[[str], bytes], tls: bool
) -> None:
    """A header is an error at every door, even where all that follows it is right."""
    files = authority.sign("server").settings if tls else {}
    doors = await serve(http_port=0, tcp_port=0, trusted_proxy=("10.0.0.0/8",), **files)
    first = header("203.0.113.7")
    plugged = await answer(doors.server.tcp_port, first + b'{"operacion":"who"}')
    assert tls or b"MALFORMED" in plugged
    assert b"MEMBERS" not in plugged
    assert b"101 Switching" not in await answer(doors.server.http_port, first + UPGRADE)
    assert b"grpc-status" not in await answer(doors.server.port, first + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert doors.server.hub.capacity.peers.count("203.0.113.7") == 0
    assert connections(doors, "203.0.113.7") == 0


async def test_headers_of_http_count_only_from_proxies(serve: Serve) -> None:
    """From others they are ignored."""
    doors = await serve(http_port=0, tcp_port=0, trusted_proxy=("10.0.0.0/8",))
    told = {"x-forwarded-for": "203.0.113.7", "forwarded": "for=203.0.113.7"}
    await doors.browse(additional_headers=told)
    await doors.open(pairs=told.items()).arrive()
    peers = doors.server.hub.capacity.peers
    await eventually(lambda: peers.count("127.0.0.1") == 2)
    assert peers.count("203.0.113.7") == 0


async def test_who_hides_its_address_shares_the_bound_of_the_proxy(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the proxy is on this machine, whose addresses are not bounded otherwise."""
    doors = await serve(http_port=0, trusted_proxy=TRUSTED)
    monkeypatch.setattr(doors.server.hub.capacity.peers, "most", 2)
    hidden = [("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "203.0.113.7")]
    for _ in range(2):
        await doors.open(pairs=hidden).arrive()
    assert (await doors.open(pairs=hidden).end()).reason == "SERVER_FULL"
    await doors.open(pairs=hidden[1:]).arrive()


async def test_a_proxy_of_http_says_where_a_request_comes_from(serve: Serve) -> None:
    """In Forwarded or X-Forwarded-For, at the WebSocket and in the metadata of gRPC."""
    doors = await serve(http_port=0, trusted_proxy=TRUSTED)
    peers = doors.server.hub.capacity.peers
    await doors.browse(additional_headers={"X-Forwarded-For": "6.6.6.6, 203.0.113.7"})
    await doors.open(pairs=[("forwarded", 'for=6.6.6.6, for="203.0.113.7:4711"')]).arrive()
    await doors.open_reader(pairs=[("x-forwarded-for", "203.0.113.7")]).arrive()
    assert (peers.count("203.0.113.7"), peers.count("6.6.6.6")) == (3, 0)
