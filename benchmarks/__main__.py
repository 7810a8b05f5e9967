"""``python -m benchmarks``: all figures of this service beside its peers, a table for each group.

Server on one core, load on another, a connection for each client, 64-byte messages unless said otherwise, every
delivery verified. Servers that are one share all cores with their load. Ratios count; an absolute figure says more
about the machine. The exit code is 1 if anything was not delivered once and in order, or could not be measured, and 2
if --only matches nothing. A missed goal is shown and is no error: a shared machine may miss one by itself.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks.cluster import CLUSTERS
from benchmarks.figures import GROUPS, MORE, Figure, Group, prepare
from benchmarks.goals import Verdict
from benchmarks.growth import CURVES
from benchmarks.load import allow_files
from benchmarks.peers import BUILD, ROOT, CannotRun, Peer, build
from benchmarks.record import FULL, Record
from benchmarks.rounds import measure
from benchmarks.table import show, verdicts


def main() -> int:
    """Measure; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2, help="how long each measurement lasts")
    parser.add_argument("--only", default="", help="only groups or figures whose name or title contains this")
    parser.add_argument("--full", action="store_true", help="ordinary clients' latency and the growth curves too")
    parser.add_argument(
        "--engine", action="append", default=[], help="measure our server with this grpc-engine; may be given twice"
    )
    parser.add_argument("--rounds", type=int, default=1, help="measure in turns at least that often; medians count")
    parser.add_argument("--resume", action="store_true", help="measure only what the saved results lack")
    parser.add_argument(
        "--save", type=Path, help="where the results go: build/bench/round.json, or with --full results.json"
    )
    options = parser.parse_args()
    path = options.save or (FULL if options.full else BUILD / "round.json")
    usual = (*GROUPS, *CLUSTERS)
    chosen = (*usual, *MORE, *CURVES) if options.full else (*usual, *MORE) if options.only else usual
    groups = [prepare(group, options.engine, options.rounds) for group in chosen]
    if not any(asked(group, figure, options.only) for group in groups for figure in group.figures):
        names = dict.fromkeys(group.name for group in groups)
        parser.error(f"--only {options.only!r} matches nothing; the groups are: {', '.join(names)}")
    begin = time.monotonic()
    try:
        allow_files(6000)
        build()
        record = Record.load(path) if options.resume else Record(path)
        found = [run(group, options.seconds, options.only, record) for group in groups]
    except CannotRun as error:
        print(error, file=sys.stderr)
        return 1
    faults = sum(count for count, _ in found)
    judged = [verdict for _, verdicts in found for verdict in verdicts]
    reached = sum(verdict.reached for verdict in judged)
    print(f"\n{(time.monotonic() - begin) / 60:.1f} minutes; {faults or 'no'} faults; {reached} of {len(judged)} goals")
    print(f"all figures are in {shown(path)}")
    return 1 if faults else 0


def run(group: Group, seconds: float, words: str, record: Record) -> tuple[int, list[Verdict]]:
    """Measure, show and save what is wanted of a group; return its faults, and the verdicts on its goals."""

    def wanted(figure: Figure, peer: Peer) -> bool:
        return asked(group, figure, words) and not record.has(group.name, figure.title, peer.name)

    rows = list(measure(group, seconds, wanted))
    if rows:
        record.add(rows)
        show(group, rows)
    return sum(row.faults for row in rows), verdicts(group, rows)


def asked(group: Group, figure: Figure, words: str) -> bool:
    """Say whether ``--only`` selects a figure."""
    return words in group.name or words in figure.title


def shown(path: Path) -> Path:
    """Return the path as seen from the project."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


if __name__ == "__main__":
    sys.exit(main())
