"""What is measured: figures in groups, each group a table. All of it is data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks import goals
from benchmarks.goals import Goal
from benchmarks.load import Flags, Result, drive, drive_from_cpp, listen
from benchmarks.peers import (
    BUILD,
    CENTRIFUGO,
    CPP_LOAD,
    FIREHOSE,
    GRPC_GO,
    JETSTREAM,
    NATS,
    NATS_TLS,
    OUR_TCP,
    OUR_WEBSOCKET,
    OURS,
    OURS_TLS,
    THREADS,
    WEBSOCKETS,
    WEBSOCKETS_JOINED,
    Peer,
    with_engines,
)


@dataclass(frozen=True)
class Column:
    """A column of a table: what of a result it shows, divided by ``unit``."""

    title: str
    key: str
    form: str = ",.0f"
    unit: float = 1


@dataclass(frozen=True)
class Figure:
    """One thing to measure of some peers, ours being the first.

    Attributes:
        flags: of the load generator.
        seconds: how long, as a multiple of what is asked for.
        of: the figure of the same group that this one is shown as a percentage of.
        x: its place on the axis, where the group is a curve.
        goals: what our gRPC server must reach here.
    """

    title: str
    flags: Flags
    peers: tuple[Peer, ...]
    seconds: float = 1
    of: str = ""
    x: float = 0
    goals: tuple[Goal, ...] = ()


@dataclass(frozen=True)
class Group:
    """Figures that share a table.

    Attributes:
        key: what of a result is compared, and which round counts: the one with the median.
        more_is_better: of the key.
        rounds: how often everything is measured, in turns.
        load: the program that drives the servers; where it could not be built, the group is left out.
    """

    name: str
    title: str
    key: str
    columns: tuple[Column, ...]
    figures: tuple[Figure, ...]
    more_is_better: bool = True
    rounds: int = 1
    measure: Callable[[Peer, Flags, float], Result] = field(default=drive, repr=False)
    load: Path = BUILD / "load"


RATE = Column("deliveries/s", "per_second")
COST = Column("CPU s/million", "server_cpu_s_per_million", ".3f")
P50, P99 = Column("p50 ms", "p50_ms", ".2f"), Column("p99 ms", "p99_ms", ".2f")
SHARES = (Column("server CPU %", "server_cpu_share", ".0f", 0.01), Column("load CPU %", "load_cpu_share", ".0f", 0.01))
MEMORY = Column("KB/client", "bytes_per_client", ".1f", 1000)
MB = 1e6

BROKERS = (OURS, NATS, CENTRIFUGO, GRPC_GO)
ALL = (*BROKERS, WEBSOCKETS, THREADS)
PAIR = (OURS, GRPC_GO)
OUR_DOORS = (OUR_WEBSOCKET, OUR_TCP, OURS)

_ONE = {"clients": 100, "batch": 1}
# Few are in flight, for a server that writes each event by itself takes long to deliver them.
_SINGLE = {**_ONE, "single": True, "window": 1024}
THROUGHPUT = Group(
    "throughput",
    "Fan-out, senders as fast as they are let",
    "per_second",
    (RATE, COST, P50, P99, *SHARES),
    (
        Figure("100 x 1, batching", {"clients": 100, "senders": 1}, BROKERS, goals=goals.BATCHING),
        Figure("100 x 10, batching", {"clients": 100, "senders": 10}, ALL, goals=goals.BATCHING),
        Figure("1000 x 10, batching", {"clients": 1000, "senders": 10}, BROKERS, goals=goals.BATCHING),
        Figure("100 x 1, one a frame", {**_ONE, "senders": 1}, BROKERS, goals=goals.one_a_frame(1.2, 8)),
        Figure("100 x 10, one a frame", {**_ONE, "senders": 10}, ALL, goals=goals.one_a_frame(1.5, 8)),
        Figure(
            "1000 x 10, one a frame",
            {**_ONE, "clients": 1000, "senders": 10, "window": 4096},  # a slow server has them delivered in seconds
            (OURS, NATS, GRPC_GO),
            goals=goals.one_a_frame(3),
        ),
        Figure("100 x 10, no bcast-batch", {**_SINGLE, "senders": 10}, PAIR, goals=(Goal("per_second", 5, GRPC_GO),)),
        Figure(
            "100 rooms x 20, one a frame",
            {**_ONE, "clients": 2000, "rooms": 100, "senders": 100},
            (OURS, NATS),
            goals=goals.one_a_frame(1),
        ),
    ),
)
TLS = Group(
    "tls",
    "The same with TLS",
    "per_second",
    (RATE, COST, P50, P99, *SHARES),
    tuple(
        Figure(
            f"100 x 10, {title}",
            {"clients": 100, "senders": 10, "batch": batch},
            (OURS, OURS_TLS, NATS, NATS_TLS),
            goals=goals.TLS,
        )
        for title, batch in (("one a frame", 1), ("batching", 64))
    ),
    rounds=3,
)
STOCK = Group(
    "stock",
    "The same by ordinary clients: grpc-go with generated stubs, one message a frame, no bcast-batch",
    "per_second",
    (RATE, COST, P50, P99, *SHARES),
    tuple(
        Figure(f"100 x {senders}", {**_SINGLE, "senders": senders, "stock": True}, PAIR, goals=goals.STOCK)
        for senders in (1, 10)
    ),
)
STOCK_CPP = replace(
    STOCK,
    name="stock C++",
    title="The same by ordinary clients in C++: generated stubs, gRPC's callback API, default options",
    measure=drive_from_cpp,
    load=CPP_LOAD,
)
# What is in flight is what Python's broadcast() sends in some seconds.
_HALL = {"clients": 500, "senders": 10, "window": 1280}
DOORS = Group(
    "doors",
    "500 clients x 10 senders, JSON over WebSockets and bare sockets",
    "per_second",
    (RATE, COST, P50, P99, Column("MB at the most", "server_rss_peak_bytes", ".0f", MB), *SHARES),
    (
        Figure("batching", _HALL, (*OUR_DOORS, WEBSOCKETS, WEBSOCKETS_JOINED)),
        Figure("one request a frame", {**_HALL, "batch": 1}, (*OUR_DOORS, WEBSOCKETS)),
        Figure("and one event a frame", {**_HALL, "batch": 1, "single": True}, (OUR_WEBSOCKET, WEBSOCKETS)),
    ),
)
LATENCY = Group(
    "latency",
    "Send to receipt, 10 senders",
    "p99_ms",
    (P50, P99, *SHARES),
    tuple(
        Figure(
            f"{rate}/s to {clients}",
            {"clients": clients, "senders": 10, "rate": rate, "batch": 1},
            PAIR,
            seconds=2.5 if rate == 10 else 1,
            goals=goals.LATENCY,
        )
        for clients, rate in ((100, 10), (100, 100), (100, 1000), (1000, 10), (1000, 100))  # more is more than a core
    ),
    more_is_better=False,
    rounds=3,
)
IDLE = Group(
    "idle",
    "Clients that are connected and do nothing",
    "bytes_per_client",
    (
        MEMORY,
        Column("idle CPU %", "idle_cpu_share", ".1f", 0.01),
        Column("joins/s", "joins_per_second"),
        Column("server CPU %", "joins_server_cpu_share", ".0f", 0.01),
        Column("load CPU %", "joins_load_cpu_share", ".0f", 0.01),
    ),
    (
        Figure("1000 clients", {"clients": 1000, "hold": True}, (*BROKERS, OURS_TLS, OUR_WEBSOCKET, WEBSOCKETS)),
        Figure("5000 clients", {"clients": 5000, "hold": True}, BROKERS, goals=goals.IDLE),
    ),
    more_is_better=False,
)
CYCLES = Group(
    "come and go",
    "Clients that all connect and all leave, ten times: the server's memory after the tenth against after the second",
    "growth_since_second",
    (
        Column("growth", "growth_since_second", ".2f"),
        Column("KB more/client", "bytes_grown_per_client", ".1f", 1000),
        Column("joins/s", "joins_per_second"),
    ),
    (Figure("2000 clients", {"clients": 2000, "cycles": 10}, PAIR, goals=goals.CYCLES),),
    more_is_better=False,
)
_JOINED = (*PAIR, OUR_WEBSOCKET)
_STEADY = {"clients": 100, "senders": 10, "rate": 100, "batch": 1}
JOINING = Group(
    "joining",
    "100 messages/s to 100 clients, while 1000 others join at once and leave at once",
    "p99_ms",
    (P50, P99, Column("joins/s", "churn_joins_per_second"), *SHARES),
    (
        Figure("nobody joins", _STEADY, _JOINED, seconds=1.5),
        Figure("1000 join and leave", {**_STEADY, "churn": 1000}, _JOINED, seconds=1.5, of="nobody joins"),
    ),
    more_is_better=False,
    rounds=3,
)
_STOPPED = (OURS, NATS, OUR_WEBSOCKET)
_BUSY = {"clients": 100, "senders": 10}
STOPPED = Group(
    "stopped",
    "100 clients x 10 senders, batching, of which ten stop reading: a queue's bound is 4.2 MB",
    "per_second",
    (
        RATE,
        Column("MB at the start", "server_rss_before_bytes", ".0f", MB),
        Column("MB at the most", "server_rss_peak_bytes", ".0f", MB),
        Column("put out", "stopped_ended"),
        *SHARES,
    ),
    (
        # Ninety read in both.
        Figure("all read", {**_BUSY, "clients": 90}, _STOPPED),
        Figure("ten stopped", {**_BUSY, "stopped": 10}, _STOPPED, of="all read"),
    ),
    rounds=3,
)
INTAKE = Group(
    "intake",
    "One client publishes and has each message acknowledged, another listens",
    "per_second",
    (Column("messages/s", "per_second"), Column("CPU s/million", "server_cpu_s_per_million", ".3f"), P50, P99, *SHARES),
    tuple(
        Figure(title, {"clients": 2, "senders": 1, "acks": True, "batch": batch}, (OURS, JETSTREAM), goals=wanted)
        for title, batch, wanted in (("batching", 64, goals.ACKS_BATCHING), ("one a frame", 1, goals.ACKS))
    ),
)
PYTHON = Group(
    "python",
    "Python client: async for event in chat, of a server that sends as fast as it reads",
    "per_second",
    (Column("events/s", "per_second"), Column("client CPU %", "load_cpu_share", ".0f", 0.01)),
    (Figure("64 messages a frame", {}, (FIREHOSE,)),),
    rounds=3,
    measure=listen,
)
STOCK_LATENCY = Group(
    "stock, latency",
    "Send to receipt between ordinary clients, 10 senders",
    "p99_ms",
    (P50, P99, *SHARES),
    tuple(
        Figure(
            f"{rate}/s to 100",
            {"clients": 100, "senders": 10, "rate": rate, "batch": 1, "stock": True},
            PAIR,
            goals=goals.LATENCY,
        )
        for rate in (10, 100, 1000)
    ),
    more_is_better=False,
    rounds=3,
)
GROUPS = (THROUGHPUT, TLS, STOCK, STOCK_CPP, DOORS, LATENCY, IDLE, CYCLES, JOINING, STOPPED, INTAKE, PYTHON)
MORE = (STOCK_LATENCY,)


def prepare(group: Group, engines: Sequence[str], rounds: int) -> Group:
    """Return the group with our gRPC server once for each engine, and at least that many rounds."""
    figures = tuple(replace(figure, peers=with_engines(figure.peers, engines)) for figure in group.figures)
    return replace(group, figures=figures, rounds=max(group.rounds, rounds))
