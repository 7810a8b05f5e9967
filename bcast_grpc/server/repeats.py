"""Bounds how often the log says the same: a stranger can cause lines, and must not fill a disk with them."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from time import monotonic
from typing import NamedTuple

MOST = 100
WITHIN_S = 60.0


class Said(NamedTuple):
    """What becomes of a line.

    Attributes:
        shown: whether it is to be written.
        last: whether further ones are left out for a while.
        missed: how many were left out before it, and are not reported yet.
    """

    shown: bool
    last: bool = False
    missed: int = 0


class Repeats:
    """Counts the lines of each kind: the first ones of a minute are written, the others are counted.

    Args:
        time: returns seconds that never go back.
    """

    def __init__(self, time: Callable[[], float] = monotonic) -> None:
        self._time = time
        self._said: dict[Hashable, tuple[float, int]] = {}  # when the minute began, and how many there were in it

    def count(self, kind: Hashable) -> Said:
        """Count a line; ``kind`` is what is the same in all lines that are counted together."""
        now = self._time()
        began, count = self._said.get(kind, (now, 0))
        missed = 0
        if now - began >= WITHIN_S:
            missed = max(0, count - MOST)
            began, count = now, 0
        self._said[kind] = began, count + 1
        return Said(shown=count < MOST, last=count == MOST - 1, missed=missed)
