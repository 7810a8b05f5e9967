"""What Prometheus is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bcast_grpc.transport import metrics
from tests import tokens
from tests.authority import Authority

from .conftest import LocalDoor, Serve

OPERATIONS = Path(__file__).parents[2] / "docs/operations.md"


@pytest.fixture(autouse=True)
def _always_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is shown again."""
    monkeypatch.setattr(metrics, "_RESTS", 0)


async def metrics_of(doors: LocalDoor, http: aiohttp.ClientSession, accept: str = "") -> dict[str, float]:
    """Return all samples by their names, and by ``NAME{part}`` where there are parts."""
    async with http.get(f"{doors.http}/metrics", headers={"Accept": accept}, ssl=doors.tls or True) as response:
        assert response.status == 200
        assert response.content_type in ("text/plain", "application/openmetrics-text")
        text = await response.text()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {one.name + (f"{{{one.labels['part']}}}" if "part" in one.labels else ""): one.value for one in samples}


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


async def test_the_page_lists_all(doors: LocalDoor, http: aiohttp.ClientSession) -> None:
    """What docs/operations.md names is there, and nothing else of ours."""
    section = OPERATIONS.read_text().partition("## Metrics")[2].partition("\n## ")[0]
    named = {
        word.partition("{")[0]
        for word in section.replace(",", " ").replace("`", " ").split()
        if word.startswith("bcast_")
    }
    found = {name.partition("{")[0] for name in await metrics_of(doors, http) if name.startswith("bcast_")}
    elsewhere = {"bcast_certificate_expiry_timestamp_seconds", "bcast_worker_up"}  # with TLS, and with workers
    assert found - elsewhere == named - elsewhere


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
