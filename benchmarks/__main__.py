"""``python -m benchmarks``: all figures of this service beside its peers, a table for each group.

Server on one core, load on another, a connection for each client, 64-byte messages unless said otherwise, every
delivery verified. Ratios count; an absolute figure says more about the machine. The exit code is 1 if anything was
not delivered once and in order, or could not be measured, and 2 if --only matches nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks.figures import GROUPS, Figure, Group
from benchmarks.growth import CURVES
from benchmarks.load import allow_files
from benchmarks.peers import BUILD, ROOT, CannotRun, Peer, build
from benchmarks.record import FULL, Record
from benchmarks.rounds import measure
from benchmarks.table import show


def main() -> int:
    """Measure; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2, help="how long each measurement lasts")
    parser.add_argument("--only", default="", help="only groups or figures whose name or title contains this")
    parser.add_argument("--full", action="store_true", help="the growth curves too")
    parser.add_argument("--resume", action="store_true", help="measure only what the saved results lack")
    parser.add_argument(
        "--save", type=Path, help="where the results go: build/bench/round.json, or with --full results.json"
    )
    options = parser.parse_args()
    path = options.save or (FULL if options.full else BUILD / "round.json")
    groups = (*GROUPS, *CURVES) if options.full else GROUPS
    if not any(asked(group, figure, options.only) for group in groups for figure in group.figures):
        parser.error(f"--only {options.only!r} matches nothing; the groups are: {', '.join(g.name for g in groups)}")
    begin = time.monotonic()
    try:
        allow_files(6000)
        build()
        record = Record.load(path) if options.resume else Record(path)
        faults = sum(run(group, options.seconds, options.only, record) for group in groups)
    except CannotRun as error:
        print(error, file=sys.stderr)
        return 1
    print(f"\n{(time.monotonic() - begin) / 60:.1f} minutes; {faults or 'no'} faults; all figures are in {shown(path)}")
    return 1 if faults else 0


def run(group: Group, seconds: float, words: str, record: Record) -> int:
    """Measure, show and save what is wanted of a group; return how many faults there were."""

    def wanted(figure: Figure, peer: Peer) -> bool:
        return asked(group, figure, words) and not record.has(group.name, figure.title, peer.name)

    rows = list(measure(group, seconds, wanted))
    if rows:
        record.add(rows)
        show(group, rows)
    return sum(row.faults for row in rows)


def asked(group: Group, figure: Figure, words: str) -> bool:
    """Say whether ``--only`` selects a figure."""
    return words in group.name or words in figure.title


def shown(path: Path) -> Path:
    """Return the path as seen from the project."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


if __name__ == "__main__":
    sys.exit(main())
