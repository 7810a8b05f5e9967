"""What servers that are one do beside one server, and beside the peers' clusters. All processes share two cores."""

from __future__ import annotations

import json
import os

from benchmarks.figures import COST, P50, P99, RATE, Column, Figure, Group
from benchmarks.fleets import CENTRIFUGO_PAIR, NATS_PAIR, R1, R3, Cluster, cluster, ours, workers
from benchmarks.goals import Goal
from benchmarks.load import Flags, Result, answer
from benchmarks.peers import BUILD, OURS, Peer

_ALL_CORES = ",".join(str(core) for core in sorted(os.sched_getaffinity(0)))
_THREE, _TWO, _ONE_SERVER = (ours(3, R1), ours(3, R3)), (ours(2, R1), ours(2, R3)), ours(1, R1)
_PEERS = (CENTRIFUGO_PAIR, NATS_PAIR)


def drive(peer: Peer, flags: Flags, seconds: float) -> Result:
    """Start a cluster, drive it, and return what the load generator found.

    With ``apart`` the senders are at the first server, and only the CPU time of the others counts.

    Raises:
        CannotRun: something does not start, or the load gives up.
    """
    words = [f"-{name}={json.dumps(value)}" for name, value in flags.items()]
    with cluster(peer) as (servers, shared):
        counted = servers[1:] if flags.get("apart") and len(servers) > 1 else servers
        families = [one.family for one in counted]
        pids = ",".join(str(pid) for own, _ in families for pid in own)
        nats = [*(one.pid for one in shared), *(pid for _, nats in families for pid in nats)]
        beside = ["-beside=" + ",".join(map(str, nats))] if nats else []
        addresses = ",".join(one.address for one in servers)
        load = [str(BUILD / "load"), f"-kind={peer.kind}", f"-addr={addresses}", f"-pid={pids}", *beside, *words]
        return answer([*load, f"-duration={seconds}s"], seconds, {"GOMAXPROCS": "1", "PATH": os.defpath}, _ALL_CORES)


def drive_workers(peer: Peer, flags: Flags, seconds: float) -> Result:
    """Drive a server; return also what its workers would deliver if each had a core, and the load enough of them."""
    result = drive(peer, flags, seconds)
    count = peer.servers.workers if isinstance(peer, Cluster) else 1
    return {**result, "per_second_of_cores": count * 1e6 / result["server_cpu_s_per_million"]}


def hold_rooms(peer: Peer, flags: Flags, seconds: float) -> Result:
    """Let clients be in one room, and the same clients each in one of its own; return what a room costs."""
    together = drive(peer, {**flags, "rooms": 1}, seconds)
    result = drive(peer, flags, seconds)
    return {
        **result,
        "bytes_per_room": result["bytes_per_client"] - together["bytes_per_client"],
        "beside_bytes_per_room": (result["beside_grown_bytes"] - together["beside_grown_bytes"]) / result["rooms"],
    }


_CPU = (
    Column("servers' CPU %", "server_cpu_share", ".0f", 0.01),
    Column("NATS, Redis %", "beside_cpu_share", ".0f", 0.01),
    Column("load CPU %", "load_cpu_share", ".0f", 0.01),
)
_HOT_GOALS = (Goal("sent_per_second", 20_000), Goal("p99_ms", 100, at_most=True))
HOT = Group(
    "cluster: hot room",
    "One room, 21 000 messages/s offered evenly at all servers, acknowledged (not by NATS core); heard at another",
    "p99_ms",
    (Column("messages/s", "sent_per_second"), P50, P99, *_CPU),
    (
        Figure(
            "9 senders, 3 listeners",
            {"clients": 12, "senders": 9, "rate": 21_000, "batch": 1, "acks": True},
            (*_THREE, *_PEERS),
            seconds=1.5,
            goals=_HOT_GOALS,
        ),
    ),
    more_is_better=False,
    measure=drive,
)
# With more in flight Centrifugo's nodes drop messages, as they take 4096 at most from Redis.
_APART = {"senders": 1, "apart": True, "window": 2048}
FAN_OUT = Group(
    "cluster: fan-out",
    "A sender at one server, as fast as it is let or at a rate, and all others at another: CPU of that one",
    "per_second",
    (RATE, COST, P50, P99, *_CPU),
    (
        Figure("100 clients, batching", {**_APART, "clients": 101}, (OURS, *_TWO, *_PEERS)),
        Figure("100 clients, one a frame", {**_APART, "clients": 101, "batch": 1}, (OURS, *_TWO, *_PEERS)),
        Figure("1000 clients, batching", {**_APART, "clients": 1001}, (OURS, *_TWO, NATS_PAIR)),
        # Here both have cores to spare, and what a message costs once is spread over a thousand.
        Figure(
            "1000 clients, 5000/s",
            {**_APART, "clients": 1001, "rate": 5000, "batch": 1},
            (OURS, *_TWO),
            goals=(Goal("server_cpu_s_per_million", 1.1, OURS, at_most=True), Goal("per_second", 0.9, OURS)),
        ),
    ),
    measure=drive,
)


def _workers(title: str, kind: str, flags: Flags) -> Figure:
    two, one = workers(2, kind), workers(1, kind)
    return Figure(title, flags, (two, one), goals=(Goal("per_second_of_cores", 1.5, one),))


WORKERS = Group(
    "cluster: workers",
    "One room, senders as fast as they are let: two workers and a NATS server of theirs beside one worker without",
    "per_second",
    (RATE, Column("with a core each", "per_second_of_cores"), COST, P50, P99, *_CPU),
    (
        _workers(
            "500 WebSockets, one a frame",
            "bcast-ws",
            {"clients": 500, "senders": 10, "window": 320, "batch": 1, "single": True},
        ),
        _workers("1000 gRPC, batching", "bcast", {"clients": 1000, "senders": 10, "window": 2048}),
    ),
    measure=drive_workers,
)
_QUIET_FLAGS = {"clients": 30, "senders": 10, "rate": 100, "batch": 1}


def _latency(title: str, peer: Cluster, beside: tuple[Cluster, ...], bound_ms: float) -> Figure:
    return Figure(title, _QUIET_FLAGS, (peer, *beside), seconds=2, goals=(Goal("p99_ms", bound_ms, at_most=True),))


LATENCY = Group(
    "cluster: latency",
    "100 messages/s of 10 senders to 30 clients, over all servers; heard at another",
    "p99_ms",
    (P50, P99, *_CPU),
    (_latency("R1", _THREE[0], _PEERS, 15), _latency("R3", _THREE[1], (), 30)),
    more_is_better=False,
    measure=drive,
)
ROOMS = Group(
    "cluster: quiet rooms",
    "10 000 clients, each in a room of its own, beside the same clients in one room",
    "bytes_per_room",
    (
        Column("KB/room", "bytes_per_room", ".1f", 1000),
        Column("KB/client, all", "bytes_per_client", ".1f", 1000),
        Column("NATS: KB/room", "beside_bytes_per_room", ".1f", 1000),
        Column("idle CPU %", "idle_cpu_share", ".1f", 0.01),
        Column("NATS idle %", "beside_idle_cpu_share", ".1f", 0.01),
        Column("joins/s", "joins_per_second"),
    ),
    (
        Figure(
            "10 000 rooms",
            {"clients": 10_000, "rooms": 10_000, "hold": True},
            (_ONE_SERVER, OURS),
            goals=(Goal("bytes_per_room", 10_000, at_most=True),),
        ),
    ),
    more_is_better=False,
    measure=hold_rooms,
)
CLUSTERS = (HOT, FAN_OUT, WORKERS, LATENCY, ROOMS)
