"""NATS servers that are parted from each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from nats.aio.client import Srv

from bcast_grpc.broker.base import CannotOpen
from bcast_grpc.broker.nats.broker import NatsBroker
from bcast_grpc.broker.nats.cluster import Cluster as Settings
from bcast_grpc.broker.nats.connection.target import Target
from bcast_grpc.broker.nats.jetstream import silence
from bcast_grpc.broker.nats.jetstream.silence import Silence
from bcast_grpc.events import Author, Entry
from tests.integration.peers import START_S
from tests.nats_server import NatsServer
from tests.promises.cluster import NAME, Cluster

from .servers import KEEPING, until

_AUTHOR = Author("session", "ana", "ana")


@pytest.fixture
async def nats(nats_program: Path, tmp_path: Path) -> AsyncIterator[Cluster]:
    """Three of them, for one server."""
    cluster = Cluster(tmp_path, 1, 3)
    await cluster.start()
    yield cluster
    await cluster.end()


@pytest.mark.parametrize("how", ["refuse", "stall"])
async def test_a_server_leaves_a_nats_server_that_is_parted_from_the_others(nats: Cluster, how: str) -> None:
    """The connection to it is there, but nothing gets into the log; meanwhile the server is not ready."""
    said: list[str] = []
    servers = [f"nats://{cable.address}" for cable in nats.links[0]]
    broker = NatsBroker(Settings(Target(servers), NAME, replicas=3, patience_s=4), KEEPING)
    await broker.start(said.append)
    try:
        order = await broker.open("lobby")
        order.begin(lambda _: None, lambda _: None)
        (parted,) = [node for node in nats.nodes if _is_used(node)]
        for cable in nats.around(parted):
            getattr(cable, how)()
        order.submit([Entry(_AUTHOR, "hola", b"", "1")])
        await until(lambda: bool(said) and not said[-1])
        assert "the log has not answered for 4 s" in said[0]
        assert not _is_used(parted)
        before = order.head
        order.submit([Entry(_AUTHOR, "hola", b"", "2")])
        await until(lambda: order.head > before)
    finally:
        await broker.close()


async def test_a_server_that_starts_leaves_such_a_nats_server_too(
    nats: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the first that is tried, cannot say anything of the log, and chance would choose it again."""
    assert await _start_and_end(nats.nodes)  # NATS makes no stream for three where one is away
    parted, *others = nats.nodes

    def shuffle(pool: list[Srv]) -> None:
        pool.sort(key=lambda server: server.uri.port != parted.port)

    for cable in nats.around(parted):
        cable.refuse()
    async with asyncio.timeout(START_S):
        while not await _start_and_end(others):  # until these have a leader
            pass
    monkeypatch.setattr("bcast_grpc.broker.nats.connection.servers.shuffle", shuffle)
    broker = _broker(nats.nodes)
    await broker.start(lambda _: None)
    assert not _is_used(parted)
    await broker.close()


def _broker(nodes: Sequence[NatsServer]) -> NatsBroker:
    return NatsBroker(Settings(Target([node.url for node in nodes]), NAME, replicas=3), KEEPING)


async def _start_and_end(nodes: Sequence[NatsServer]) -> bool:
    broker = _broker(nodes)
    try:
        await broker.start(lambda _: None)
    except CannotOpen:
        return False
    await broker.close()
    return True


def _is_used(node: NatsServer) -> bool:
    return any(one["name"] == "bcast_grpc" for one in node.tells("connz").get("connections", []))


def test_requests_that_failed_long_ago_tell_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quiet room asks for little; and an answer ends the silence."""
    now = 100.0
    monkeypatch.setattr(silence, "monotonic", lambda: now)
    found = Silence()
    assert not found.seconds
    found.failed(2)
    now += 4
    found.failed(2)
    assert found.seconds == 6
    found.broken()
    assert not found.seconds
    found.failed(2)
    now += 60
    found.failed(2)
    assert found.seconds == 2
