"""What Prometheus is told by a server of several processes: whichever answers, it is the same."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterable

import aiohttp
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from .conftest import ServerProcess, Spawn
from .peers import within
from .test_hanging import IMPATIENT, log_until
from .test_workers import fill, first_worker

pytestmark = pytest.mark.usefixtures("nats_in_path")

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


async def url_of(server: ServerProcess) -> str:
    """Read on which URL it answers HTTP."""
    assert server.process.stdout
    return (await within(server.process.stdout.readline())).decode().split()[-1]


async def metrics_of(url: str, accept: str = "") -> list[Metric]:
    """Ask over a new connection, which any worker may get."""
    async with aiohttp.ClientSession() as http, http.get(f"{url}/metrics", headers={"Accept": accept}) as response:
        assert response.status == 200
        read = read_openmetrics if accept else read_text
        return list(read(await response.text()))


def values(metrics: Iterable[Metric], name: str) -> dict[str, float]:
    """Return what a metric is for each worker."""
    samples = [one for metric in metrics for one in metric.samples if one.name == name]
    found = {one.labels["worker"]: one.value for one in samples}
    assert len(found) == len(samples), f"{name} is there twice"
    return found


@pytest.mark.parametrize("accept", ["", OPENMETRICS], ids=["text", "openmetrics"])
async def test_whichever_answers_tells_of_all(spawn: Spawn, accept: str) -> None:
    """Each sample says whose it is; the sums are the server's."""
    server = await spawn("--workers", "2", "--http-port", "0")
    url, clients = await url_of(server), len(await fill(server))
    for _ in range(20):  # so that both workers answer some: all but once in half a million times
        metrics = await metrics_of(url, accept)
        while not all(values(metrics, "bcast_worker_up").values()):  # on a busy machine one may not answer in time
            metrics = await metrics_of(url, accept)
        names = [metric.name for metric in metrics]
        assert len(names) == len(set(names))
        assert all("worker" in sample.labels for metric in metrics for sample in metric.samples)
        assert values(metrics, "bcast_worker_up") == values(metrics, "bcast_ready") == {"1": 1, "2": 1}
        joined = values(metrics, "bcast_joins_total")
        assert sum(joined.values()) == sum(values(metrics, "bcast_clients").values()) == clients
        assert all(joined.values())


async def test_a_worker_that_hangs(spawn: Spawn) -> None:
    """It is told that it does not answer, and what the others do; until it is replaced."""
    server = await spawn("--workers", "2", "--http-port", "0", program=IMPATIENT)
    url = await url_of(server)
    await fill(server)
    os.kill(first_worker(server), signal.SIGSTOP)
    asking = [asyncio.create_task(metrics_of(url)) for _ in range(20)]  # those that it would answer wait
    told, waiting = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    metrics = told.pop().result()
    assert values(metrics, "bcast_worker_up") == {"1": 0, "2": 1}
    assert list(values(metrics, "bcast_clients")) == ["2"]
    await log_until(server, "worker 1 serves again")
    assert values(await metrics_of(url), "bcast_worker_up") == {"1": 1, "2": 1}
