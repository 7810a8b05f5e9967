"""Bounds the memory of messages that are incomplete, or complete and not carried out yet."""

from __future__ import annotations

from bcast_grpc.transport.grpc.call import Call
from bcast_grpc.transport.unfinished import Budget, most_unfinished

MAX_WAITING_BYTES = 256 * 1024 * 1024
"""Beyond this the oldest call ends even if it waits for the server: its clients send more than their room can take.

A server with little memory has a quarter of ``max-memory`` for both, but no less than 16 MiB.
"""

MAX_CONNECTION_BYTES = 16 * 1024 * 1024
"""Beyond this for one connection, a call ends that waits for its own client and keeps more than before."""

_STEP_BYTES = 1024 * 1024
"""If no call waits for its own client, all calls are checked again when so much more is kept."""


class Kept:
    """How many bytes of messages each call keeps, the oldest first.

    Args:
        budget: counts it, too.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._most = most_unfinished(budget.max_bytes)
        self._max_waiting = max(self._most, min(MAX_WAITING_BYTES, budget.max_bytes // 4))
        self._sizes: dict[Call, int] = {}
        self._of_connections: dict[object, int] = {}
        self._total = 0
        self._looked_at = 0  # the total when all calls were last checked in vain

    def keep(self, call: Call, size: int) -> Call | None:
        """Note how many bytes a call keeps.

        Returns:
            The call that must end because too much is kept, if any.
        """
        before = self._sizes.get(call, 0)
        if size == before:
            return None
        if size:
            self._sizes[call] = size
        else:
            del self._sizes[call]
        self._total += size - before
        self._budget.unfinished += size - before
        of_connection = self._of_connections.get(call.carrier, 0) + size - before
        if of_connection:
            self._of_connections[call.carrier] = of_connection
        else:
            del self._of_connections[call.carrier]
        if self._total <= self._most:
            self._looked_at = 0
        if size < before:
            return None
        return call if of_connection > MAX_CONNECTION_BYTES and call.is_waited_for else self._look()

    def _look(self) -> Call | None:
        if self._total <= self._most or self._total < self._looked_at + _STEP_BYTES:
            return None
        for call in self._sizes:
            if call.is_waited_for:
                return call
        self._looked_at = self._total
        return next(iter(self._sizes)) if self._total > self._max_waiting else None
