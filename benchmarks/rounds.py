"""Measure groups of figures, and keep what was found."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.figures import Figure, Group
from benchmarks.fleets import available
from benchmarks.load import Result
from benchmarks.peers import CannotRun, Peer


@dataclass(frozen=True)
class Row:
    """What was found of one peer: the median round, with the faults of all. ``error`` if there is nothing else."""

    group: str
    figure: str
    peer: str
    x: float
    result: Result

    @property
    def faults(self) -> int:
        """How many deliveries were not once and in order; 1 if it could not be measured at all."""
        return int(self.result.get("faults", "error" in self.result))

    @property
    def place(self) -> tuple[str, str, str]:
        """What it is a figure of."""
        return self.group, self.figure, self.peer


def measure(group: Group, seconds: float, only: Callable[[Figure, Peer], bool]) -> Iterator[Row]:
    """Measure a group: all figures and peers in turn, and that as often as it has rounds."""
    pairs = [(figure, peer) for figure in group.figures for peer in figure.peers if group.load.exists()]
    turns = [(figure, peer) for figure, peer in pairs if available(peer) and only(figure, peer)]
    found: dict[tuple[str, str], list[Result]] = {(figure.title, peer.name): [] for figure, peer in turns}
    for number in range(group.rounds):
        for figure, peer in turns:
            progress(f"{group.name} {number + 1}/{group.rounds}: {figure.title}, {peer.name}")
            found[figure.title, peer.name].append(attempt(group, figure, peer, seconds))
    progress("")
    for figure, peer in turns:
        result = median(found[figure.title, peer.name], group.key)
        yield Row(group.name, figure.title, peer.name, figure.x, result)


def attempt(group: Group, figure: Figure, peer: Peer, seconds: float) -> Result:
    """Measure once; what cannot be measured is a result too."""
    try:
        return group.measure(peer, figure.flags, seconds * figure.seconds)
    except CannotRun as error:
        return {"error": str(error)}


def median(results: Sequence[Result], key: str) -> Result:
    """Return the result with the median of ``key``, with the faults of all."""
    good = sorted((result for result in results if "error" not in result), key=lambda result: float(result[key]))
    if not good:
        return results[0]
    chosen = dict(good[len(good) // 2])
    errors = [str(result["error"]) for result in results if "error" in result]
    texts = [str(result["first_fault"]) for result in good if result.get("first_fault")]
    if faults := sum(int(result.get("faults", 0)) for result in good) + len(errors):
        chosen |= {"faults": faults, "first_fault": [*texts, *errors][0]}
    chosen["rounds"] = [result[key] for result in good]
    return chosen


def progress(text: str) -> None:
    """Show what is being done, where a person watches."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
