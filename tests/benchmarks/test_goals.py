"""The goals of the benchmarks: what counts as reached."""

from __future__ import annotations

import pytest

from benchmarks.figures import THROUGHPUT
from benchmarks.goals import Goal, judge
from benchmarks.load import Result
from benchmarks.peers import NATS, OURS, with_engines
from benchmarks.rounds import Row
from benchmarks.table import describe, show, verdicts

FIGURE = THROUGHPUT.figures[0]


@pytest.mark.parametrize(
    ("goal", "ours", "reached"),
    [
        (Goal("per_second", 2, NATS), 200, True),
        (Goal("per_second", 2, NATS), 199, False),
        (Goal("per_second", 0.5, NATS, at_most=True), 50, True),
        (Goal("per_second", 0.5, NATS, at_most=True), 51, False),
        (Goal("per_second", 150), 150, True),
        (Goal("per_second", 150, at_most=True), 151, False),
    ],
)
def test_a_goal_is_reached_at_its_bound(goal: Goal, ours: float, reached: bool) -> None:
    """At least and at most include the bound; beside a peer it is a multiple of the peer's value."""
    results: dict[str, Result] = {OURS.name: {"per_second": ours}, NATS.name: {"per_second": 100.0}}
    (verdict,) = judge([goal], [OURS, NATS], results)
    assert verdict.reached is reached


@pytest.mark.parametrize("missing", [OURS.name, NATS.name])
def test_what_could_not_be_measured_has_no_verdict(missing: str) -> None:
    """A failed run neither reaches nor misses a goal."""
    results: dict[str, Result] = {name: {"per_second": 100.0} for name in (OURS.name, NATS.name)}
    results[missing] = {"error": "the server does not listen"}
    assert judge([Goal("per_second", 1, NATS)], [OURS, NATS], results) == []


def test_each_engine_has_its_own_verdict() -> None:
    """Two engines of one run are judged apart, by name."""
    peers = with_engines([OURS, NATS], ["native", "grpcio"])
    results: dict[str, Result] = {
        name: {"per_second": value}
        for name, value in (("bcast_grpc native", 3), ("bcast_grpc grpcio", 1), (NATS.name, 2))
    }
    found = judge([Goal("per_second", 1, NATS)], peers, results)
    assert [(verdict.ours, verdict.reached) for verdict in found] == [
        ("bcast_grpc native", True),
        ("bcast_grpc grpcio", False),
    ]


def test_the_table_says_of_each_goal_whether_it_was_reached(capsys: pytest.CaptureFixture[str]) -> None:
    """In a line of its own below the figure, with the bound and what was measured."""
    rows = [
        Row(THROUGHPUT.name, FIGURE.title, peer, 0, {"per_second": rate, "server_cpu_s_per_million": cost})
        for peer, rate, cost in ((OURS.name, 3e6, 0.2), (NATS.name, 1e6, 0.3))
    ]
    show(THROUGHPUT, rows)
    printed = capsys.readouterr().out
    assert "reached  bcast_grpc, deliveries/s at least 2 x NATS core: 3.00" in printed
    assert "MISSED   bcast_grpc, CPU s/million at most 0.5 x NATS core: 0.67" in printed
    assert [verdict.reached for verdict in verdicts(THROUGHPUT, rows)] == [True, False]
    assert describe(THROUGHPUT, verdicts(THROUGHPUT, rows)[0]) in printed
