"""Numbers by which servers agree on what came later."""

from __future__ import annotations

from collections.abc import Callable

_MICROSECOND_NS = 1000
_LATEST = 230 * 365 * 86_400 * 1_000_000
"""No clock is believed beyond the year 2200."""

_STEP = 3_600 * 1_000_000
"""What is beyond that is an hour ahead of what was heard before, at most: so stamps never run out."""


class Stamps:
    """Gives numbers that are greater than all before them, here and as far as other servers have been heard.

    They follow the wall clock in microseconds, so that they also are about right between servers that have not heard
    of each other. Where clocks differ, those of all servers follow the one that is ahead, by however many years.

    Args:
        wall_ns: returns nanoseconds since 1970.
    """

    def __init__(self, wall_ns: Callable[[], int]) -> None:
        self._wall_ns = wall_ns
        self.last = 0

    def next(self) -> int:
        """Return the next number."""
        self.last = max(self.last + 1, min(self._wall_ns() // _MICROSECOND_NS, _LATEST))
        return self.last

    def believes(self, stamp: int) -> bool:
        """Whether a server can have given this number."""
        return stamp <= max(_LATEST, self.last) + _STEP

    def hear(self, stamp: int) -> None:
        """Note a number that another server has given."""
        if self.last < stamp and self.believes(stamp):
            self.last = stamp
