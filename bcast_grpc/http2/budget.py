"""How often a peer may make work without carrying anything: token buckets on the caller's clock."""

from __future__ import annotations

from bcast_grpc.http2.errors import ConnectionFault, ErrorCode


class Budget:
    """A bucket of ``burst`` tokens that fills up again with ``per_s`` of them a second."""

    __slots__ = ("_at", "_left")

    def __init__(self, burst: float, at: float) -> None:
        self._left = burst
        self._at = at

    def spend(self, at: float, burst: float, per_s: float, earned: float, what: str) -> None:
        """Take one token at time ``at``, after adding those that were ``earned`` otherwise.

        Raises:
            ConnectionFault: none is left.
        """
        left = min(burst, self._left + (at - self._at) * per_s + earned) - 1
        if left < 0:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"too many {what}")
        self._left, self._at = left, at
