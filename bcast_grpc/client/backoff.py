"""How long to wait before the next try."""

from __future__ import annotations

import random


class Backoff:
    """Exponential backoff with full jitter: a random part of a bound that doubles with each try.

    So the clients of a server that went away do not come back all at once. Source:
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/

    Args:
        first_s: the bound for the first pause.
        max_s: what the bound does not exceed.
    """

    def __init__(self, first_s: float, max_s: float) -> None:
        if not 0 < first_s <= max_s:
            raise ValueError(f"first_retry_s, max_retry_s: {first_s:g}, {max_s:g} do not fit; 0 < first <= max")
        self._first_s = first_s
        self._max_s = max_s
        self._bound_s = first_s

    def pause_s(self) -> float:
        """How long to wait now; longer the next time."""
        bound_s, self._bound_s = self._bound_s, min(self._bound_s * 2, self._max_s)
        return random.uniform(0, bound_s)

    def connected(self, for_s: float) -> None:
        """Begin anew, if a connection lasted longer than any pause: one that is cut at once again is no success."""
        if for_s > self._max_s:
            self._bound_s = self._first_s
