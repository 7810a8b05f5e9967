"""Bounds how much is under way to the server, so that a slow line is not filled for minutes. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable

_LEAST_BYTES = 16 * 1024
_PERIOD_S = 2.0


class Window:
    """Bounds the bytes that are written and not answered: to some seconds' worth of the line.

    Behind more bytes than that, a ping and its answer would wait until the connection seems dead. Also, a large frame
    is answered only after its last byte has arrived. The bytes that were answered within the last two periods show how
    fast the line is; until its speed is reached, the bound doubles with each round trip.

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
        """How many bytes the next frame may have, if its first request has ``first``; 0 for not yet."""
        self._turn_over()
        bound = _LEAST_BYTES + self._answered + self._answered_before
        room = bound - self._under_way if self._under_way else max(bound, first)
        return min(room, max(first, min(self._max_frame_bytes, bound // 4))) if first <= room else 0

    def wrote(self, size: int) -> None:
        """Count bytes that were written."""
        self._under_way += size

    def answered(self, size: int) -> None:
        """Count bytes that were answered."""
        self._under_way = max(0, self._under_way - size)
        self._answered += size

    def begin(self) -> None:
        """Begin a call, on which nothing is under way."""
        self._under_way = self._answered = self._answered_before = 0

    def _turn_over(self) -> None:
        now = self._clock()
        if now < self._period_ends:
            return
        self._answered_before = self._answered if now < self._period_ends + _PERIOD_S else 0
        self._answered = 0
        self._period_ends = now + _PERIOD_S
