"""What Prometheus is told."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from bcast_grpc.errors import ErrorCode
from bcast_grpc.transport import metrics
from bcast_grpc.v1 import chat_pb2 as pb
from tests import tokens
from tests.authority import Authority
from tests.nats_server import NatsServer, running

from .conftest import LocalDoor, Serve
from .json_peers import SocketPeer
from .peers import PATIENCE_S
from .test_slow_clients import talk_until_left

LABELS = {"part", "code", "reason"}
NAMES = re.compile(r"\bbcast_\w+")
OPERATIONS = Path(__file__).parents[2] / "docs/operations.md"


@pytest.fixture(autouse=True)
def _always_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is shown again."""
    monkeypatch.setattr(metrics, "_RESTS", 0)


async def metrics_of(doors: LocalDoor, http: aiohttp.ClientSession, accept: str = "") -> dict[str, float]:
    """Return all samples by their names, and by ``NAME{VALUE}`` where one of our labels has a value."""
    async with http.get(f"{doors.http}/metrics", headers={"Accept": accept}, ssl=doors.tls or True) as response:
        assert response.status == 200
        assert response.content_type in ("text/plain", "application/openmetrics-text")
        text = await response.text()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {_key(one): one.value for one in samples}


def _key(sample: Sample) -> str:
    return sample.name + "".join(f"{{{value}}}" for label, value in sample.labels.items() if label in LABELS)


def counted(metrics: dict[str, float], name: str) -> dict[str, float]:
    """Return what a counter with a label has counted, by the label's values; not those that are 0."""
    found = {key.partition("{")[2][:-1]: value for key, value in metrics.items() if key.startswith(f"{name}{{")}
    assert found
    return {label: value for label, value in found.items() if value}


async def until(doors: LocalDoor, http: aiohttp.ClientSession, name: str, **wanted: int) -> dict[str, float]:
    """Wait until a counter with a label has counted this, and return all metrics."""
    async with asyncio.timeout(PATIENCE_S):
        while counted(metrics := await metrics_of(doors, http), name) != wanted:
            pass
    return metrics


async def test_what_there_is_and_what_has_happened(doors: LocalDoor, http: aiohttp.ClientSession) -> None:
    """Clients and rooms now, joins and messages since the start, memory by its parts."""
    before = await metrics_of(doors, http)
    assert before["bcast_ready"] == 1
    assert before["bcast_clients"] == before["bcast_joins_total"] == before["bcast_messages_total"] == 0
    ana, bob = await doors.connect(), await doors.connect()
    await ana.say("hola")
    await ana.say("¿qué tal?")
    await bob.hear_until("¿qué tal?")
    await doors.server.publish("lobby", "from the application")
    now = await metrics_of(doors, http)
    assert (now["bcast_clients"], now["bcast_rooms"]) == (2, 1)
    assert (now["bcast_joins_total"], now["bcast_messages_total"]) == (2, 3)
    assert now["bcast_memory_bytes{histories}"] > 0
    assert now["bcast_memory_limit_bytes"] > now["bcast_memory_bytes{histories}"]
    doors.server.hub.readiness.why_not = "the store is gone"
    assert (await metrics_of(doors, http))["bcast_ready"] == 0
    doors.server.hub.readiness.why_not = ""


async def test_deliveries(doors: LocalDoor, http: aiohttp.ClientSession) -> None:
    """One for each client that gets a message, or a notice that it asked for; not for its author."""
    ana = await doors.connect("ana")
    others: list[Any] = [await doors.connect(batch="1"), await doors.browse("?events=joined"), await doors.plug()]
    for peer in others[1:]:
        await peer.say("here")
        await ana.hear()
    before = (await metrics_of(doors, http))["bcast_deliveries_total"]
    await ana.send(pb.ConnectRequest(batch=[pb.ConnectRequest(msg=f"{n}", id=f"{n}") for n in range(100)]))
    await ana.answer("99")
    assert (await metrics_of(doors, http))["bcast_deliveries_total"] == before + 300
    bob = await doors.connect("bob", history="40")
    await bob.hear_some(40)
    await others[1].hear_until("bob joined")
    assert (await metrics_of(doors, http))["bcast_deliveries_total"] == before + 341


async def test_errors_are_counted_at_every_door(serve: Serve, http: aiohttp.ClientSession) -> None:
    """Those that clients are told: calls refused, and requests answered with one; each once."""
    doors = await serve(http_port=0, tcp_port=0, max_clients=3)
    peers: list[Any] = [await doors.connect(), await doors.browse(), await doors.plug()]
    for peer in peers:
        await peer.say("")
        await peer.hear()
    await doors.publish_in_vain("")
    assert counted(await metrics_of(doors, http), "bcast_errors_total") == {"EMPTY_MESSAGE": 4}
    plugged = await SocketPeer.connect(doors.server.tcp_port, doors.tls)
    refused: list[Any] = [doors.open(), doors.open_reader(), await doors.browse(), plugged]
    for peer in refused:
        await peer.end()
    await plugged.close()
    assert counted(await metrics_of(doors, http), "bcast_errors_total") == {"EMPTY_MESSAGE": 4, "SERVER_FULL": 4}
    invalid: list[Any] = [doors.open(history="x"), doors.open_reader(history="x"), await doors.browse("?history=x")]
    for peer in invalid:
        await peer.end()
    await doors.publish_in_vain("hola", pairs=[("bcast-history", "x")])
    now = await metrics_of(doors, http)
    assert counted(now, "bcast_errors_total") == {"EMPTY_MESSAGE": 4, "SERVER_FULL": 4, "METADATA_INVALID": 4}
    assert (now["bcast_joins_total"], counted(now, "bcast_streams_ended_total")) == (3, {})


async def test_a_wrong_token_is_counted_at_every_door(
    serve: Serve, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Also where it comes as the first request."""
    doors = await serve(token_keys=(str(tokens.key_file(tmp_path)),), http_port=0, tcp_port=0)
    grpc = doors.open(pairs=[("authorization", "Bearer wrong")])
    assert (await grpc.end()).reason == "UNAUTHENTICATED"
    peers: list[Any] = [await doors.browse(), await doors.plug()]
    for peer in peers:
        await peer.send({"operacion": "auth", "msg": "wrong"})
        await peer.end()
    assert counted(await metrics_of(doors, http), "bcast_errors_total") == {"UNAUTHENTICATED": 3}


@pytest.mark.grpc_engine("native", reason="grpcio says of a call that was cancelled at first that it was half-closed")
async def test_how_streams_end(doors: LocalDoor, http: aiohttp.ClientSession) -> None:
    """With a goodbye, without one, or with an error, which is counted there alone. Who has not ended is there."""
    ended = "bcast_streams_ended_total"
    grpc, web, tcp = await doors.connect(), await doors.browse(), await doors.plug()
    await grpc.half_close()
    await grpc.end()
    for peer in (web, tcp):
        await peer.send({"operacion": "leave"})
        await peer.end()
    await until(doors, http, ended, LEFT=3)
    grpc, web, tcp = await doors.connect(), await doors.browse(), await doors.plug()
    await tcp.say("hola")
    await web.hear()
    grpc.cancel()
    await web.close()
    tcp.reset()
    await until(doors, http, ended, LEFT=3, LOST=3)
    early, _ = await doors.connect(client="c"), await doors.connect(client="c")
    assert (await early.end()).reason == "REPLACED"
    broken = await doors.plug()
    await broken.write(b"this is no JSON")
    await broken.end()
    now = await until(doors, http, ended, LEFT=3, LOST=3, REPLACED=1, MALFORMED=1)
    assert counted(now, "bcast_errors_total") == {}
    assert now["bcast_joins_total"] - sum(counted(now, ended).values()) == now["bcast_clients"] == 1
    await doors.server.drain()
    assert doors.server.hub.counts.ended["SHUTTING_DOWN"] == 1


async def test_streams_that_a_token_ends(serve: Serve, http: aiohttp.ClientSession, tmp_path: Path) -> None:
    """When it has expired."""
    doors = await serve(token_keys=(str(tokens.key_file(tmp_path)),), http_port=0)
    token = tokens.token(expires_s=2)
    ana = await doors.open(pairs=[("authorization", f"Bearer {token}")]).arrive()
    assert (await ana.end()).reason == "TOKEN_EXPIRED"
    await until(doors, http, "bcast_streams_ended_total", TOKEN_EXPIRED=1)


async def test_slow_clients_that_are_disconnected(serve: Serve, http: aiohttp.ClientSession) -> None:
    """Each once."""
    doors = await serve(http_port=0, queue_messages=50)
    ana, slow = await doors.connect(), await doors.connect("slow")
    await talk_until_left(ana, "slow", 10_000)
    assert (await slow.end()).reason == "SLOW_CONSUMER"
    now = await until(doors, http, "bcast_streams_ended_total", SLOW_CONSUMER=1)
    assert now["bcast_slow_clients_total"] == 1


async def test_what_slow_clients_miss(serve: Serve, http: aiohttp.ClientSession) -> None:
    """As many gaps as they are told, about as many messages."""
    doors = await serve(http_port=0, queue_messages=50, slow_policy="drop")
    ana, slow = await doors.connect(), await doors.connect("slow")
    sent = 0
    while not doors.server.hub.counts.slow:
        await ana.say(data=bytes(10_000), id=f"{sent}")
        await ana.answer(f"{sent}")
        sent += 1
    await ana.say("the end")
    events = await slow.hear_until("the end")
    gaps = [event.gap for event in events if event.kind == pb.EVENT_KIND_GAP]
    now = await metrics_of(doors, http)
    assert counted(now, "bcast_gaps_total") == {"SLOW": len(gaps)}
    missed = sum(gap.last_missed - gap.first_missed + 1 for gap in gaps)
    assert counted(now, "bcast_missed_messages_total") == {"SLOW": missed}
    assert now["bcast_slow_clients_total"] == 1


async def test_what_those_who_come_back_miss(serve: Serve, http: aiohttp.ClientSession) -> None:
    """Messages that are not kept any more; how many it was of another epoch, nobody knows."""
    doors = await serve(http_port=0, history_messages=5)
    ana = await doors.connect()
    for number in range(10):
        await ana.say("hola", id=f"{number}")
        await ana.answer(f"{number}")
    await (await doors.connect(after=f"{ana.epoch}:1")).hear()
    await (await doors.connect(after="another:7")).hear()
    now = await metrics_of(doors, http)
    assert counted(now, "bcast_gaps_total") == {"TRIMMED": 1, "NEW_EPOCH": 1}
    assert counted(now, "bcast_missed_messages_total") == {"TRIMMED": 4}


async def test_clients_without_a_token_are_counted_here_alone(
    serve: Serve, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Until they have presented one, or are gone."""
    doors = await serve(token_keys=(str(tokens.key_file(tmp_path)),), http_port=0, tcp_port=0)
    peers: list[Any] = [await doors.browse(), await doors.plug()]

    async def waiting(count: int) -> bool:
        found = await metrics_of(doors, http)
        assert found["bcast_clients"] == 0
        return found["bcast_clients_without_token"] == count

    while not await waiting(2):
        pass
    for peer in peers:
        await peer.close()
    while not await waiting(0):
        pass


async def test_when_the_certificate_expires(serve: Serve, http: aiohttp.ClientSession, authority: Authority) -> None:
    """In seconds since 1970, so that an alarm can be set."""
    doors = (await serve(**authority.sign("server").settings, http_port=0)).trust(authority)
    certificates = doors.server._certificates
    assert certificates
    expires = certificates.loaded.expires.timestamp()
    assert (await metrics_of(doors, http))["bcast_certificate_expiry_timestamp_seconds"] == expires


async def test_both_formats(doors: LocalDoor, http: aiohttp.ClientSession) -> None:
    """The plain one, and OpenMetrics for who prefers it."""
    for accept, type_ in (
        ("", "text/plain"),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text"),
    ):
        async with http.get(f"{doors.http}/metrics", headers={"Accept": accept}) as response:
            assert response.content_type == type_
            assert "bcast_clients" in await response.text()


async def test_the_page_lists_all(
    serve: Serve, http: aiohttp.ClientSession, tmp_path: Path, shared_nats: NatsServer
) -> None:
    """What docs/operations.md names is there, with one store or another, and nothing else; its rules name no other."""
    section = OPERATIONS.read_text().partition("## Metrics")[2].partition("\n## ")[0]
    table, _, rules = section.partition("### Alarms")
    named = set(NAMES.findall(table))
    found = []
    for store in ("memory:", f"sqlite:{tmp_path / 'chat.db'}", shared_nats.url):
        told = await metrics_of(await serve(store=store, cluster=token_hex(4), http_port=0), http)
        found.append({name.partition("{")[0] for name in told if name.startswith("bcast_")})
    memory, sqlite, nats = found
    assert sqlite - memory == {"bcast_store_messages_waiting"}
    assert sqlite < nats
    elsewhere = {"bcast_certificate_expiry_timestamp_seconds", "bcast_worker_up"}  # with TLS, and with workers
    assert nats - elsewhere == named - elsewhere
    assert set(NAMES.findall(rules)) <= named
    codes = "|".join(re.findall(r'=~"([A-Z_|]+)"', rules)).split("|")
    assert set(codes) <= set(ErrorCode.__members__)


async def test_how_it_is_with_nats(
    serve: Serve, http: aiohttp.ClientSession, tmp_path: Path, nats_program: Path
) -> None:
    """Whether it is there, what it stores, what waits for it, and who else is."""
    with running(nats_program, tmp_path) as nats:
        here, _ = [await serve(store=nats.url, http_port=0) for _ in range(2)]

        async def until(true: Callable[[dict[str, float]], bool]) -> dict[str, float]:
            async with asyncio.timeout(PATIENCE_S):
                while not true(found := await metrics_of(here, http)):
                    pass
            return found

        ana = await here.connect()
        await ana.say("hola", id="1")
        await ana.answer("1")
        at_first = await until(lambda now: now["bcast_other_servers"] == 1)
        stored = at_first["bcast_nats_records_total"]
        assert stored > 0
        assert (at_first["bcast_nats_connected"], at_first["bcast_nats_unanswered_total"]) == (1, 0)
        assert at_first["bcast_store_messages_waiting"] == 0
        nats.freeze()
        await ana.say("¿qué tal?", id="2")
        frozen = await until(lambda now: now["bcast_nats_unanswered_total"] > 0)
        assert (frozen["bcast_store_messages_waiting"], frozen["bcast_nats_records_total"]) == (1, stored)
        nats.thaw()
        await ana.answer("2")
        nats.kill()
        await until(lambda now: not now["bcast_nats_connected"])
        await ana.say("¿hay alguien?", id="3")
        await until(lambda now: now["bcast_store_messages_waiting"] == 1)
        nats.start()
        await ana.answer("3")
        again = await metrics_of(here, http)
        assert (again["bcast_nats_connected"], again["bcast_store_messages_waiting"]) == (1, 0)
        assert again["bcast_nats_records_total"] > stored


async def test_who_asks_often_is_told_the_same(
    doors: LocalDoor, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To count the files of thousands of connections takes long."""
    monkeypatch.setattr(metrics, "_RESTS", 1e9)
    assert (await metrics_of(doors, http))["bcast_clients"] == 0
    await doors.connect()
    assert (await metrics_of(doors, http))["bcast_clients"] == 0


async def test_whatever_is_asked_for_is_one_of_the_two(doors: LocalDoor, http: aiohttp.ClientSession) -> None:
    """A strange ``Accept`` is no fault of the server, and makes it keep nothing more."""
    kinds = set()
    for version in ("abc", "99.0", "1.1.1.1.1", "", "0.0.1;escaping=evil"):
        for accept in (f"application/openmetrics-text;version={version}", f"text/plain;version={version}", version):
            async with http.get(f"{doors.http}/metrics", headers={"Accept": accept}) as response:
                assert response.status == 200
                kinds.add(response.headers["Content-Type"])
    assert len(kinds) == 2
