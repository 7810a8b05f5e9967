"""Bounds the memory of messages that are incomplete, or complete and not carried out yet."""

from __future__ import annotations

from bcast_grpc.transport.grpc.call import Call

MAX_BYTES = 64 * 1024 * 1024
"""Beyond this for all connections, the oldest call ends that waits for its own client."""

MAX_WAITING_BYTES = 256 * 1024 * 1024
"""Beyond this the oldest call ends even if it waits for the server: its clients send more than their room can take.

A server with little memory has a quarter of ``max-memory`` for these, but no less than ``MAX_BYTES``.
"""

MAX_CONNECTION_BYTES = 16 * 1024 * 1024
"""Beyond this for one connection, a call ends that waits for its own client and keeps more than before."""

_STEP_BYTES = 1024 * 1024
"""If no call waits for its own client, all calls are checked again when so much more is kept."""


class Kept:
    """How many bytes of messages each call keeps, the oldest first.

    Args:
        max_memory: the bound for everything else that the process holds.
    """

    def __init__(self, max_memory: int) -> None:
        self._max_waiting = min(MAX_WAITING_BYTES, max(MAX_BYTES, max_memory // 4))
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
        of_connection = self._of_connections.get(call.carrier, 0) + size - before
        if of_connection:
            self._of_connections[call.carrier] = of_connection
        else:
            del self._of_connections[call.carrier]
        if self._total <= MAX_BYTES:
            self._looked_at = 0
        if size < before:
            return None
        return call if of_connection > MAX_CONNECTION_BYTES and call.is_waited_for else self._look()

    def _look(self) -> Call | None:
        if self._total <= MAX_BYTES or self._total < self._looked_at + _STEP_BYTES:
            return None
        for call in self._sizes:
            if call.is_waited_for:
                return call
        self._looked_at = self._total
        return next(iter(self._sizes)) if self._total > self._max_waiting else None
