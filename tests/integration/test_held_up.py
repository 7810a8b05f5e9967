"""Whoever publishes more than the server can do is held up, and nothing grows without bound meanwhile."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bcast_grpc.broker.sqlite.writer import Writer
from bcast_grpc.transport import publishing
from bcast_grpc.v1 import chat_pb2 as pb

from .conftest import Serve
from .peers import eventually, within

KIB = 1024
MIB = 1024 * KIB


class Disk:
    """What the store's thread waits for before it writes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ready = threading.Event()
        commit = Writer._commit

        def wait_and_commit(writer: Writer, publishes: Any) -> Any:
            self.ready.wait(60)
            return commit(writer, publishes)

        monkeypatch.setattr(Writer, "_commit", wait_and_commit)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """A disk that does nothing until it is told to."""
    return Disk(monkeypatch)


async def test_publishes_wait_while_the_store_is_behind(serve: Serve, tmp_path: Path, disk: Disk) -> None:
    """As streams do: what waits for the store is bounded, what waits for that is too, and the rest is refused."""
    door = await serve(store=f"sqlite:{tmp_path / 'store'}")
    budget = door.server.hub.capacity.budget
    stub = door.stub()
    calls = [stub.Publish(pb.PublishRequest(data=bytes(60 * KIB)), wait_for_ready=True) for _ in range(800)]
    codes = [asyncio.ensure_future(call.code()) for call in calls]
    await eventually(lambda: sum(code.done() for code in codes) > 200)
    assert 15 * MIB < budget.waiting < 16 * MIB + 64 * KIB
    assert {code.result() for code in codes if code.done()} == {StatusCode.RESOURCE_EXHAUSTED}
    disk.ready.set()
    results = await within(asyncio.gather(*codes))
    assert set(results) == {StatusCode.OK, StatusCode.RESOURCE_EXHAUSTED}
    assert results.count(StatusCode.OK) >= 2 * 16 * MIB // (60 * KIB) - 2
    assert budget.waiting == 0


async def test_a_publish_does_not_wait_for_ever(
    serve: Serve, tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets an error: it was not sent."""
    monkeypatch.setattr(publishing, "PATIENCE_S", 0.2)
    door = await serve(store=f"sqlite:{tmp_path / 'store'}")
    ana = await door.connect()

    async def flood() -> None:
        for _ in range(300):  # more than are read while the store is behind
            await ana.say(data=bytes(60 * KIB))

    flooding = asyncio.create_task(flood())
    await eventually(lambda: door.server.hub.capacity.budget.waiting >= 16 * MIB)
    ending = await door.publish_in_vain("hola")
    assert (ending.code, ending.reason, ending.retryable) == (StatusCode.UNAVAILABLE, "BROKER_UNAVAILABLE", True)
    disk.ready.set()
    await within(flooding)


async def test_many_streams_do_not_each_add_a_frame(serve: Serve, tmp_path: Path, disk: Disk) -> None:
    """A stream looks before its first message whether there is enough to do, not only after it."""
    door = await serve(store=f"sqlite:{tmp_path / 'store'}")
    peers = [await door.connect() for _ in range(12)]
    frame = pb.ConnectRequest(batch=[pb.ConnectRequest(data=bytes(60 * KIB)) for _ in range(60)])
    for peer in peers:
        await peer.send(frame)
    await eventually(lambda: door.server.hub.capacity.budget.waiting >= 16 * MIB)
    health: Any = health_pb2_grpc.HealthStub(door.channel())
    for _ in range(20):  # each time the server had the time to read more
        await within(health.Check(health_pb2.HealthCheckRequest()))
        assert door.server.hub.capacity.budget.waiting <= 20 * MIB
    disk.ready.set()
    await peers[0].ask("who", id="1")
    assert (await peers[0].answer("1")).kind == pb.EVENT_KIND_MEMBERS
