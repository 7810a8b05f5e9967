"""Several brokers on one NATS: one order for all, each acknowledged message at its place, whatever fails."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex

import pytest

from tests.nats_server import NatsServer, cluster

from .servers import Client, Server, Traffic, until

Fault = Callable[[list[Server], NatsServer], Awaitable[None]]


@asynccontextmanager
async def servers_on(nats: NatsServer, count: int, direct: tuple[str, ...] = ()) -> AsyncIterator[list[Server]]:
    """Run brokers on a NATS server."""
    servers = [Server(n, token, nats.port, direct=direct) for token in [token_hex(4)] for n in range(count)]
    try:
        for server in servers:
            await server.start()
        yield servers
    finally:
        for server in servers:
            await server.close()


@asynccontextmanager
async def traffic(nats: NatsServer, count: int, direct: tuple[str, ...] = ()) -> AsyncIterator[Traffic]:
    """Run brokers with clients on a NATS server, and check in the end what became of all messages."""
    async with servers_on(nats, count, direct) as servers:
        running = Traffic(servers)
        saying = asyncio.create_task(running.run())
        await until(lambda: all(len(client.acked) > 50 for client in running.clients))
        yield running
        running.stop()
        await saying
        await running.settle()
        await running.check()


async def goes_on(running: Traffic) -> None:
    """Wait until every client has got acks for messages that it says from now on."""
    before = {client.author.key: len(client.said) for client in running.clients}
    for client in running.clients:
        await until(
            lambda client=client: any(  # type: ignore[misc]
                int(id_.rpartition("-")[2]) > before[client.author.key] + 20 for id_ in list(client.acked)[-50:]
            )
        )


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_one_order_for_all(shared_nats: NatsServer, count: int) -> None:
    """Nothing fails, and a few messages are sent again at another server."""
    async with traffic(shared_nats, count) as running:
        await goes_on(running)


async def kill(_: list[Server], nats: NatsServer) -> None:
    """NATS is killed, and comes back."""
    nats.kill()
    await asyncio.sleep(0.3)
    nats.start()
    await nats.ready()


async def restart(_: list[Server], nats: NatsServer) -> None:
    """NATS is restarted."""
    nats.kill(signal.SIGTERM)
    nats.start()
    await nats.ready()


async def freeze(_: list[Server], nats: NatsServer) -> None:
    """NATS does nothing for a while."""
    nats.freeze()
    await asyncio.sleep(4)
    nats.thaw()


async def cut(servers: list[Server], _: NatsServer) -> None:
    """A server's connections are reset."""
    servers[0].proxy.cut()


async def black_hole(servers: list[Server], _: NatsServer) -> None:
    """Nothing comes through to a server for a while."""
    servers[-1].proxy.hold()
    await asyncio.sleep(4)
    servers[-1].proxy.let_go()


async def crash(servers: list[Server], _: NatsServer) -> None:
    """A server is killed, and comes back knowing nothing."""
    await servers[0].crash()
    await servers[0].start()


@pytest.mark.parametrize("fault", [kill, restart, freeze, cut, black_hole, crash], ids=lambda fault: fault.__name__)
async def test_nothing_is_lost_or_repeated(mortal_nats: NatsServer, fault: Fault) -> None:
    """Each fault twice, while three servers write to one room."""
    async with traffic(mortal_nats, 3) as running:
        for _ in range(2):
            await fault(list(running.servers), mortal_nats)
            await goes_on(running)


async def test_a_cluster_of_nats_servers_loses_its_leader(nats_program: Path, tmp_path: Path) -> None:
    """Three of them: one is killed, and comes back; then another is frozen."""
    async with cluster(nats_program, tmp_path) as nodes:
        urls = tuple(node.url for node in nodes)
        async with traffic(nodes[0], 3, urls) as running:
            for node in nodes[:2]:
                node.kill()
                await asyncio.sleep(1)
                node.start()
                await node.ready()
                await goes_on(running)
            nodes[2].freeze()
            await asyncio.sleep(5)
            nodes[2].thaw()
            await goes_on(running)


async def test_a_live_record_that_is_lost_is_found_though_none_follows(shared_nats: NatsServer) -> None:
    """The other server says how far the log is."""
    async with servers_on(shared_nats, 2) as (here, there):
        assert there.order
        there.order.log.live = lambda *_: []  # type: ignore[method-assign]
        client = Client("ana")
        here.say(client, [client.entry()])
        await until(lambda: there.told.get(there.order.epoch, {}) != {} if there.order else False)


async def test_a_log_that_is_gone_begins_a_new_order_for_all(shared_nats: NatsServer) -> None:
    """Every room is told, and goes on from 1."""
    async with servers_on(shared_nats, 2) as (here, there):
        assert here.order
        assert there.order
        old, client = here.order.epoch, Client("ana")
        here.say(client, [client.entry(), client.entry()])
        await until(lambda: len(there.told.get(old, {})) == 2)
        connected = here.broker
        assert connected
        await connected._connection.request(f"$JS.API.STREAM.PURGE.BCAST_{here._cluster}", b"", 5)
        here.say(client, [client.entry()])
        await until(lambda: len(client.acked) == 3)
        new = here.order.epoch
        assert new != old
        await until(lambda: there.told.get(new, {}) == {1: "text of ana-3"})
        assert here.told[new] == there.told[new]
        assert client.acked["ana-3"] == {(new, 1)}
