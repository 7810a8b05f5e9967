"""The order in which NATS servers are tried."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlparse

from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Srv

from bcast_grpc.broker.nats.connection.servers import Servers
from tests.broker.nats.conftest import Connect
from tests.broker.nats.connecting import PATIENCE_S, Connected
from tests.broker.nats.servers import until
from tests.nats_server import NatsServer
from tests.ports import free_port

_ADDRESSES = [f"n{number}:4222" for number in range(4)]


def _pool(given: list[str], discovered: list[str]) -> list[Srv]:
    made = [Srv(urlparse(f"nats://{address}")) for address in given]
    return made + [Srv(urlparse(f"nats://{address}"), discovered=True, tls_name="n0") for address in discovered]


def _addresses(pool: list[Srv]) -> list[str]:
    return [server.uri.netloc for server in pool]


def _told(servers: Servers, pool: list[Srv], addresses: list[str]) -> None:
    """Do what a client does with what it is told by a server that it uses, the first of its pool."""
    known = _addresses(pool)
    pool += _pool([], [address for address in addresses if address not in known])
    servers.told(pool, addresses)
    servers.arrange(pool, pool[0])


@given(st.lists(st.sampled_from(_ADDRESSES)), st.integers(1, 4))
def test_who_is_of_no_use_is_tried_after_the_others(tried: list[str], count: int) -> None:
    """Who was tried last comes last, however often the pool is arranged."""
    servers = Servers()
    pool = _pool(_ADDRESSES[:count], [])
    _told(servers, pool, _ADDRESSES)
    for address in tried:
        servers.tried(address)
    for _ in range(3):
        servers.arrange(pool, None)
    found = _addresses(pool)
    assert sorted(found) == _ADDRESSES
    last = list(reversed(list(dict.fromkeys(reversed(tried)))))
    assert found[len(found) - len(last) :] == last


def test_who_was_discovered_is_known_to_the_next_client() -> None:
    """After those that were given, with the name that its certificate must have."""
    servers = Servers()
    _told(servers, _pool(_ADDRESSES[:1], []), _ADDRESSES[:2])
    pool = _pool(_ADDRESSES[:1], [])
    servers.arrange(pool, None)
    assert _addresses(pool) == _ADDRESSES[:2]
    assert (pool[1].discovered, pool[1].tls_name) == (True, "n0")
    servers.tried(_ADDRESSES[0])
    servers.arrange(pool, None)
    assert _addresses(pool) == [_ADDRESSES[1], _ADDRESSES[0]]


def test_who_is_in_use_is_tried_again_before_those_that_cannot_be_reached() -> None:
    """When it is lost, it is the least likely to be there; but who was told of only may never be."""
    servers = Servers()
    pool = _pool(_ADDRESSES[:2], [])
    _told(servers, pool, _ADDRESSES)
    used = next(server for server in pool if server.uri.netloc == _ADDRESSES[0])
    servers.tried(_ADDRESSES[1])
    servers.arrange(pool, used)
    assert _addresses(pool)[-2:] == [_ADDRESSES[1], _ADDRESSES[0]]
    servers.tried(_ADDRESSES[3])
    servers.arrange(pool, used)
    assert _addresses(pool) == [_ADDRESSES[number] for number in (2, 1, 0, 3)]
    servers.found(_ADDRESSES[3])
    servers.arrange(pool, used)
    assert _addresses(pool)[-1] == _ADDRESSES[0]


def test_who_is_told_of_no_more_comes_last_until_it_is_told_of_again() -> None:
    """It may be parted from the server in use: then it is the only one that can be used."""
    servers = Servers()
    pool = _pool(_ADDRESSES[:1], [])
    _told(servers, pool, _ADDRESSES)
    servers.arrange(pool, used := pool[_addresses(pool).index(_ADDRESSES[0])])
    pool.sort(key=lambda server: server is not used)
    _told(servers, pool, _ADDRESSES[:3])
    assert _addresses(pool)[-2:] == [_ADDRESSES[0], _ADDRESSES[3]]
    pool.sort(key=lambda server: server is not used)
    _told(servers, pool, _ADDRESSES)
    assert _addresses(pool)[-1] == _ADDRESSES[0]


def test_addresses_that_change_again_and_again_are_forgotten() -> None:
    """Attempts to reach them would take more time from year to year."""
    servers = Servers()
    pool = _pool(_ADDRESSES[:1], [])
    for number in range(100):
        pool.sort(key=lambda server: server.discovered)
        _told(servers, pool, [f"10.0.0.{number}:4222"])
    later = _pool(_ADDRESSES[:1], [])
    servers.arrange(later, None)
    assert sorted(_addresses(later)) == sorted(_addresses(pool))
    assert len(pool) < 20
    assert "10.0.0.99:4222" in _addresses(pool)


@contextmanager
def _two(program: Path, folder: Path, more: str = "") -> Iterator[tuple[NatsServer, NatsServer]]:
    """Start two servers, which tell of each other; ``more`` is said of the second."""
    routes = [free_port(), free_port()]
    one = NatsServer(program, folder / "n0", "n0", routes, store=False)
    other = NatsServer(program, folder / "n1", "n1", routes[::-1], more, store=False)
    try:
        one.start()
        other.start()
        yield one, other
    finally:
        one.kill()
        other.kill()


async def _connect(connect: Connect, named: NatsServer, other: NatsServer) -> Connected:
    """Connect to one of two, and wait until it has told of the other."""
    await named.ready()
    await other.ready()
    connected = await connect(named)
    await until(lambda: connected.connection.has_others)
    return connected


async def test_a_server_is_left_for_one_that_nobody_has_named(
    nats_program: Path, tmp_path: Path, connect: Connect
) -> None:
    """The first has told of it."""
    with _two(nats_program, tmp_path) as (named, other):
        connected = await _connect(connect, named, other)
        await connected.connection.move_on("it is of no use")
        await connected.until(up=True)
        await until(lambda: [node.tells("connz").get("num_connections") for node in (named, other)] == [0, 1])


async def test_addresses_that_cannot_be_reached_keep_it_from_nobody(
    nats_program: Path, tmp_path: Path, connect: Connect
) -> None:
    """A server comes back to the one that it left, though an attempt takes longer than a client has."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        more = f'client_advertise: "127.0.0.1:{silent.getsockname()[1]}"'
        with _two(nats_program, tmp_path, more) as (named, other):
            connected = await _connect(connect, named, other)
            connected.connection._target = replace(connected.connection._target, patience_s=0.5)
            await connected.connection.move_on("it is of no use")
            await connected.until(up=True)


async def test_a_server_that_takes_too_long_to_be_proved_is_of_no_use(
    nats_program: Path, tmp_path: Path, connect: Connect
) -> None:
    """It does not count as connected, and another one comes next."""
    with _two(nats_program, tmp_path) as (named, other):
        connected = await _connect(connect, named, other)
        connection, proved, up = connected.connection, list[str](), asyncio.Queue[bool]()

        async def prove() -> None:
            assert connection._client
            assert connection._client.connected_url
            proved.append(connection._client.connected_url.netloc)
            if len(proved) == 1:
                try:
                    await asyncio.Event().wait()
                finally:
                    asyncio.get_running_loop().call_soon(lambda: up.put_nowait(connection.up))

        connection.prove = prove
        connection._target = replace(connection._target, patience_s=1)
        await connection.move_on("it is of no use")
        assert await asyncio.wait_for(up.get(), PATIENCE_S) is False
        await connected.until(up=True)
        assert proved == [node.url.removeprefix("nats://") for node in (other, named)]
