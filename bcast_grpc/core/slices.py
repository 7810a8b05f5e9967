"""How many clients are written to in one go, before others have their turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SLICE_S = 0.002
"""How long writers write in one go, estimated from the last writes; then others have their turn."""

FEW_WRITERS = 16
"""A round with fewer writers counts as one with this many: its time says more about other rooms than about its writes.
At least this many write in one go, however long that takes."""

_LEAST_S = 1e-6


class Slice:
    """As many writers as take ``SLICE_S``, by what the last writes took.

    Args:
        time: returns seconds on a clock that never goes back and shows microseconds.

    Attributes:
        writers: how many that is.
        passed_on: how many clients a round has written to without waking their writers.
        encoding_s: how long it took to encode what a round writes.
    """

    __slots__ = ("_began", "_passed", "_time", "encoding_s", "passed_on", "writers")

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._began = 0.0
        self._passed = 0
        self.writers = FEW_WRITERS
        self.passed_on = 0
        self.encoding_s = 0.0

    @property
    def left(self) -> int:
        """How many more writers the current slice has time for."""
        return max(0, self.writers - self._passed)

    def begin(self) -> None:
        """Report that a flush begins."""
        self.passed_on = 0
        self.encoding_s = 0.0
        self.go_on()

    def encode(self, make: Callable[[], T]) -> T:
        """Return what ``make`` encodes for the round, and measure how long that takes."""
        began = self._time()
        made = make()
        self.encoding_s += self._time() - began
        return made

    def go_on(self) -> None:
        """Report that the next slice begins."""
        self._began = self._time()
        self._passed = 0

    def passed(self, clients: int) -> None:
        """Report that the slice has written to so many more clients itself.

        Call this right after the last of these writes: the time until then is theirs, and what follows is not.
        """
        self.passed_on += clients
        self._passed += clients
        self.measure(self._passed, self._time() - self._began)

    def measure(self, writers: int, took_s: float) -> None:
        """Report how long the writes of so many clients took."""
        self.writers = max(FEW_WRITERS, int(SLICE_S * writers / max(took_s, _LEAST_S)))
