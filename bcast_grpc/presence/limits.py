"""What clients use of their limits, over all servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bcast_grpc.core.rate import RateLimits
from bcast_grpc.log.v1 import peers_pb2 as pb

_MAX_KEYS = 1000
_MAX_BYTES = 64 * 1024
_MAX_KEY = 16 * 1024
_MAX_MESSAGES = 1_000_000
_USAGE_BYTES = 16


class SharedLimits:
    """Tells the other servers how much clients have sent here, and counts what they tell. A ``Part`` of the talk.

    So a client that sends at several servers has one limit, though what it sends at the others counts only with their
    next beats. If there are too many clients to tell of, the busiest are told.

    Args:
        rates: this server's limits.
        max_bytes: returns how large a message may be.
    """

    def __init__(self, rates: RateLimits, max_bytes: Callable[[], int]) -> None:
        self._rates = rates
        self._max_bytes = max_bytes

    def beat(self) -> Iterator[pb.PeerMessage]:
        """Return what has been used since the last beat."""
        message = pb.PeerMessage()
        left = min(_MAX_BYTES, self._max_bytes())
        for key, messages in self._rates.used()[:_MAX_KEYS]:
            left -= 4 * len(key) + _USAGE_BYTES
            if left < 0:
                break
            message.used.usages.add(key=key, messages=min(messages, _MAX_MESSAGES))
        if message.used.usages:
            yield message

    def heard(self, message: pb.PeerMessage) -> None:
        """Count what another server tells."""
        for usage in message.used.usages[:_MAX_KEYS]:
            if 0 < len(usage.key) <= _MAX_KEY:
                self._rates.charge(usage.key, min(usage.messages, _MAX_MESSAGES))

    def gone(self, server: str) -> None:
        """Do nothing: what was used stays used."""

    def tick(self, now_s: float) -> None:
        """Do nothing: it speaks with the beats."""

    def end(self) -> None:
        """Do nothing: what was not told is forgiven."""
