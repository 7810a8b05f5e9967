"""What the server tells Prometheus. Everything is looked up when it is asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, exposition
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from bcast_grpc.errors import ErrorCode
from bcast_grpc.events import GapReason
from bcast_grpc.transport.door import Shared

_RESTS = 20
"""What was rendered is shown again for so many times as long as it took: with many connections that may be 20 ms."""

_OPENMETRICS = openmetrics.CONTENT_TYPE_LATEST
_ENCODERS: dict[str, Callable[[CollectorRegistry], bytes]] = {
    "text/plain; version=0.0.4; charset=utf-8": exposition.generate_latest,
    _OPENMETRICS: openmetrics.generate_latest,
}
_TEXT = next(iter(_ENCODERS))

_PARTS = ("histories", "ids", "rooms", "waiting", "queues", "unfinished")


class Siblings(Protocol):
    """The other processes of one server, each with metrics of its own."""

    @property
    def number(self) -> int:
        """Which of all these processes this one is, from 1."""

    def show(self, answer: Callable[[str], str], /) -> None:
        """From now on, answer their questions with what this returns."""

    async def ask(self, question: str, /) -> Mapping[int, str | None]:
        """Return their answers by their numbers; None for one that does not answer."""


class Metrics(Collector):
    """The metrics of one server, and of its process.

    Args:
        shared: what is counted.
        siblings: the other processes of the server, if there are any. Each sample then says whose it is.
    """

    def __init__(self, shared: Shared, siblings: Siblings | None = None) -> None:
        self._shared = shared
        self._siblings = siblings
        self._shown: dict[str, tuple[float, str]] = {}  # by one of the two content types
        self._gathering: dict[str, asyncio.Task[str]] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        if siblings:
            siblings.show(self._render)

    async def render(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics, and their content type: OpenMetrics if the ``Accept`` header names it, else plain text.

        prometheus-client's own choice fails on versions that are no numbers, and repeats any that are.
        """
        content_type = _OPENMETRICS if "application/openmetrics-text" in accept else _TEXT
        text = await self._gather(content_type) if self._siblings else self._render(content_type)
        return text.encode(), content_type

    def _render(self, content_type: str) -> str:
        """Return those of this process."""
        began = time.monotonic()
        until, text = self._shown.get(content_type, (0.0, ""))
        if began >= until:
            everything: Iterable[Metric] = self._registry.collect()
            if self._siblings:
                everything = (_of_process(self._siblings.number, metric) for metric in everything)
            text = _encode(content_type, everything)
            now = time.monotonic()
            self._shown[content_type] = now + _RESTS * (now - began), text
        return text

    async def _gather(self, content_type: str) -> str:
        """Return those of all processes. Whoever comes while they are gathered waits for the same."""
        if not (task := self._gathering.get(content_type)):
            task = self._gathering[content_type] = asyncio.create_task(self._gather_now(content_type))
            task.add_done_callback(lambda _: self._gathering.pop(content_type))
        return await asyncio.shield(task)

    async def _gather_now(self, content_type: str) -> str:
        assert self._siblings
        texts = dict(await self._siblings.ask(content_type))
        texts[self._siblings.number] = self._render(content_type)
        up = GaugeMetricFamily("bcast_worker_up", "Whether a worker serves clients, and answers.", labels=["worker"])
        for number in sorted(texts):
            up.add_metric([f"{number}"], texts[number] is not None)
        return _merge([_encode(content_type, [up]), *(text for _, text in sorted(texts.items()) if text)])

    def collect(self) -> Iterator[Metric]:
        """Yield the server's own metrics."""
        hub, certificates = self._shared.hub, self._shared.certificates
        counts, budget = hub.counts, hub.capacity.budget
        is_ready = not hub.readiness.why_not
        yield _gauge("ready", "Whether the server serves clients, as /readyz says.", is_ready)
        yield _gauge("clients", "Clients that are connected.", hub.clients)
        yield _gauge("rooms", "Rooms that are open.", len(hub.rooms))
        yield _gauge("clients_without_token", "Clients that have yet to present a token.", counts.presenting)
        yield _gauge("calls_waiting", "gRPC calls that wait to be let in.", hub.capacity.calls_waiting)
        yield CounterMetricFamily("bcast_joins", "Clients that have come into a room.", counts.joined)
        yield _counter("streams_ended", "Streams of those that have ended, by how.", "reason", counts.ended)
        yield CounterMetricFamily("bcast_messages", "Messages that were handed in.", counts.messages)
        yield CounterMetricFamily("bcast_deliveries", "Messages and notices, for each client.", counts.delivered)
        yield _counter("errors", "Calls refused, and requests answered with an error.", "code", _named(counts.errors))
        yield CounterMetricFamily("bcast_slow_clients", "Times that a client was too slow for its queue.", counts.slow)
        yield _counter("gaps", "Gaps that clients were told.", "reason", _named(counts.gaps))
        yield _counter("missed_messages", "Messages that those were about.", "reason", _named(counts.missed))
        parts = GaugeMetricFamily("bcast_memory_bytes", "Memory that counts against max-memory.", labels=["part"])
        for part in _PARTS:
            parts.add_metric([part], getattr(budget, part))
        yield parts
        yield _gauge("memory_limit_bytes", "The bound of that at the moment.", budget.bound)
        for name, what, value, rises in hub.figures():
            yield (CounterMetricFamily if rises else GaugeMetricFamily)(f"bcast_{name}", what, value)
        if certificates:
            expires = certificates.loaded.expires.timestamp()
            yield _gauge("certificate_expiry_timestamp_seconds", "When the TLS certificate expires.", expires)


class _Collected(CollectorRegistry):
    """What has been collected already."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        super().__init__()
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics


def _encode(content_type: str, metrics: Iterable[Metric]) -> str:
    return _ENCODERS[content_type](_Collected(metrics)).decode()


def _of_process(number: int, metric: Metric) -> Metric:
    metric.samples = [one._replace(labels={"worker": f"{number}", **one.labels}) for one in metric.samples]
    return metric


def _merge(texts: Iterable[str]) -> str:
    """Return several texts as one: the samples of a metric stand together, as Prometheus wants it."""
    families: dict[str, list[str]] = {}
    ends: list[str] = []
    for text in texts:
        family: list[str] = []
        for line in text.removesuffix("\n").split("\n"):
            if line.startswith("# HELP "):
                family = families.setdefault(line, [line])
            elif line == "# EOF":
                ends = [line]
            elif not line.startswith("#") or line not in family:
                family.append(line)
    return "\n".join([line for family in [*families.values(), ends] for line in family]) + "\n"


def _gauge(name: str, help_: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"bcast_{name}", help_, value)


def _counter(name: str, help_: str, label: str, values: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"bcast_{name}", help_, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family


def _named(values: Mapping[ErrorCode, int] | Mapping[GapReason, int]) -> Mapping[str, int]:
    return {value.name: count for value, count in values.items()}
