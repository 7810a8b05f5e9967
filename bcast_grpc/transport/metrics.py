"""What the server tells Prometheus. Everything is looked up when it is asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, exposition
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from bcast_grpc.transport.door import Shared

_RESTS = 20
"""What was rendered is shown again for so many times as long as it took: with many connections that may be 20 ms."""

_TEXT = exposition.generate_latest, "text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS = openmetrics.generate_latest, openmetrics.CONTENT_TYPE_LATEST

_PARTS = ("histories", "ids", "rooms", "waiting", "queues", "unfinished")


class Metrics(Collector):
    """The metrics of one server, and of its process.

    Args:
        shared: what is counted.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._shown: dict[str, tuple[float, bytes]] = {}  # by one of the two content types
        self._registry = CollectorRegistry()
        self._registry.register(self)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics, and their content type: OpenMetrics if the ``Accept`` header names it, else plain text.

        prometheus-client's own choice fails on versions that are no numbers, and repeats any that are.
        """
        encode, content_type = _OPENMETRICS if "application/openmetrics-text" in accept else _TEXT
        began = time.monotonic()
        until, text = self._shown.get(content_type, (0.0, b""))
        if began >= until:
            text = encode(self._registry)
            now = time.monotonic()
            self._shown[content_type] = now + _RESTS * (now - began), text
        return text, content_type

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
        yield CounterMetricFamily("bcast_messages", "Messages that were handed in.", counts.messages)
        parts = GaugeMetricFamily("bcast_memory_bytes", "Memory that counts against max-memory.", labels=["part"])
        for part in _PARTS:
            parts.add_metric([part], getattr(budget, part))
        yield parts
        yield _gauge("memory_limit_bytes", "The bound of that at the moment.", budget.bound)
        if certificates:
            expires = certificates.loaded.expires.timestamp()
            yield _gauge("certificate_expiry_timestamp_seconds", "When the TLS certificate expires.", expires)


def _gauge(name: str, help_: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"bcast_{name}", help_, value)
