"""What the load was asked to be: command line and environment become ``Options``; and how it says that it failed.

The only place of the load that reads either of them. What concerns the connection is named as in the terminal client.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bcast_grpc import __version__
from bcast_grpc.bench.payload import MAX_SIZE, MIN_SIZE
from bcast_grpc.console.arguments import add_endpoint, number, read_endpoint, whole_number

PROGRAM = "bcast_grpc.bench"

_DESCRIPTION = """\
Put load on a bcast_grpc server: clients with a connection each, in rooms that
nobody else is in, some of which send. Every delivery is verified: each message
once, in its author's order, to all but the author. Then comes a summary."""

_EPILOG = """\
--rate 0 finds how much the server can take; latency is then that of its full
queues. For the latency of your own load give its rate: each message counts from
the moment at which it was to be sent, however late it was.

The load runs best on another machine, or on other cores (taskset), than the
server. It says so when it was itself what limited the figures.

exit codes:
    0  done: all messages arrived, once and in order
    1  done, but some did not, were refused, or clients were disconnected
    2  usage
   69  no server there, it let not all clients in, or it was lost for good
   77  not let in
  129  as Ctrl-C, by SIGHUP: its terminal was closed
  130  Ctrl-C: the summary is of the time until then; a second one, more than a
       second later, ends at once
  141  nobody reads the output any more
  143  as Ctrl-C, by SIGTERM

examples:
  python -m bcast_grpc.bench                            what can this machine do
  python -m bcast_grpc.bench chat.example --clients 1000 --rate 100
  python -m bcast_grpc.bench --json | jq .latency_ms.p99
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the load was asked to be.

    Attributes:
        root_certificates: PEM; empty for a connection without TLS.
        senders: how many of the clients send.
        rate: messages a second of all senders together; 0 for as many as are acknowledged.
        size: bytes of one message's payload.
        rooms: the clients are spread over so many.
        batch: how many messages are at most in one frame.
        grace_s: how long to wait for what is missing while nothing arrives.
    """

    target: str
    token: str = ""
    root_certificates: bytes = b""
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
    """Make sense of the command line.

    Raises:
        SystemExit: with code 2 where there is none, 0 after ``--help`` and ``--version``.
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
        root_certificates=endpoint.root_certificates,
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
    add = parser.add_argument
    add("--clients", metavar="N", type=whole_number(1), default=100, help="how many connect (default: %(default)s)")
    add("--senders", metavar="N", type=whole_number(0), help="how many of them send (default: 10, or all)")
    add(
        "--rate",
        metavar="R",
        type=number(0),
        default=0.0,
        help="messages a second, of all senders together; 0: as many as are acknowledged (default: 0)",
    )
    add(
        "--size",
        metavar="BYTES",
        type=whole_number(MIN_SIZE, MAX_SIZE),
        default=64,
        help=f"of a message's payload, from {MIN_SIZE} on (default: %(default)s)",
    )
    add("--rooms", metavar="N", type=whole_number(1), default=1, help="spread the clients over (default: %(default)s)")
    add("--duration", metavar="S", type=number(0.001), default=10.0, help="seconds of sending (default: 10)")
    add(
        "--batch", metavar="N", type=whole_number(1), default=64, help="most messages in a frame (default: %(default)s)"
    )
    add(
        "--processes",
        metavar="N",
        type=whole_number(1),
        help="spread the load over (default: the usable cores)",
    )
    add(
        "--grace",
        metavar="S",
        type=number(0.001),
        default=10.0,
        help="seconds to wait for what is missing, while nothing arrives (default: 10)",
    )
    add("--json", action="store_true", help="the summary as one JSON object")
    add_endpoint(parser)
    add("--version", action="version", version=f"{PROGRAM} {__version__}")
    return parser
