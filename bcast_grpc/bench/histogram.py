"""How often which value came, in a bounded number of counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

_BITS = 8


class Histogram:
    """Counts of whole numbers from 0 on, exact up to 255, else in buckets that are at most 1/128 of their value wide.

    It holds at most some 7000 counts for values of 64 bits; what several of them recorded can be put together.
    """

    RELATIVE_ERROR = 2.0 ** (1 - _BITS)
    """How much a percentile may be above the true one."""

    __slots__ = ("_counts", "count", "max")

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self.count = 0
        self.max = 0

    def record(self, value: int, times: int = 1) -> None:
        """Count a value, so many times; one below 0 counts as 0. Cost: O(1)."""
        if value > self.max:
            self.max = value
        elif value < 0:
            value = 0
        shift = max(value.bit_length() - _BITS, 0)
        self._counts[(shift << (_BITS - 1)) + (value >> shift)] += times
        self.count += times

    def merge(self, others: Iterable[Histogram]) -> Histogram:
        """Add what others have counted, and return this one."""
        for other in others:
            self._counts += other._counts  # noqa: SLF001
            self.count += other.count
            self.max = max(self.max, other.max)
        return self

    def percentile(self, percent: float) -> int:
        """The value that ``percent`` of all values do not exceed, or a little more; 0 if there are none."""
        left = self.count * percent / 100
        for bucket in sorted(self._counts):
            left -= self._counts[bucket]
            if left <= 0:
                return min(_highest(bucket), self.max)
        return self.max


def _highest(bucket: int) -> int:
    """The largest value of a bucket."""
    shift = max((bucket >> (_BITS - 1)) - 1, 0)
    return ((bucket - (shift << (_BITS - 1)) + 1) << shift) - 1
