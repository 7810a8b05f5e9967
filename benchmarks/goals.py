"""What a figure of ours must reach: a value of its own, or one beside a peer's of the same run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.load import Result
from benchmarks.peers import GRPC_GO, JETSTREAM, NATS, OURS, Peer


@dataclass(frozen=True)
class Goal:
    """A bound for one value of a result.

    Attributes:
        key: of the result.
        bound: in the unit of the result; beside a peer: how many times the peer's value.
        at_most: the value may not be above the bound; otherwise not below it.
    """

    key: str
    bound: float
    peer: Peer | None = None
    at_most: bool = False


@dataclass(frozen=True)
class Verdict:
    """A goal, and what one server of ours gave for it: the value, or the value divided by the peer's."""

    goal: Goal
    ours: str
    value: float

    @property
    def reached(self) -> bool:
        """Whether the value keeps the bound."""
        return self.value <= self.goal.bound if self.goal.at_most else self.value >= self.goal.bound


def judge(goals: Sequence[Goal], peers: Sequence[Peer], results: Mapping[str, Result]) -> list[Verdict]:
    """Judge each server of ours; ``results`` are by the peer's name. What was not measured has no verdict."""
    verdicts = []
    for ours in (peer for peer in peers if peer.kind in OUR_KINDS):
        for goal in (goal for goal in goals if goal.peer != ours):
            value = results.get(ours.name, {}).get(goal.key)
            beside = results.get(goal.peer.name, {}).get(goal.key) if goal.peer else 1
            if value is not None and beside:
                verdicts.append(Verdict(goal, ours.name, value / beside))
    return verdicts


OUR_KINDS = ("bcast", "bcast-ws", "bcast-tcp")
RATE, COST = "per_second", "server_cpu_s_per_million"
BATCHING = (Goal(RATE, 2, NATS), Goal(COST, 0.5, NATS, at_most=True))
LATENCY = (Goal("p99_ms", 1, GRPC_GO, at_most=True), Goal("p50_ms", 1.3, GRPC_GO, at_most=True))
TLS = (Goal(RATE, 0.6, OURS), Goal(COST, 1 / 0.6, OURS, at_most=True))
STOCK = (Goal(RATE, 1, GRPC_GO), Goal(COST, 0.5, GRPC_GO, at_most=True))
IDLE = (Goal("bytes_per_client", 8000, at_most=True), Goal("joins_per_second", 1, GRPC_GO))
CYCLES = (Goal("growth_since_second", 1.1, at_most=True),)
ACKS_BATCHING, ACKS = (Goal(RATE, 1, JETSTREAM),), (Goal(RATE, 30_000),)


def one_a_frame(nats: float, grpc_go: float = 0) -> tuple[Goal, ...]:
    """Return the goals for throughput, as multiples of the peers'."""
    return (Goal(RATE, nats, NATS), *((Goal(RATE, grpc_go, GRPC_GO),) if grpc_go else ()))
