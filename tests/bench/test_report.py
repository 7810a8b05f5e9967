"""What is told of a run: figures, what went wrong, what limits them, and the exit code."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from bcast_grpc.bench.arguments import Options
from bcast_grpc.bench.histogram import Histogram
from bcast_grpc.bench.link import Result
from bcast_grpc.bench.plan import Plan
from bcast_grpc.bench.report import Outcome, as_json, as_text, merged, remarks
from bcast_grpc.bench.verify import Faults

SECOND = 1_000_000_000


def latency(*values_ms: int) -> Histogram:
    """A histogram of them."""
    histogram = Histogram()
    for value_ms in values_ms:
        histogram.record(value_ms * 1_000_000)
    return histogram


def outcome(interrupted: bool = False, rate: float = 0.0, **found: Any) -> Outcome:
    """A run of ten seconds that found this."""
    options = Options(target="here:1", clients=3, senders=1, rate=rate)
    result = Result(stopped_ns=11 * SECOND, last_ns=11 * SECOND, **found)
    return Outcome(Plan(options, run=1), SECOND, result, interrupted)


@pytest.mark.parametrize(
    ("run", "code"),
    [
        (outcome(), 0),
        (outcome(faults=Faults(lost=1)), 1),
        (outcome(faults=Faults(own=1)), 1),
        (outcome(unacknowledged=1), 1),
        (outcome(refused=Counter(RATE_LIMITED=1)), 1),
        (outcome(disconnected=Counter(SLOW_CONSUMER=2)), 1),
        (outcome(disconnected=Counter(SLOW_CONSUMER=2, SHUTTING_DOWN=1)), 69),
        (outcome(interrupted=True, faults=Faults(lost=1)), 130),
    ],
)
def test_a_script_is_told_how_it_went(run: Outcome, code: int) -> None:
    """By the exit code, and in JSON whether all went as promised."""
    assert run.exit_code == code
    assert as_json(run)["ok"] is (code == 0)


def test_what_several_processes_found_is_put_together() -> None:
    """Counts add up; of times the last counts, and of busy processes the busiest."""
    one = Result(
        sent=1, delivered=2, last_ns=5, busy=0.1, latency=latency(1), faults=Faults(lost=1), reasons={"A": "a"}
    )
    two = Result(
        sent=3, delivered=4, last_ns=4, busy=0.9, latency=latency(3), faults=Faults(lost=2), reasons={"B": "b"}
    )
    whole = merged([one, two])
    assert (whole.sent, whole.delivered, whole.last_ns, whole.faults.lost) == (4, 6, 5, 3)
    assert (whole.latency.count, whole.reasons) == (2, {"A": "a", "B": "b"})
    assert whole.busy >= 0.9


def test_figures_are_for_the_time_until_the_last_delivery() -> None:
    """Which may come long after the last message was sent."""
    late = outcome(sent=200, delivered=400, received_bytes=40_000_000, latency=latency(1, 2))
    late.result.last_ns = 21 * SECOND
    found = as_json(late)
    assert (found["measured_s"], found["sent_per_s"], found["delivered_per_s"]) == (20, 10, 20)
    assert found["received_mb_per_s"] == 2
    assert found["latency_ms"]["max"] == 2


def test_a_person_is_told_the_same() -> None:
    """In a few lines with short numbers."""
    run = outcome(sent=12_345, acknowledged=12_345, delivered=123_456_789, latency=latency(2), cpu_s=4.2, busy=0.5)
    told = {line[:14].strip(): line[14:] for line in as_text(run).splitlines()}
    assert (
        told["load"] == "3 clients, 1 sender, 1 room; 64 bytes, up to 64 a frame; as many messages as are acknowledged"
    )
    assert told["sent"] == "12,345, 1.23 k/s"
    assert told["delivered"].startswith("123,456,789, 12.3 M/s, ")
    assert told["latency, ms"].endswith("max 2")
    assert {told[name] for name in ("faults", "refused", "disconnected")} == {"none"}
    assert remarks(run) == []


def test_a_run_without_any_delivery_has_figures_too() -> None:
    """All of them nothing."""
    assert as_json(outcome())["latency_ms"] == {}
    assert "delivered     0, 0/s, 0 B/s" in as_text(outcome())


def test_what_limits_the_figures_is_told() -> None:
    """The load itself, a rate that was not reached, and what the server said."""
    run = outcome(rate=100, sent=500, busy=0.99, reasons={"SLOW_CONSUMER": "its queue was full"})
    told = remarks(run)
    assert told[0] == "SLOW_CONSUMER: its queue was full"
    assert told[1] == "the rate was not reached: 50/s instead of 100/s"
    assert "the bench itself was 99% busy" in told[2]
    assert as_json(run)["saturated"] is True
