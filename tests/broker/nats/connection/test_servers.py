"""The order in which NATS servers are tried."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlparse

from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Srv

from bcast_grpc.broker.nats.connection.servers import Servers
from tests.broker.nats.conftest import Connect
from tests.broker.nats.servers import until
from tests.nats_server import NatsServer
from tests.ports import free_port

_ADDRESSES = [f"n{number}:4222" for number in range(4)]


def _pool(given: list[str], discovered: list[str]) -> list[Srv]:
    made = [Srv(urlparse(f"nats://{address}")) for address in given]
    return made + [Srv(urlparse(f"nats://{address}"), discovered=True, tls_name="n0") for address in discovered]


def _addresses(pool: list[Srv]) -> list[str]:
    return [server.uri.netloc for server in pool]


@given(st.lists(st.sampled_from(_ADDRESSES)), st.integers(1, 4))
def test_who_was_left_is_tried_after_the_others(left: list[str], count: int) -> None:
    """Who was left last comes last, however often the pool is arranged."""
    servers = Servers()
    for address in left:
        servers.leave(address)
    pool = _pool(_ADDRESSES[:count], _ADDRESSES[count:])
    for _ in range(3):
        servers.arrange(pool, None)
    tried = _addresses(pool)
    assert sorted(tried) == _ADDRESSES
    last = list(reversed(list(dict.fromkeys(reversed(left)))))
    assert tried[len(tried) - len(last) :] == last


def test_who_was_discovered_is_known_to_the_next_client() -> None:
    """After those that were given, with the name that its certificate must have."""
    servers = Servers()
    before = _pool(_ADDRESSES[:1], _ADDRESSES[1:2])
    servers.arrange(before, before[0])
    pool = _pool(_ADDRESSES[:1], [])
    servers.arrange(pool, None)
    assert _addresses(pool) == _ADDRESSES[:2]
    assert (pool[1].discovered, pool[1].tls_name) == (True, "n0")
    servers.leave(_ADDRESSES[0])
    servers.arrange(pool, None)
    assert _addresses(pool) == [_ADDRESSES[1], _ADDRESSES[0]]


def test_who_is_in_use_is_the_last_to_be_tried_again() -> None:
    """When it is lost, it is the least likely to be there."""
    servers = Servers()
    servers.leave(_ADDRESSES[1])
    pool = _pool(_ADDRESSES, [])
    used = pool[0]
    servers.arrange(pool, used)
    assert _addresses(pool)[-2:] == [_ADDRESSES[1], _ADDRESSES[0]]


async def test_a_server_is_left_for_one_that_nobody_has_named(
    nats_program: Path, tmp_path: Path, connect: Connect
) -> None:
    """The first has told of it."""
    routes = [free_port(), free_port()]
    with ExitStack() as stack:
        named, other = (
            NatsServer(nats_program, tmp_path / name, name, ports, store=False)
            for name, ports in [("n0", routes), ("n1", routes[::-1])]
        )
        for node in (named, other):
            stack.callback(node.kill)
            node.start()
            await node.ready()
        connected = await connect(named)
        await until(lambda: connected.connection.has_others)
        await connected.connection.move_on("it is of no use")
        await connected.until(up=True)
        await until(lambda: [node.tells("connz").get("num_connections") for node in (named, other)] == [0, 1])
