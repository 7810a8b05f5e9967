"""What one address, and one connection, may take of a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path

import pytest
from websockets.asyncio.client import connect as connect_websocket

from bcast_grpc.server import parts
from bcast_grpc.server.memory import Bound, _bounds
from bcast_grpc.v1 import chat_pb2 as pb
from tests.authority import HOST, Authority
from tests.engine import engine

from .conftest import LocalDoor, Serve
from .peers import Door, eventually, within
from .wire import Wire

TRUSTED = ("127.0.0.1",)

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


def v1(address: str) -> bytes:
    """A PROXY header in text."""
    return f"PROXY TCP{ip_address(address).version} {address} {address} 4711 50051\r\n".encode()


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


def connections(doors: LocalDoor, address: str = "127.0.0.1") -> int:
    """How many an address has."""
    return doors.server._connections._counts.count(address)


async def answer(port: int, said: bytes = b"", *, ends: bool = False) -> bytes:
    """What a connection is answered until it is closed."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(said)
    heard = b""
    try:
        if ends:
            writer.write_eof()
        while more := await within(reader.read(65536)):
            heard += more
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()
    return heard


async def is_hung_up(port: int, said: bytes = b"", *, ends: bool = False) -> bool:
    """Whether a connection is closed without a word."""
    return not await answer(port, said, ends=ends)


async def test_an_address_has_so_many_clients_over_all_doors(serve: Serve) -> None:
    """One more is refused at each door, and the text names the limit; a place that is left is free at once."""
    doors = await serve(http_port=0, tcp_port=0, max_clients_per_peer=3)
    ana, _, _ = await doors.connect("ana"), await doors.plug(), await doors.browse()
    await eventually(lambda: doors.server.hub.clients == 3)
    called = await doors.open(room="dev").end()
    read = await doors.open_reader().end()
    assert called.reason == read.reason == "SERVER_FULL"
    (plugged,) = await (await doors.plug()).end()
    (browsed,) = await (await doors.browse()).end()
    for event in (plugged, browsed):
        assert event["error"]["code"] == "ERROR_CODE_SERVER_FULL"
        assert "max-clients-per-peer" in event["error"]["reason"]
    ana.cancel()
    await eventually(lambda: doors.server.hub.clients == 2)
    await doors.connect("bob")


async def test_clients_that_were_refused_leave_nothing(serve: Serve) -> None:
    """However they end, no address is counted once all are gone."""
    doors = await serve(http_port=0, tcp_port=0, max_clients_per_peer=2)
    peers = doors.server.hub.capacity.peers
    for _ in range(3):
        ana, bob = await doors.connect(client="a"), await doors.connect(client="a", room="dev")
        again = await doors.connect(client="a")
        assert (await ana.end()).reason == "REPLACED"
        assert (await doors.open().end()).reason == "SERVER_FULL"
        bob.cancel()
        await again.half_close()
        await again.end()
        await eventually(lambda: not len(peers))


async def test_a_connection_has_so_many_streams(serve: Serve) -> None:
    """A client of gRPC waits with the next call until one of the others has ended."""
    door = await serve(max_streams_per_connection=2)
    ana, _ = await door.connect("ana"), await door.connect("bob")
    third = door.open("eva")
    await door.server.publish("lobby", "hola")
    assert door.server.hub.clients == 2
    await ana.half_close()
    await ana.end()
    await third.arrive()


async def test_refused_messages_have_times_of_their_own(serve: Serve) -> None:
    """One after the other, so that they do not all come back in the same instant, and keep their order."""
    doors = await serve(rate=2, burst=1)
    ana = await doors.connect("ana")
    await ana.send(pb.ConnectRequest(batch=[pb.ConnectRequest(msg="hola", id=f"{number}") for number in range(5)]))
    answers = {event.id: event for event in await ana.hear_some(5)}
    waits = [answers[f"{number}"].error.retry_after.ToTimedelta().total_seconds() for number in range(5)]
    assert waits[0] == 0
    assert [round(2 * (later - earlier)) for earlier, later in pairwise(waits)] == [1] * 4


async def test_those_who_do_not_read_fill_no_memory(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Together their queues are bounded by max-memory, though each is within its own bound; others go on."""
    monkeypatch.setattr("bcast_grpc.server.chores._RELIEVE_S", 0.05)
    doors = await serve(max_memory=3 * 2**20, queue_bytes=2**26, history_messages=0)
    peers = [(await doors.connect("ana", room=room), await doors.connect("bob", room=room)) for room in "abc"]
    eva = await doors.connect("eva", room="d")
    for count in range(1000):
        if doors.server.hub.clients < 7:
            break
        for ana, _ in peers:
            await ana.say(data=bytes(60_000), id=f"{count}")
            await ana.answer(f"{count}")
    await eventually(lambda: doors.server.hub.capacity.budget.used < 3 * 2**20)
    here = {member.session for room in "abc" for member in doors.server.hub.members(room)}
    ends = [await bob.end() for _, bob in peers if bob.session not in here]
    assert ends
    assert all(end.reason == "SLOW_CONSUMER" and "max-memory" in end.text for end in ends)
    fay = await doors.connect("fay", room="d")
    await fay.say("hola")
    await eva.hear_until("fay: hola")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc, as Linux has it")
async def test_the_process_stays_within_its_memory(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever max-memory is: histories and queues have what connections and the heap's gaps leave of it."""
    monkeypatch.setattr("bcast_grpc.server.chores._RELIEVE_S", 0.05)
    doors = await serve(max_memory=2**40, queue_bytes=2**26, history_bytes=2**30, keepalive_s=60)
    resident = next(iter(_bounds())).taken
    limit = (resident() + 80 * 2**20) * 8 // 7
    monkeypatch.setattr(doors.server._memory, "_bounds", [Bound(limit, resident)])
    authors = [await doors.connect("ana", room=f"{room}") for room in range(6)]
    readers = [await doors.connect("bob", room=f"{room}") for room in range(6)]
    most = 0
    for count in range(60):
        for ana in authors:
            await ana.say(data=bytes([count]) * 400_000, id=f"{count}")
            await ana.answer(f"{count}")
        most = max(most, resident())
    assert len(readers) == 6
    assert doors.server.hub.capacity.budget.squeezed
    assert most < limit
    fay, eva = await doors.connect("fay", room="d"), await doors.connect("eva", room="d")
    await fay.say("hola")
    await eva.hear_until("fay: hola")


# --- connections


@pytest.mark.parametrize("tls", [False, True])
async def test_an_address_has_so_many_connections(
    serve: Serve, authority: Authority, monkeypatch: pytest.MonkeyPatch, tls: bool
) -> None:
    """Also such as never say a word; further ones are closed, and each that ends makes room for another."""
    monkeypatch.setattr(parts, "_CONNECTIONS_BESIDES", 1)
    files = authority.sign("server").settings if tls else {}
    doors = await serve(http_port=0, tcp_port=0, max_clients_per_peer=2, **files)
    server = doors.server
    ports = [server.http_port, server.tcp_port, *([] if engine() == "grpcio" else [server.port])]
    for port in ports * 2:
        silent = [(await asyncio.open_connection("127.0.0.1", one))[1] for one in (ports * 2)[:3]]
        await eventually(lambda: connections(doors) == 3)
        assert await is_hung_up(port)
        for writer in silent:
            writer.transport.abort()
        await eventually(lambda: not connections(doors))


async def test_no_connection_is_counted_for_ever(serve: Serve) -> None:
    """However it ends: served, refused, half-closed, or in the middle of something."""
    doors = await serve(http_port=0, tcp_port=0, max_clients_per_peer=90)
    words = (b"", b"GET / HTTP/1.0\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0" * 100, b"PROXY x\r\n")
    for _ in range(3):
        await doors.plug()
        await doors.browse()
        for port in (doors.server.port, doors.server.http_port, doors.server.tcp_port):
            for said in words:
                _, writer = await asyncio.open_connection(HOST, port)
                writer.write(said)
                if len(said) != 100:
                    writer.write_eof()
                writer.close()
    await doors.close()
    await eventually(lambda: not connections(doors))


# --- proxies


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
    doors = await serve(http_port=0, tcp_port=0, trusted_proxy=TRUSTED, handshake_timeout_s=0.2)
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
