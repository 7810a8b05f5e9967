"""How much may be on its way to the server, so that a slow line is not filled for minutes. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable

_LEAST_BYTES = 16 * 1024
_PERIOD_S = 2.0


class Window:
    """Bounds the bytes that are written and not answered: some seconds' worth, as the line turns out to be.

    Behind more than that a ping would wait, and its answer, until the connection seems dead; and a large frame is
    answered no sooner than its last byte has arrived. What was answered within the last two periods tells how fast the
    line is, so the bound doubles with each round trip until it is reached.

    Args:
        max_frame_bytes: how large a frame may be on a fast line.
    """

    def __init__(self, max_frame_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._clock = clock
        self._under_way = 0
        self._answered = 0  # in this period
        self._answered_before = 0  # in the one before
        self._period_ends = 0.0

    def allowance(self, first: int) -> int:
        """How large the next frame may be, of which the first request has that many bytes; 0 for none yet."""
        self._turn_over()
        bound = _LEAST_BYTES + self._answered + self._answered_before
        room = bound - self._under_way if self._under_way else max(bound, first)
        return min(room, max(first, min(self._max_frame_bytes, bound // 4))) if first <= room else 0

    def wrote(self, size: int) -> None:
        """Count what goes out."""
        self._under_way += size

    def answered(self, size: int) -> None:
        """Count what was answered."""
        self._under_way = max(0, self._under_way - size)
        self._answered += size

    def begin(self) -> None:
        """Begin with a connection, on which nothing is under way."""
        self._under_way = self._answered = self._answered_before = 0

    def _turn_over(self) -> None:
        now = self._clock()
        if now < self._period_ends:
            return
        self._answered_before = self._answered if now < self._period_ends + _PERIOD_S else 0
        self._answered = 0
        self._period_ends = now + _PERIOD_S
