"""Tokens that were found to have expired: one that is presented again is refused without verifying it again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b

FOR_S = 60.0
MAX_TOKENS = 10_000
_DIGEST_BYTES = 16


class ExpiredTokens:
    """Remembers what was signed in expired tokens, as digests, for a minute.

    A client with an expired token may try again as often as it likes: it had a valid one, so it does not guess. But
    verifying it each time would cost more than a wrong token does, which is refused unread after a few.

    Not the signature: there are many ways to write the same one. Whoever knows the rest of an expired token learns
    that it has expired, which it says itself.

    Args:
        time: returns seconds on a clock that never goes back.
    """

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def __contains__(self, token: str) -> bool:
        """Whether a token is known to have expired."""
        return bool(self._until) and self._until.get(_signed(token), 0.0) > self._time()

    def add(self, token: str) -> None:
        """Remember a token that was valid once and has expired."""
        digest = _signed(token)
        self._until.pop(digest, None)
        self._until[digest] = self._time() + FOR_S
        if len(self._until) > MAX_TOKENS:
            self._until.popitem(last=False)


def _signed(token: str) -> bytes:
    signed, _, _ = token.rpartition(".")
    return blake2b(signed.encode(errors="surrogatepass"), digest_size=_DIGEST_BYTES).digest()
