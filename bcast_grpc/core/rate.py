"""How often each client may send."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter

_MAX_KEYS = 131_072
_MAX_AHEAD_S = 60.0


class RateLimits:
    """A token bucket for each client: ``burst`` messages at once, refilled with ``rate`` a second.

    A full bucket equals no bucket, so full ones are removed when there are many. If too many are not full, those that
    are closest to full are removed.

    A refused message is promised the next token that was not promised to another message of the same client. So
    messages that are retried at the time that they were given come one after the other, in their order. Messages that
    come in between are not delayed for their sake.

    Args:
        time: returns seconds on a clock that never goes back.
    """

    def __init__(self, rate: float, burst: int, time: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._time = time
        self._empty_at: dict[str, float] = {}
        self._promised: dict[str, float] = {}  # when the last promised token comes; only for clients in _empty_at
        self._prune_at = 1024

    def take(self, key: str) -> float:
        """Count a message of the client ``key``; return 0, or the seconds to wait if it may not send now.

        A refused message takes no token, but the next message that is refused has to wait longer.
        """
        now = self._time()
        # A bucket is kept as the time at which it was, or will be, empty: it holds rate * (now - empty_at) tokens.
        full = now - self._burst / self._rate
        empty_at = max(self._empty_at.get(key, full), full) + 1 / self._rate
        # Rounding errors must not cost a message, as when thirds of a second are added.
        if empty_at > now + 1e-6:
            return self._promise(key, empty_at, now) - now
        self._empty_at[key] = empty_at
        if len(self._empty_at) > self._prune_at:
            self._prune(full, now)
        return 0.0

    def _promise(self, key: str, empty_at: float, now: float) -> float:
        """Return when a refused message may come again. Beyond ``_MAX_AHEAD_S`` all of them get the same time."""
        last = self._promised.get(key)
        next_one = empty_at if last is None else min(last + 1 / self._rate, now + _MAX_AHEAD_S)
        promised = max(empty_at, next_one)
        self._promised[key] = promised
        return promised

    def _prune(self, full: float, now: float) -> None:
        self._empty_at = {key: empty_at for key, empty_at in self._empty_at.items() if empty_at > full}
        if len(self._empty_at) > _MAX_KEYS // 2:
            self._empty_at = dict(sorted(self._empty_at.items(), key=itemgetter(1))[-_MAX_KEYS // 2 :])
        self._promised = {key: until for key, until in self._promised.items() if key in self._empty_at and until > now}
        self._prune_at = min(max(1024, 2 * len(self._empty_at)), _MAX_KEYS)
