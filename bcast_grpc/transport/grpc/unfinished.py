"""Bounds what is kept of messages that have not come to their end."""

from __future__ import annotations

from bcast_grpc.transport.grpc.call import Call

MAX_BYTES = 64 * 1024 * 1024
"""The most that is kept for all connections; past that the call ends whose message has been unfinished the longest."""

MAX_CONNECTION_BYTES = 16 * 1024 * 1024
"""The most that is kept for one connection; the call ends that goes beyond it."""


class Unfinished:
    """What is kept of unfinished messages, by call, the oldest first."""

    def __init__(self) -> None:
        self._sizes: dict[Call, int] = {}
        self._of_connections: dict[object, int] = {}
        self._total = 0

    def keep(self, call: Call, size: int) -> Call | None:
        """Note how many bytes a call keeps.

        Returns:
            The call that is to end, since that is too much.
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
        if size and of_connection > MAX_CONNECTION_BYTES:
            return call
        return next(iter(self._sizes)) if self._total > MAX_BYTES else None
