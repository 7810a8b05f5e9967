"""How long it has been since there was an answer."""

from __future__ import annotations

from time import monotonic

_APART_S = 10.0
"""Requests that fail with so much time between them tell nothing of the time between."""


class Silence:
    """For how long one request after the other has had no answer."""

    def __init__(self) -> None:
        self._first = self._last = 0.0

    def failed(self, waited_s: float) -> None:
        """Note that a request had no answer for so long."""
        now = monotonic()
        if not self._first or now - self._last > waited_s + _APART_S:
            self._first = now - waited_s
        self._last = now

    def broken(self) -> None:
        """Note that there was an answer, or that it is known why there is none."""
        self._first = self._last = 0.0

    @property
    def seconds(self) -> float:
        """How long it has been, up to the last failure."""
        return self._last - self._first
