"""The summary of a run, as text and as JSON."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from bcast_grpc import __version__
from bcast_grpc.bench.arguments import usable_cores
from bcast_grpc.bench.link import MAX_EXAMPLES, Result
from bcast_grpc.bench.plan import Plan
from bcast_grpc.console.exits import EXIT_DONE, EXIT_INTERRUPTED, EXIT_LOST, EXIT_NOT_ALL

_SATURATED = 0.85
_NOT_REACHED = 0.95
_PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99_9": 99.9, "max": 100.0}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a run.

    Attributes:
        start_ns: when it began to send.
        result: what the clients of all workers found.
        interrupted: whether the run was ended early.
    """

    plan: Plan
    start_ns: int
    result: Result
    interrupted: bool

    @property
    def measured_s(self) -> float:
        """From the start to the last delivery, or to the end of sending if that came later."""
        return max(self.result.last_ns, self.result.stopped_ns) / 1e9 - self.start_ns / 1e9

    @property
    def saturated(self) -> bool:
        """Whether the bench itself was the limit, so that the server might have taken more."""
        return self.result.busy >= _SATURATED

    @property
    def clean(self) -> bool:
        """Whether every promise was kept and every message acknowledged."""
        result = self.result
        return not (result.faults or result.unacknowledged or result.refused or result.disconnected)

    @property
    def exit_code(self) -> int:
        """The exit code for a script."""
        if self.interrupted:
            return EXIT_INTERRUPTED
        if self.result.disconnected.total() == self.plan.options.clients:
            return EXIT_LOST
        return EXIT_DONE if self.clean else EXIT_NOT_ALL


def merged(results: Iterable[Result]) -> Result:
    """Add up what several processes found.

    ``busy`` is that of the busiest process or of all usable cores, whichever is nearer to its limit.
    """
    whole, busy = Result(), 0.0
    for each in results:
        for name in ("sent", "acknowledged", "unacknowledged", "delivered", "received_bytes", "cpu_s"):
            setattr(whole, name, getattr(whole, name) + getattr(each, name))
        for name in ("last_ns", "stopped_ns", "busy"):
            setattr(whole, name, max(getattr(whole, name), getattr(each, name)))
        busy += each.busy
        whole.latency.merge([each.latency])
        whole.faults.add(each.faults)
        whole.servers += each.servers
        whole.refused += each.refused
        whole.disconnected += each.disconnected
        whole.reasons |= each.reasons
        whole.examples += each.examples
    whole.busy = max(whole.busy, busy / usable_cores())
    return whole


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The summary as JSON; docs/operations.md explains the keys."""
    options, result, measured_s = outcome.plan.options, outcome.result, outcome.measured_s
    return {
        "ok": outcome.clean,
        "interrupted": outcome.interrupted,
        "target": options.target,
        "servers": dict(sorted(result.servers.items())),
        "clients": options.clients,
        "senders": options.senders,
        "rooms": options.rooms,
        "size": options.size,
        "rate": options.rate,
        "batch": outcome.plan.batch,
        "processes": options.processes,
        "duration_s": options.duration_s,
        "measured_s": round(measured_s, 3),
        "sent": result.sent,
        "sent_per_s": round(result.sent / measured_s, 1),
        "acknowledged": result.acknowledged,
        "unacknowledged": result.unacknowledged,
        "refused": dict(result.refused),
        "delivered": result.delivered,
        "delivered_per_s": round(result.delivered / measured_s, 1),
        "received_mb_per_s": round(result.received_bytes / measured_s / 1e6, 3),
        "latency_ms": _latency_ms(outcome),
        "lost": result.faults.lost,
        "repeated": result.faults.repeated,
        "out_of_order": result.faults.out_of_order,
        "own": result.faults.own,
        "foreign": result.faults.foreign,
        "disconnected": dict(result.disconnected),
        "load_cpu_s": round(result.cpu_s, 3),
        "load_busy": round(result.busy, 3),
        "saturated": outcome.saturated,
        "versions": {
            "bcast_grpc": __version__,
            "grpcio": grpc.__version__,
            "python": platform.python_version(),
        },
    }


def as_text(outcome: Outcome) -> str:
    """The summary as text."""
    options, result, measured_s = outcome.plan.options, outcome.result, outcome.measured_s
    latency = _latency_ms(outcome)
    load = (
        f"{_many(options.clients, 'client')}, {_many(options.senders, 'sender')}, {_many(options.rooms, 'room')};"
        f" {options.size} bytes, up to {outcome.plan.batch} a frame; {_pace(options.rate)}"
    )
    delivered = (
        f"{result.delivered:,}, {_short(result.delivered / measured_s, '/s')},"
        f" {_short(result.received_bytes / measured_s, 'B/s')}"
    )
    rows = [
        ("target", _places(outcome)),
        ("load", load),
        ("measured", f"{measured_s:.1f} s{', interrupted' if outcome.interrupted else ''}"),
        ("sent", f"{result.sent:,}, {_short(result.sent / measured_s, '/s')}"),
        ("acknowledged", f"{result.acknowledged:,}{_but(result.unacknowledged, 'without an answer')}"),
        ("delivered", delivered),
        (
            "latency, ms",
            "  ".join(f"{name.replace('_', '.')} {_digits(value)}" for name, value in latency.items()) or "-",
        ),
        ("faults", str(result.faults)),
        ("refused", _counts(result.refused)),
        ("disconnected", _counts(result.disconnected)),
        ("bench's CPU", f"{result.cpu_s:.1f} s in {_many(options.processes, 'process')}, {result.busy:.0%} busy"),
    ]
    return "\n".join(f"{name:<14}{text}" for name, text in rows)


def remarks(outcome: Outcome) -> list[str]:
    """What a reader of the summary should know: what went wrong, and what limited the figures."""
    options, result = outcome.plan.options, outcome.result
    found = [*result.examples[:MAX_EXAMPLES]]
    found += [f"{code}: {reason}" for code, reason in sorted(result.reasons.items())]
    if options.rate and not outcome.interrupted and result.sent < _NOT_REACHED * options.rate * options.duration_s:
        found.append(
            f"the rate was not reached: {result.sent / options.duration_s:,.0f}/s instead of {options.rate:,.0f}/s"
        )
    if outcome.saturated:
        found.append(
            f"the bench itself was {result.busy:.0%} busy: the server may take more, if the bench gets more cores"
        )
    return found


def _latency_ms(outcome: Outcome) -> dict[str, float]:
    latency = outcome.result.latency
    if not latency.count:
        return {}
    return {name: round(latency.percentile(percent) / 1e6, 3) for name, percent in _PERCENTILES.items()}


def _places(outcome: Outcome) -> str:
    """The target; of several servers, how many clients are at each."""
    servers = sorted(outcome.result.servers.items())
    if len(servers) < 2 and "," not in outcome.plan.options.target:
        return outcome.plan.options.target
    return ", ".join(f"{server}: {_many(clients, 'client')}" for server, clients in servers)


def _many(count: int, what: str) -> str:
    plural = "es" if what.endswith("s") else "s"
    return f"{count:,} {what}{plural if count != 1 else ''}"


def _pace(rate: float) -> str:
    return f"{rate:g} messages/s in all" if rate else "as many messages as are acknowledged"


def _but(count: int, what: str) -> str:
    return f"; {count:,} {what}" if count else ""


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {code}" for code, count in Counter(counts).most_common()) or "none"


def _short(number: float, unit: str) -> str:
    """Three digits, with a prefix to the unit for large numbers: 1.23 k/s, 45.6 MB/s, 789/s."""
    for prefix in ("", "k", "M", "G"):
        if number < 999.5 or prefix == "G":
            break
        number /= 1000
    return f"{_digits(number)} {prefix}{unit}".replace(" /", "/")


def _digits(number: float) -> str:
    return f"{number:.3g}" if number < 99.5 else f"{number:,.0f}"
