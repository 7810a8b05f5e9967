"""How the figures grow: each of them against clients, senders, rooms and message size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.figures import COST, MEMORY, P50, P99, RATE, SHARES, Column, Figure, Group
from benchmarks.peers import CENTRIFUGO, GRPC_GO, NATS, OURS, Peer

PEERS = (OURS, NATS, GRPC_GO)
IN_FLIGHT_BYTES, IN_FLIGHT_DELIVERIES = 2 << 20, 3_000_000


@dataclass(frozen=True)
class Axis:
    """What grows, and the load at each of its points."""

    name: str
    points: Mapping[int, dict[str, int]]
    peers: tuple[Peer, ...] = PEERS


AXES = (
    Axis("clients", {n: {"clients": n} for n in (100, 300, 1000, 3000)}, (*PEERS, CENTRIFUGO)),
    Axis("senders", {n: {"senders": n} for n in (1, 3, 10, 30, 100)}),
    # Each room has a sender at least.
    Axis("rooms", {n: {"clients": 2000, "rooms": n, "senders": max(n, 10)} for n in (1, 10, 100, 1000)}),
    Axis("size", {n: {"size": n} for n in (16, 64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10)}),
)


@dataclass(frozen=True)
class Measure:
    """What is measured at each point: further flags, and what of the result counts."""

    name: str
    flags: Mapping[str, object]
    columns: tuple[Column, ...]
    more_is_better: bool
    seconds: float = 1


THROUGHPUT = Measure("throughput", {}, (RATE, COST, *SHARES), True)
LATENCY = Measure("latency at 30 messages/s", {"rate": 30, "batch": 1}, (P99, P50, *SHARES), False, 1.5)
IDLE = Measure("memory", {"hold": True}, (MEMORY,), False, 0.5)


def curve(axis: Axis, measure: Measure) -> Group:
    """Return the group that measures a curve."""
    figures = []
    for x, point in axis.points.items():
        load = {"clients": 100, "senders": 10, "size": 64, "rooms": 1, **point}
        flags = {**load, **bounds(load), **measure.flags}
        figures.append(Figure(f"{axis.name} {x}", flags, axis.peers, measure.seconds, x=x))
    name, key = f"{axis.name}: {measure.name}", measure.columns[0].key
    title = f"Growth of {measure.name} with {axis.name}"
    return Group(name, title, key, measure.columns, tuple(figures), measure.more_is_better)


def bounds(load: Mapping[str, int]) -> dict[str, int]:
    """Return how many messages may be in flight and in a frame: no queue overflows, and the rest arrives soon."""
    listeners = load["clients"] // load["rooms"]
    window = min(8192, IN_FLIGHT_BYTES // load["size"], IN_FLIGHT_DELIVERIES // listeners)
    return {"window": window, "batch": max(1, min(64, window // load["senders"]))}


CURVES = (
    *(curve(axis, measure) for axis in AXES for measure in (THROUGHPUT, LATENCY)),
    curve(AXES[0], IDLE),
)
