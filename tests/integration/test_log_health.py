"""What becomes of the log under running servers shows in health and in the log, once, and what can heal does."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any

import aiohttp
import nats
import pytest

from bcast_grpc.broker.nats.jetstream import health
from bcast_grpc.broker.nats.jetstream.clocks import Clocks
from bcast_grpc.v1 import chat_pb2 as pb
from tests import nats_server
from tests.nats_server import NatsServer

from .conftest import LocalDoor, Serve
from .peers import eventually, within

pytestmark = pytest.mark.one_engine


@pytest.fixture(autouse=True)
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Servers look at the stream often; each look is noted."""
    monkeypatch.setattr(health, "_EVERY_S", 0.1)
    looked: list[str] = []
    look = health.StreamHealth._look

    async def note(self: health.StreamHealth, configuration: Mapping[str, Any]) -> str:
        looked.append(why := await look(self, configuration))
        return why

    monkeypatch.setattr(health.StreamHealth, "_look", note)
    return looked


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[str], list[str]]:
    """The lines of the log with a text."""
    caplog.set_level(logging.INFO)
    return lambda text: [line for record in caplog.records if text in (line := record.getMessage())]


@pytest.fixture
def cluster() -> str:
    """The name of a cluster of its own."""
    return token_hex(4)


async def ask(server: NatsServer, api: str, cluster: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Ask JetStream."""
    client = await nats.connect(server.url)
    answer = await client.request(
        f"$JS.API.STREAM.{api}.BCAST_{cluster}", json.dumps(body).encode() if body else b"", timeout=10
    )
    await client.close()
    told: dict[str, Any] = json.loads(answer.data)
    assert "error" not in told
    return told


async def readyz(door: LocalDoor) -> tuple[int, str]:
    """What the server says of its health over HTTP."""
    async with aiohttp.ClientSession() as session, session.get(f"{door.http}/readyz") as answer:
        return answer.status, (await answer.text()).strip()


async def test_a_stream_that_is_deleted_is_made_again(
    serve: Serve, shared_nats: NatsServer, cluster: str, lines: Callable[[str], list[str]]
) -> None:
    """Its messages are gone: clients get a new epoch, and what they say from then on."""
    here, there = [await serve(store=shared_nats.url, cluster=cluster) for _ in range(2)]
    ana, bob = await here.connect("ana"), await there.connect("bob")
    await ana.say("before", id="1")
    await ana.answer("1")
    assert (await bob.hear()).message == "ana: before"
    await ask(shared_nats, "DELETE", cluster)
    await eventually(lambda: bool(lines("was gone, with all messages in it, and has been made again")))
    await ana.say("after", id="2")
    ack = (await ana.answer("2")).ack
    assert (ack.seq, ack.epoch != ana.epoch) == (1, True)
    gap, after = await bob.hear_some(2)
    assert (gap.gap.reason, after.message) == (pb.GAP_REASON_NEW_EPOCH, "ana: after")
    await eventually(lambda: not here.server.hub.readiness.why_not and not there.server.hub.readiness.why_not)


async def test_where_it_may_not_be_made_health_says_so(
    serve: Serve, shared_nats: NatsServer, cluster: str, lines: Callable[[str], list[str]], looks: list[str]
) -> None:
    """Until somebody makes it."""
    maker = await serve(store=shared_nats.url, cluster=cluster)
    configuration = (await ask(shared_nats, "INFO", cluster))["config"]
    await maker.server.stop()
    door = await serve(store=shared_nats.url, cluster=cluster, store_create="no", http_port=0)
    assert (await readyz(door))[0] == 200
    await ask(shared_nats, "DELETE", cluster)
    await eventually(lambda: bool(door.server.hub.readiness.why_not))
    why = f"the stream BCAST_{cluster} does not exist; make it, or restore a copy"
    assert await readyz(door) == (503, why)
    await eventually(lambda: looks.count(why) >= 5)
    assert lines(why) == [why]
    await ask(shared_nats, "CREATE", cluster, configuration)
    await eventually(lambda: not door.server.hub.readiness.why_not)
    assert len(lines("the log in NATS can be used again")) == 1


async def test_a_stream_that_is_purged(serve: Serve, shared_nats: NatsServer, cluster: str) -> None:
    """A new epoch begins with the next message, and health is well all the time."""
    door = await serve(store=shared_nats.url, cluster=cluster)
    ana, bob = await door.connect("ana"), await door.connect("bob")
    await ana.say("before", id="1")
    await ana.answer("1")
    await bob.hear()
    await ask(shared_nats, "PURGE", cluster)
    await ana.say("after", id="2")
    assert (await ana.answer("2")).ack.epoch != ana.epoch
    gap, after = await bob.hear_some(2)
    assert (gap.gap.reason, after.message) == (pb.GAP_REASON_NEW_EPOCH, "ana: after")
    assert not door.server.hub.readiness.why_not


async def test_a_configuration_that_is_changed_underneath(
    serve: Serve, shared_nats: NatsServer, cluster: str, lines: Callable[[str], list[str]]
) -> None:
    """Health names the setting, until it is as before."""
    door = await serve(store=shared_nats.url, cluster=cluster)
    configuration = (await ask(shared_nats, "INFO", cluster))["config"]
    await ask(shared_nats, "UPDATE", cluster, configuration | {"discard": "new", "max_bytes": 1 << 30})
    why = f'the stream BCAST_{cluster} has other settings than it must have: discard is "new", not "old"'
    await eventually(lambda: door.server.hub.readiness.why_not == why)
    await ask(shared_nats, "UPDATE", cluster, configuration)
    await eventually(lambda: not door.server.hub.readiness.why_not)
    assert len(lines(why)) == 1


async def test_replicas_that_go_away(
    serve: Serve, nats_program: Path, tmp_path: Path, cluster: str, lines: Callable[[str], list[str]]
) -> None:
    """One of three is told of, and the server goes on; without two it is not ready, and says why."""
    async with nats_server.cluster(nats_program, tmp_path) as nodes:
        door = await serve(store=nodes[0].url, cluster=cluster, store_replicas=3)
        ana = await door.connect("ana")
        nodes[1].kill()
        await eventually(lambda: bool(lines("NATS servers that keep the log are away: n1")), patience_s=60)
        await ana.say("two of three", id="1")
        assert (await ana.answer("1")).ack.seq == 1
        await eventually(lambda: not door.server.hub.readiness.why_not)
        nodes[2].kill()
        await eventually(lambda: bool(door.server.hub.readiness.why_not), patience_s=60)
        for node in nodes[1:]:
            node.start()
        await eventually(lambda: not door.server.hub.readiness.why_not, patience_s=60)
        await within(ana.say("three", id="2"))
        assert (await ana.answer("2")).ack.seq == 2
        await eventually(lambda: bool(lines("all NATS servers that keep the log are there")), patience_s=60)


@pytest.mark.parametrize(("ahead_s", "says"), [(7200, "7200 s ahead of NATS's"), (-7200, "7200 s behind NATS's")])
async def test_a_clock_that_is_wrong(
    serve: Serve,
    shared_nats: NatsServer,
    cluster: str,
    lines: Callable[[str], list[str]],
    looks: list[str],
    monkeypatch: pytest.MonkeyPatch,
    ahead_s: float,
    says: str,
) -> None:
    """The log says it once, and that it is right again; the server serves all the same."""
    door = await serve(store=shared_nats.url, cluster=cluster, http_port=0)
    monkeypatch.setattr(health, "time", lambda: time.time() + ahead_s)
    await eventually(lambda: bool(lines(says)))
    looks.clear()
    await eventually(lambda: len(looks) > 1)
    assert (await readyz(door))[0] == 200
    monkeypatch.setattr(health, "time", time.time)
    await eventually(lambda: bool(lines("this machine's clock and NATS's agree again")))
    assert len(lines("this machine's clock")) == 2


def test_a_clock_is_not_wrong_by_what_an_answer_takes(caplog: pytest.LogCaptureFixture) -> None:
    """NATS has told its time somewhere between."""
    clocks = Clocks()
    clocks.compare(1000, "1970-01-01T00:16:45.123456789Z", 1010)
    clocks.compare(1000, "1970-01-01T00:16:45Z", 1000)
    assert not caplog.records
    clocks.compare(1000, "1970-01-01T00:16:46Z", 1000)
    clocks.compare(1000, "1970-01-01T00:16:44Z", 1000)
    assert len(caplog.records) == 1, "it is not told again where it is about as wrong as must be told"
