"""How what is in a store is shown to people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime


def shown(name: str) -> str:
    """Show a room's name, quoted where it would not be seen, or would do something to a terminal."""
    return name if name.isprintable() and name and " " not in name else repr(name)


def counted(number: int, word: str) -> str:
    """Return a number and what it counts."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def as_time(time_ns: int | None) -> str | None:
    """Return a time since 1970 in UTC, to the second."""
    if time_ns is None:
        return None
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Yield the lines of a table; none without rows."""
    cells = [[_cell(value) for value in row] for row in rows]
    if cells:
        widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
        for row in (heads, *cells):
            yield "  ".join(map(str.ljust, row, widths)).rstrip()


def _cell(value: object) -> str:
    return "-" if value is None else shown(value) if isinstance(value, str) else str(value)
