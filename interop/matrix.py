"""What came of it, for each pair of languages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

from .program import Program

Count: TypeAlias = tuple[int, int]
Counts: TypeAlias = dict[tuple[str, str], Count]


class Matrix:
    """How many cases were right of how many, for each language that speaks and each that listens; and each outage."""

    def __init__(self) -> None:
        self.pairs: defaultdict[tuple[str, str], Count] = defaultdict(lambda: (0, 0))
        self.alone: defaultdict[tuple[str, str], Count] = defaultdict(lambda: (0, 0))

    def pair(self, speaker: str, listener: str, *, right: bool) -> None:
        """Count a case."""
        _add(self.pairs, (speaker, listener), (right, 1))

    async def each(self, what: str, programs: Iterable[Program], check: Callable[[Program], Awaitable[None]]) -> None:
        """Check something for each program.

        Raises:
            AssertionError: it is not so for some.
        """
        faults: list[str] = []
        for program in programs:
            right = True
            try:
                await check(program)
            except AssertionError as fault:
                right = False
                faults.append(f"{program.language.name}: {fault}")
            _add(self.alone, (program.language.name, what), (right, 1))
        assert not faults, "\n".join(faults)

    def counts(self) -> list[Counts]:
        """Return all that was counted."""
        return [dict(self.pairs), dict(self.alone)]

    def add(self, counts: list[Counts]) -> None:
        """Add what was counted in another process."""
        for ours, theirs in zip((self.pairs, self.alone), counts, strict=True):
            for where, count in theirs.items():
                _add(ours, where, count)

    def lines(self) -> list[str]:
        """Return it as text."""
        return [
            *_table("speaks \\ hears", self.pairs),
            "",
            *_table("", self.alone),
        ]


def _add(counts: defaultdict[tuple[str, str], Count], where: tuple[str, str], some: Count) -> None:
    right, times = counts[where]
    counts[where] = right + some[0], times + some[1]


def _table(corner: str, counts: dict[tuple[str, str], Count]) -> list[str]:
    if not counts:
        return []
    rows = list(dict.fromkeys(row for row, _ in counts))
    columns = sorted(
        dict.fromkeys(column for _, column in counts), key=lambda name: rows.index(name) if name in rows else 0
    )
    cells = [[corner, *columns]]
    cells += [[row, *(_cell(counts.get((row, column))) for column in columns)] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns) + 1)]
    return ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def _cell(count: Count | None) -> str:
    if count is None:
        return "-"
    right, times = count
    return f"{right} of {times}" + ("" if right == times else " WRONG")
