"""How often each client may send."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from operator import itemgetter

_MAX_KEYS = 131_072
_MAX_KEY = 128
_MAX_AHEAD_S = 60.0
_SHARED = ("@", ":")
"""What the keys of subjects and of clients with an id of their own begin with."""


class RateLimits:
    """A token bucket for each client: ``burst`` messages at once, refilled with ``rate`` a second.

    A full bucket equals no bucket, so full ones are removed when there are many. If too many are not full, those that
    are closest to full are removed.

    A refused message is promised the next token that was not promised to another message of the same client. So
    messages that are retried at the time that they were given come one after the other, in their order. Messages that
    come in between are not delayed for their sake.

    Where servers share their rooms, each is told what a client has ``used`` at the others, and counts that too
    (``charge``). Only clients that may be known to several servers are shared: subjects, and those with a
    ``bcast-client``.

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
        self._used: dict[str, int] | None = None

    def take(self, key: str) -> float:
        """Count a message of the client ``key``; return 0, or the seconds to wait if it may not send now.

        A refused message takes no token, but the next message that is refused has to wait longer.
        """
        key = _short(key)
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
        if self._used is not None and key.startswith(_SHARED) and len(self._used) < _MAX_KEYS:
            self._used[key] = self._used.get(key, 0) + 1
        return 0.0

    def used(self) -> list[tuple[str, int]]:
        """Return how many messages each shared client has sent since this was last called, the busiest first.

        They are counted from the first call on.
        """
        used, self._used = self._used or {}, {}
        return sorted(used.items(), key=itemgetter(1), reverse=True)

    def charge(self, key: str, messages: int) -> None:
        """Count messages that a client has sent at another server. It may have to wait for a minute at most."""
        key = _short(key)
        now = self._time()
        full = now - self._burst / self._rate
        empty_at = max(self._empty_at.get(key, full), full) + messages / self._rate
        self._empty_at[key] = min(empty_at, now + _MAX_AHEAD_S)
        if len(self._empty_at) > self._prune_at:
            self._prune(full, now)

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


def _short(key: str) -> str:
    """Return what a key is kept as. Subjects may be long, and there may be many of them."""
    return key if len(key) <= _MAX_KEY else f"{key[0]}{blake2b(key.encode(), digest_size=32).hexdigest()}"
