"""Limits how often a peer may send frames that make work and carry nothing: leaky buckets on a monotonic clock."""

from __future__ import annotations

from bcast_grpc.http2.errors import ConnectionFault, ErrorCode

SAVED = 100
"""How many times the limit a peer can save up: a slow peer may answer everything that was sent to it at once."""


class Budget:
    """What a peer has spent; it regains that with time, and by what it earns."""

    __slots__ = ("_at", "_spent")

    def __init__(self, at: float) -> None:
        self._spent: float = 0
        self._at = at

    def spend(self, at: float, limit: float, per_s: float, earned: int, what: str) -> None:
        """Spend 1 at time ``at``, after regaining ``per_s`` for each second and what was ``earned``.

        Time gives back no more than was spent; earnings can be saved, up to ``SAVED`` times the limit.

        Raises:
            ConnectionFault: more than ``limit`` would be spent.
        """
        spent = self._spent
        if spent > 0:
            spent = max(0, spent - (at - self._at) * per_s)
        self._spent = spent = max(spent - earned, -SAVED * limit) + 1
        self._at = at
        if spent > limit:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"too many {what}")
