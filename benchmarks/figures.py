"""What is measured: figures in groups, each group a table. All of it is data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.load import Flags, Result, drive, listen
from benchmarks.peers import (
    CENTRIFUGO,
    FIREHOSE,
    GRPC_GO,
    JETSTREAM,
    NATS,
    OUR_TCP,
    OUR_WEBSOCKET,
    OURS,
    THREADS,
    WEBSOCKETS,
    WEBSOCKETS_JOINED,
    Peer,
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
    """

    title: str
    flags: Flags
    peers: tuple[Peer, ...]
    seconds: float = 1
    of: str = ""
    x: float = 0


@dataclass(frozen=True)
class Group:
    """Figures that share a table.

    Attributes:
        key: what of a result is compared, and which round counts: the one with the median.
        more_is_better: of the key.
        rounds: how often everything is measured, in turns.
    """

    name: str
    title: str
    key: str
    columns: tuple[Column, ...]
    figures: tuple[Figure, ...]
    more_is_better: bool = True
    rounds: int = 1
    measure: Callable[[Peer, Flags, float], Result] = field(default=drive, repr=False)


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

THROUGHPUT = Group(
    "throughput",
    "Fan-out, senders as fast as they are let",
    "per_second",
    (RATE, COST, P50, P99, *SHARES),
    (
        Figure("100 x 1, batching", {"clients": 100, "senders": 1}, BROKERS),
        Figure("100 x 10, batching", {"clients": 100, "senders": 10}, ALL),
        Figure("1000 x 10, batching", {"clients": 1000, "senders": 10}, BROKERS),
        Figure("100 x 1, one a frame", {"clients": 100, "senders": 1, "batch": 1}, BROKERS),
        Figure("100 x 10, one a frame", {"clients": 100, "senders": 10, "batch": 1}, ALL),
        Figure(
            "100 x 10, no bcast-batch",
            {"clients": 100, "senders": 10, "single": True, "window": 1024, "batch": 1},
            PAIR,
        ),
    ),
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
        Figure("1000 clients", {"clients": 1000, "hold": True}, (*BROKERS, OUR_WEBSOCKET, WEBSOCKETS)),
        Figure("5000 clients", {"clients": 5000, "hold": True}, BROKERS),
    ),
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
        Figure(title, {"clients": 2, "senders": 1, "acks": True, "batch": batch}, (OURS, JETSTREAM))
        for title, batch in (("batching", 64), ("one a frame", 1))
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
GROUPS = (THROUGHPUT, DOORS, LATENCY, IDLE, JOINING, STOPPED, INTAKE, PYTHON)
