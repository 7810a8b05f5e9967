"""Bounds the memory of messages that are incomplete, or complete and not carried out yet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from bcast_grpc.transport.grpc.call import Call
from bcast_grpc.transport.unfinished import Budget, most_unfinished

MAX_WAITING_BYTES = 256 * 1024 * 1024
"""Beyond this the oldest call ends even if it waits for the server: its clients send more than their room can take.

A server with little memory has a quarter of it for both, but no less than 5 MiB.
"""

MAX_CONNECTION_BYTES = 16 * 1024 * 1024
"""Beyond this for one connection, its oldest call that waits for its own client ends. A proxy has calls of many."""

_STEP_BYTES = 1024 * 1024
"""If no call waits for its own client, all calls are checked again when so much more is kept."""


@dataclass(slots=True)
class _Connection:
    """What the calls of a connection keep, the oldest first."""

    bytes: int = 0
    calls: dict[Call, None] = field(default_factory=dict)


class Kept:
    """How many bytes of messages each call keeps, the oldest first.

    Args:
        budget: counts it, too.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._sizes: dict[Call, int] = {}
        self._connections: dict[object, _Connection] = {}
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
        connection = self._connections.get(call.carrier)
        if connection is None:
            connection = self._connections[call.carrier] = _Connection()
        connection.bytes += size - before
        if size:
            self._sizes[call] = size
            connection.calls[call] = None
        else:
            del self._sizes[call], connection.calls[call]
            if not connection.calls:
                del self._connections[call.carrier]
        self._total += size - before
        self._budget.unfinished += size - before
        most = most_unfinished(self._budget.bound)
        if self._total <= most:
            self._looked_at = 0
        if size < before:
            return None
        if connection.bytes > MAX_CONNECTION_BYTES and (oldest := _oldest(connection.calls)):
            return oldest
        return self._look(most)

    def _look(self, most: int) -> Call | None:
        if self._total <= most or self._total < self._looked_at + _STEP_BYTES:
            return None
        if oldest := _oldest(self._sizes):
            return oldest
        self._looked_at = self._total
        most_waiting = max(most, min(MAX_WAITING_BYTES, self._budget.bound // 4))
        return next(iter(self._sizes)) if self._total > most_waiting else None


def _oldest(calls: Iterable[Call]) -> Call | None:
    """Return the first call that waits for its own client, if there is one."""
    return next((call for call in calls if call.is_waited_for), None)
