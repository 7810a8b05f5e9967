"""How long to wait before the next attempt."""

from __future__ import annotations

import random


class Backoff:
    """Exponential backoff with full jitter: a random part of a bound that doubles with each attempt.

    So the clients of a server that went away do not all come back at once. Source:
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/

    Args:
        first_s: the bound of the first pause.
        max_s: the largest bound.
    """

    def __init__(self, first_s: float, max_s: float) -> None:
        if not 0 < first_s <= max_s:
            raise ValueError(
                f"first_retry_s must be more than 0 and at most max_retry_s, not {first_s:g} and {max_s:g}"
            )
        self._first_s = first_s
        self._max_s = max_s
        self._bound_s = first_s

    def pause_s(self) -> float:
        """How long to wait now; the next bound is twice as large."""
        bound_s, self._bound_s = self._bound_s, min(self._bound_s * 2, self._max_s)
        return random.uniform(0, bound_s)

    def connected(self, for_s: float) -> bool:
        """Start over, if the connection lasted longer than any pause: one that is cut at once is no success.

        Returns:
            Whether it was one.
        """
        if for_s > self._max_s:
            self._bound_s = self._first_s
        return for_s > self._max_s
