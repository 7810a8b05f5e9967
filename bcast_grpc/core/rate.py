"""How often each client may send."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter

_MAX_KEYS = 131_072
_MAX_AHEAD_S = 60.0


class RateLimits:
    """A token bucket for each client: ``burst`` messages at once, refilled with ``rate`` a second.

    A bucket that is full again is as good as none, so those are forgotten when there are many. Where there are too many
    that are not full, those are forgotten of which least is missing.

    What is refused gets the next moment at which there will be a token that was not promised to another message of the
    same client: those who come back then do so one after the other, in their order. Who comes in between is not held
    back for them.

    Args:
        time: returns seconds on a clock that never goes back.
    """

    def __init__(self, rate: float, burst: int, time: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._time = time
        self._empty_at: dict[str, float] = {}
        self._promised: dict[str, float] = {}  # until when tokens are; only of clients in _empty_at
        self._prune_at = 1024

    def take(self, key: str) -> float:
        """Count a message of the client ``key``; return 0, or the seconds to wait where it may not send now.

        A message that is refused costs nothing, except that the next one that is refused waits longer.
        """
        now = self._time()
        # A bucket is kept as the time at which it was, or will be, empty: it holds rate * (now - empty_at) tokens.
        full = now - self._burst / self._rate
        empty_at = max(self._empty_at.get(key, full), full) + 1 / self._rate
        # A hair of slack: adding thirds of a second must not cost a message.
        if empty_at > now + 1e-6:
            return self._promise(key, empty_at, now) - now
        self._empty_at[key] = empty_at
        if len(self._empty_at) > self._prune_at:
            self._prune(full, now)
        return 0.0

    def _promise(self, key: str, empty_at: float, now: float) -> float:
        """Return when a refused message may come again; as many may come at the last moment as are refused for it."""
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
