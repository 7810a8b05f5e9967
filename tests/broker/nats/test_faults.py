"""Several brokers on one NATS: one order for all, each acknowledged message at its place, whatever fails."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex

import pytest

from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.nats import broker as broker_module
from bcast_grpc.broker.nats.broker import Cluster, NatsBroker
from bcast_grpc.broker.nats.connection.target import Target
from bcast_grpc.errors import CallError
from tests.nats_server import NatsServer, cluster

from .servers import Client, Server, Traffic, deaf, until

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


async def all_notice(servers: list[Server]) -> None:
    """Wait until these servers know that their connections are lost."""
    await until(lambda: not any(server.broker and server.broker._connection.up for server in servers))


async def kill(servers: list[Server], nats: NatsServer) -> None:
    """NATS is killed, and comes back."""
    nats.kill()
    await all_notice(servers)
    nats.start()
    await nats.ready()


async def restart(_: list[Server], nats: NatsServer) -> None:
    """NATS is restarted."""
    nats.kill(signal.SIGTERM)
    nats.start()
    await nats.ready()


async def freeze(servers: list[Server], nats: NatsServer) -> None:
    """NATS does nothing for a while."""
    nats.freeze()
    await all_notice(servers)
    nats.thaw()


async def cut(servers: list[Server], _: NatsServer) -> None:
    """A server's connections are reset."""
    servers[0].proxy.cut()


async def black_hole(servers: list[Server], _: NatsServer) -> None:
    """Nothing comes through to a server for a while."""
    servers[-1].proxy.hold()
    await all_notice(servers[-1:])
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
                await goes_on(running)
                node.start()
                await node.ready()
                await goes_on(running)
            nodes[2].freeze()
            await goes_on(running)
            nodes[2].thaw()
            await goes_on(running)


async def test_a_live_record_that_is_lost_is_found_though_none_follows(shared_nats: NatsServer) -> None:
    """The other server says how far the log is."""
    async with servers_on(shared_nats, 2) as (here, there):
        assert there.order
        client = Client("ana")
        with deaf(there.order.log, "live"):
            here.say(client, [client.entry()])
            await until(lambda: there.told.get(there.order.epoch, {}) != {} if there.order else False)


async def test_a_lost_end_that_only_another_server_has_told_is_seen(mortal_nats: NatsServer) -> None:
    """A server that comes back first to a log that was set back asks the other one, and gives no place again."""
    async with servers_on(mortal_nats, 2) as (here, there):
        assert here.order
        assert there.order
        old, client = here.order.epoch, Client("ana")
        here.say(client, [client.entry() for _ in range(3)])
        await until(lambda: len(there.told.get(old, {})) == 3)
        mortal_nats.kill(signal.SIGTERM)
        backup = mortal_nats.back_up()
        mortal_nats.start()
        await until(lambda: here.order.log.level and there.order.log.level)  # type: ignore[union-attr]
        log = there.order.log
        with deaf(log, "live", "head_of_other"):
            here.say(client, [client.entry() for _ in range(3)])
            await until(lambda: len(client.acked) == 6)
            here.proxy.hold()
            mortal_nats.kill()
            await until(lambda: not log.level)
        mortal_nats.restore(backup)
        mortal_nats.start()
        late = Client("eva")
        await until(lambda: log.level)
        there.say(late, [late.entry()])
        here.proxy.let_go()
        await until(lambda: len(late.acked) == 1)
        assert there.order.epoch != old
        assert sorted(there.told[old]) == [1, 2, 3]
        assert sorted(here.told[old]) == [1, 2, 3, 4, 5, 6]
        await until(lambda: here.told.get(there.order.epoch) == there.told[there.order.epoch])  # type: ignore[union-attr]


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


async def test_who_comes_while_nats_is_away_hears_why(mortal_nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sooner than it gives up by itself, and at once where it has been away for so long."""
    monkeypatch.setattr(broker_module, "_ENTRY_S", 0.1)
    broker = NatsBroker(Cluster(Target([mortal_nats.url]), token_hex(4), patience_s=600), Retention())
    await broker.start(lambda _: None)
    try:
        mortal_nats.kill()
        await until(lambda: not broker._connection.up)
        for room in ("lobby", "other"):
            with pytest.raises(CallError, match=r"NATS cannot be used: .*; try again, or another server"):
                await broker.open(room)
            assert not broker._entry_patience_s()
        monkeypatch.setattr(broker_module, "_ENTRY_S", 60)
        mortal_nats.start()
        assert (await broker.open("lobby")).is_open()
    finally:
        await broker.close()
