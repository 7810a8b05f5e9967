"""The command line and the environment of the bench, read into ``Options``.

Nothing else of the bench reads either of them. The arguments for the connection are those of the terminal client.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bcast_grpc import __version__
from bcast_grpc.bench.payload import MAX_SIZE, MIN_SIZE
from bcast_grpc.client.tls import Tls
from bcast_grpc.client.token import TokenFile
from bcast_grpc.console.arguments import add_endpoint, number, read_endpoint, whole_number

PROGRAM = "bcast_grpc.bench"

_DESCRIPTION = """\
Put load on a bcast_grpc server, and measure it. Each client has a connection of
its own, in rooms that nobody else uses, and some of the clients send. Every
delivery is verified: each message arrives once, in its author's order, at all
clients of the room but the author. At the end a summary is printed."""

_EPILOG = """\
--rate 0 measures how much the server can take; the latency is then that of full
queues. To measure the latency of your own load, give its rate: a message's
latency counts from the moment it was due, even if it was sent late.

Run the bench on another machine than the server, or on other cores (taskset).
If the bench itself limited the figures, it says so.

The clients of each room are spread evenly over several servers, which must
share their rooms; where one cannot be reached, they go to the others. A client
whose connection is lost later counts as disconnected: it does not come back.

exit codes:
    0  all messages arrived, once and in order
    1  some messages were lost, repeated, out of order or refused, or clients
       were disconnected
    2  wrong usage
   69  no server was reached, it did not let all clients in, or the connections
       of all clients were lost
   77  the server refused the token, or requires one
  129  ended by SIGHUP, because the terminal was closed; else as for Ctrl-C
  130  ended by Ctrl-C: the summary covers the time until then; a second Ctrl-C,
       more than a second later, ends at once
  141  the reader of the output has gone
  143  ended by SIGTERM; else as for Ctrl-C

examples:
  python -m bcast_grpc.bench                            what this machine can do
  python -m bcast_grpc.bench chat.example --clients 1000 --rate 100
  python -m bcast_grpc.bench a.example,b.example        servers that share rooms
  python -m bcast_grpc.bench --json | jq .latency_ms.p99
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the bench is asked to do.

    Attributes:
        tls: how to authenticate the server; None for a connection without TLS.
        senders: how many of the clients send.
        rate: messages per second of all senders together; 0 for as many as the server acknowledges.
        size: bytes of the payload of one message.
        rooms: how many rooms the clients are spread over.
        batch: how many messages a frame has at most.
        grace_s: how long to wait for missing messages while nothing arrives.
    """

    target: str
    token: str | TokenFile = field(default="", repr=False)
    tls: Tls | None = None
    clients: int = 100
    senders: int = 10
    rate: float = 0.0
    size: int = 64
    rooms: int = 1
    duration_s: float = 10.0
    batch: int = 64
    processes: int = 1
    grace_s: float = 10.0
    json: bool = False


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Options:
    """Read the command line and the environment.

    Raises:
        SystemExit: with code 2 if an argument is wrong, 0 after ``--help`` and ``--version``.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    for name in ("senders", "rooms", "processes"):
        if (getattr(given, name) or 0) > given.clients:
            parser.error(f"--{name} {getattr(given, name)}: must be at most the number of clients, {given.clients}")
    endpoint = read_endpoint(parser, given, environment)
    return Options(
        target=endpoint.target,
        token=endpoint.token,
        tls=endpoint.tls,
        clients=given.clients,
        senders=min(10, given.clients) if given.senders is None else given.senders,
        rate=given.rate,
        size=given.size,
        rooms=given.rooms,
        duration_s=given.duration,
        batch=given.batch,
        processes=given.processes or min(usable_cores(), given.clients),
        grace_s=given.grace,
        json=given.json,
    )


def usable_cores() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {PROGRAM}",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_load(parser.add_argument)
    _add_run(parser.add_argument)
    add_endpoint(parser)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    return parser


def _add_load(add: Callable[..., object]) -> None:
    """Add what the clients are, and what they send."""
    add(
        "--clients",
        metavar="N",
        type=whole_number(1),
        default=100,
        help="how many clients connect (default: %(default)s)",
    )
    add("--senders", metavar="N", type=whole_number(0), help="how many of the clients send (default: 10, or all)")
    add(
        "--rate",
        metavar="R",
        type=number(0),
        default=0.0,
        help="messages per second of all senders together; 0: as many as the server acknowledges (default: 0)",
    )
    add(
        "--size",
        metavar="BYTES",
        type=whole_number(MIN_SIZE, MAX_SIZE),
        default=64,
        help=f"size of a message's payload, {MIN_SIZE} or more (default: %(default)s)",
    )
    add(
        "--rooms",
        metavar="N",
        type=whole_number(1),
        default=1,
        help="how many rooms the clients are spread over (default: %(default)s)",
    )
    add(
        "--batch",
        metavar="N",
        type=whole_number(1),
        default=64,
        help="most messages in one frame (default: %(default)s)",
    )


def _add_run(add: Callable[..., object]) -> None:
    """Add how long it runs, with how many processes, and what is printed."""
    add("--duration", metavar="S", type=number(0.001), default=10.0, help="how many seconds to send (default: 10)")
    add(
        "--processes",
        metavar="N",
        type=whole_number(1),
        help="how many processes to use (default: one for each usable core)",
    )
    add(
        "--grace",
        metavar="S",
        type=number(0.001),
        default=10.0,
        help="seconds to wait for missing messages while nothing arrives (default: 10)",
    )
    add("--json", action="store_true", help="print the summary as one JSON object")
