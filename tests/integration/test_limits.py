"""What one address, and one connection, may take of a server."""

from __future__ import annotations

import asyncio
import socket
import struct
from itertools import pairwise
from pathlib import Path

import pytest

from bcast_grpc.core import capacity
from bcast_grpc.http2 import frames as wire
from bcast_grpc.http2.states import Kind
from bcast_grpc.server import parts
from bcast_grpc.server.machine.memory import Bound, _bounds
from bcast_grpc.v1 import chat_pb2 as pb
from benchmarks.attacker import CONNECT, GREETING, PUBLISH, Attacker, block, data, message, request
from tests.authority import HOST, Authority
from tests.engine import engine

from .conftest import LocalDoor, Serve
from .knocking import TRUSTED, connections, is_hung_up
from .peers import PATIENCE_S, Peer, eventually, within


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


SUBSCRIBE = "/bcast_grpc.v1.Chat/Subscribe"
CHECK = "/grpc.health.v1.Health/Check"


@pytest.mark.grpc_engine("native", reason="grpcio's core keeps what waits, and tells nobody")
@pytest.mark.parametrize("path", [SUBSCRIBE, PUBLISH, CHECK])
async def test_calls_that_wait_to_be_let_in_are_bounded(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Over all connections of an address, of which another has its own; what is let in or ends makes room."""
    monkeypatch.setattr(capacity, "_ASKING_TIMES", 1)
    monkeypatch.setattr(capacity, "_BESIDES", 2)
    doors = await serve(max_clients_per_peer=3)
    first, second = await Attacker.connect(doors.address), await Attacker.connect(doors.address)
    for attacker, streams in ((first, (1, 3, 5)), (second, (1, 3, 5, 7))):
        await attacker.send(b"".join(request(stream, block(path)) for stream in streams))
        await attacker.is_heard()
    assert (first.statuses, second.statuses) == ({}, {5: 8, 7: 8})
    stranger = await Attacker.connect(doors.address, local_addr=("127.0.0.2", 0))
    await stranger.send(request(1, block(path)))
    await stranger.is_heard()
    assert not stranger.ended
    await first.send(data(1, message(b""), 1))
    await first.until(lambda: 1 in first.answered)
    await second.send(request(9, block(path)))
    await second.is_heard()
    assert 9 not in second.statuses
    for attacker in (first, second, stranger):
        attacker.close()
    await eventually(lambda: not len(doors.server.hub.capacity.asking))


@pytest.mark.grpc_engine("native", reason="grpcio's core keeps what waits, and tells nobody")
async def test_calls_that_wait_behind_a_proxy_are_those_of_its_clients(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One client of it takes no places of another, though they may share its connection."""
    monkeypatch.setattr(capacity, "_ASKING_TIMES", 1)
    monkeypatch.setattr(capacity, "_BESIDES", 0)
    doors = await serve(max_clients_per_peer=2, trusted_proxy=TRUSTED)
    proxy = await Attacker.connect(doors.address)
    for stream, client in ((1, "192.0.2.1"), (3, "192.0.2.1"), (5, "192.0.2.1"), (7, "192.0.2.2")):
        await proxy.send(request(stream, block(SUBSCRIBE, ("x-forwarded-for", client))))
    await proxy.is_heard()
    assert proxy.statuses == {5: 8}
    proxy.close()
    await eventually(lambda: not len(doors.server.hub.capacity.asking))


@pytest.mark.grpc_engine("native", reason="grpcio's core keeps what waits, and tells nobody")
async def test_all_that_wait_to_be_let_in_are_bounded(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the memory that there is for them, addresses of this machine too; whoever has none of them may wait."""
    monkeypatch.setattr(capacity, "_ASKING_BYTES", 2**60)
    doors = await serve()
    attacker, other = [
        await Attacker.connect(doors.address, local_addr=(host, 0)) for host in ("127.0.0.2", "127.0.0.1")
    ]
    waiting = [b"".join(request(1 + 2 * stream, block(SUBSCRIBE)) for stream in range(some)) for some in (990, 20)]
    await attacker.send(waiting[0])
    await attacker.is_heard()
    second = await Attacker.connect(doors.address, local_addr=("127.0.0.2", 0))
    await second.send(waiting[1])
    await second.until(lambda: len(second.ended) == 10)
    await other.send(waiting[1])
    await other.is_heard()
    assert set(second.statuses.values()) == {8}
    assert not other.ended
    for client in (attacker, second, other):
        client.close()


@pytest.mark.grpc_engine("native", reason="grpcio's core keeps what waits, and tells nobody")
async def test_nothing_waits_to_be_let_in_when_memory_is_full(doors: LocalDoor) -> None:
    """It is refused at once, so that it takes none; health checks are answered."""
    budget = doors.server.hub.capacity.budget
    budget.bound = budget.max_bytes = 0
    attacker = await Attacker.connect(doors.address)
    paths = (SUBSCRIBE, PUBLISH, CONNECT)
    await attacker.send(b"".join(request(1 + 2 * number, block(path)) for number, path in enumerate(paths)))
    await attacker.send(request(7, block(CHECK)) + data(7, message(b""), 1))
    await attacker.until(lambda: len(attacker.ended) == 4)
    assert attacker.statuses == {1: 8, 3: 8, 5: 8, 7: 0}
    attacker.close()


@pytest.mark.grpc_engine("native", reason="grpcio's servicers are bounded by grpcio")
async def test_who_watches_the_health_for_ever_keeps_nobody_from_asking(
    doors: LocalDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls that an address leaves open take its own places alone; one that ends is one that may begin."""
    monkeypatch.setattr("bcast_grpc.transport.grpc.services.MAX_STREAMS", 3)
    attacker = await Attacker.connect(doors.address, local_addr=("127.0.0.2", 0))
    other = await Attacker.connect(doors.address)

    async def ask(client: Attacker, stream: int, path: str = "/grpc.health.v1.Health/Watch") -> None:
        await client.send(request(stream, block(path)) + data(stream, message(b""), 1))
        await client.until(lambda: stream in client.answered)

    for stream in (1, 3, 5, 7):
        await ask(attacker, stream)
    for stream in (1, 3):
        await ask(other, stream, CHECK)
        await other.until(lambda stream=stream: stream in other.ended)  # type: ignore[misc]
    assert (attacker.statuses, other.statuses) == ({7: 8}, {1: 0, 3: 0})
    await attacker.send(wire.frame(Kind.RST_STREAM, 0, 1, bytes(4)))
    await ask(attacker, 9)
    assert 9 not in attacker.ended
    attacker.close()
    other.close()


@pytest.mark.grpc_engine("native", reason="grpcio's core keeps what waits, and tells nobody")
async def test_calls_of_nobody_keep_no_connection_open(doors: LocalDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where something is short, a connection with nothing else is idle; one with a client is not."""
    monkeypatch.setattr("bcast_grpc.transport.connections._IDLE_S", 0.0)
    attacker, client = await Attacker.connect(doors.address), await Attacker.connect(doors.address)
    await attacker.send(request(1, block(SUBSCRIBE)) + request(3, block(PUBLISH)))
    await attacker.send(request(5, block("/grpc.health.v1.Health/Watch")) + data(5, message(b""), 1))
    await attacker.until(lambda: 5 in attacker.answered)
    await client.send(request(1, block(SUBSCRIBE)) + data(1, message(b""), 1) + request(3, block(PUBLISH)))
    await attacker.is_heard()
    await client.until(lambda: 1 in client.answered)
    connections = doors.server._connections
    connections.hang_up_idle()
    assert connections.hang_up_idle() == 1
    await within(attacker.end())
    await client.is_heard()
    client.close()


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
    _relieve_at_once(monkeypatch)
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
    fay = await _let_in(doors, "fay")
    await fay.say("hola")
    await eva.hear_until("fay: hola")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc, as Linux has it")
async def test_the_process_stays_within_its_memory(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever max-memory is: histories and queues have what connections and the heap's gaps leave of it."""
    _relieve_at_once(monkeypatch)
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
    fay, eva = await _let_in(doors, "fay"), await _let_in(doors, "eva")
    await fay.say("hola")
    await eva.hear_until("fay: hola")


def _relieve_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bcast_grpc.server.chores._RELIEVE_S", 0.05)
    monkeypatch.setattr("bcast_grpc.core.capacity._REFUSING_S", 0.1)


async def _let_in(doors: LocalDoor, name: str) -> Peer:
    """Connect, again and again while memory is full: that passes, as clients that do not read are in its way."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            peer = doors.open(name, room="d")
            if await peer.call.initial_metadata():
                return await peer.arrive()
            assert (await peer.end()).reason == "SERVER_FULL"


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


@pytest.mark.grpc_engine("native", reason="grpcio accepts connections in threads of its own")
async def test_what_was_reset_before_it_was_accepted_is_not_served(serve: Serve) -> None:
    """Its address is not known any more, so no bound would apply to it, and its calls would wait for ever."""
    doors = await serve(tcp_port=0)
    server = doors.server
    for port, said in ((server.port, GREETING + request(1, block(SUBSCRIBE))), (server.tcp_port, b'{"msg":"hola"}')):
        for _ in range(10):
            with socket.create_connection((HOST, port)) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.sendall(said)  # the server, in this thread, accepts none before all are reset
    await doors.connect("ana")
    plug = await doors.plug()
    plug.writer.write(b'{"operacion":"who","id":"1"}')
    await plug.hear()
    assert server.hub.counts.joined == 2
    assert not server.hub.capacity.calls_waiting
