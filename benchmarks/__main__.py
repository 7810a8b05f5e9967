"""``python -m benchmarks``: a short round of all peers, as one table.

Server on one core, load on another, a connection for each client, every delivery verified. Ratios count; an absolute
figure says more about the machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from benchmarks.peers import (
    BUILD,
    GRPC_GO,
    LOAD_CORE,
    NATS,
    OURS,
    THREADS,
    WEBSOCKETS,
    CannotRun,
    Peer,
    build,
    pinned,
    running,
)


@dataclass(frozen=True)
class Figure:
    """What is measured: a title, and the load generator's flags."""

    title: str
    flags: dict[str, object]
    peers: tuple[Peer, ...]


FAN_OUT = (OURS, NATS, GRPC_GO, WEBSOCKETS, THREADS)
FIGURES = [
    Figure("100 clients x 1 sender, batching", {"clients": 100, "senders": 1, "batch": 64}, FAN_OUT),
    Figure("100 clients x 10 senders, batching", {"clients": 100, "senders": 10, "batch": 64}, FAN_OUT),
    Figure("1000 clients x 10 senders, batching", {"clients": 1000, "senders": 10, "batch": 64}, (OURS, NATS, GRPC_GO)),
    Figure("100 clients x 10 senders, one request a frame", {"clients": 100, "senders": 10, "batch": 1}, FAN_OUT),
    Figure("the same, clients without bcast-batch", {"clients": 100, "senders": 10, "single": True}, (OURS,)),
]


def main() -> int:
    """Measure; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2, help="how long each measurement sends")
    parser.add_argument("--only", default="", help="only figures with this in their title")
    options = parser.parse_args()
    try:
        build()
        for figure in FIGURES:
            if options.only in figure.title:
                show(figure, [measure(peer, figure.flags, options.seconds) for peer in figure.peers])
    except CannotRun as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def measure(peer: Peer, flags: dict[str, object], seconds: float) -> dict[str, Any]:
    """Drive one peer, and return what the load generator found."""
    with running(peer) as (address, pid):
        words = [f"-{name}={json.dumps(value)}" for name, value in flags.items()]
        command = [str(BUILD / "load"), f"-kind={peer.kind}", f"-addr={address}", f"-pid={pid}", *words]
        run = subprocess.run(
            pinned(LOAD_CORE, [*command, f"-duration={seconds}s"]),
            env={"GOMAXPROCS": "1", "PATH": "/usr/bin:/bin"},
            stdout=subprocess.PIPE,
            check=False,
        )
    if run.returncode:
        raise CannotRun(f"the load failed: {' '.join(command)}")
    result: dict[str, Any] = json.loads(run.stdout)
    return result


def show(figure: Figure, results: list[dict[str, Any]]) -> None:
    """Print a figure's table; the ratio is ours to the peer's."""
    print(f"\n{figure.title}, 64 B")
    print(f"  {'server':<16}{'deliveries/s':>14}{'ours is':>10}{'CPU s/million':>15}{'p50 ms':>9}{'p99 ms':>9}  faults")
    ours = results[0]["per_second"]
    for peer, result in zip(figure.peers, results, strict=True):
        rate = result["per_second"]
        ratio = f"{ours / rate:.2f} x" if rate else "-"
        print(
            f"  {peer.name:<16}{rate:>14,.0f}{ratio:>10}{result['server_cpu_s_per_million']:>15.3f}"
            f"{result['p50_ms']:>9.1f}{result['p99_ms']:>9.1f}  {result['faults'] or 'none'}"
            f" {result.get('first_fault', '')[:60]}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
