"""How much waits to be stored, over all rooms, and the bound of that."""

from __future__ import annotations

from bcast_grpc.broker.base import Figure
from bcast_grpc.broker.budget import Budget

_MAX_MESSAGES = 16_384
_MAX_BYTES = 16 * 1024 * 1024
_MAX_CALLS = 16_384


class Backlog:
    """Counts what was given to a store and is not answered. Used from the loop only.

    Args:
        budget: also counts the bytes.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._calls = 0
        self._messages = 0
        self._bytes = 0

    @property
    def figure(self) -> Figure:
        """How many messages that is, for who watches the server."""
        return Figure("store_messages_waiting", "Messages that wait to be stored.", self._messages)

    @property
    def full(self) -> bool:
        """Whether the store has enough to do for some time."""
        return self._messages >= _MAX_MESSAGES or self._bytes >= _MAX_BYTES or self._calls >= _MAX_CALLS

    def add(self, messages: int = 0, size: int = 0) -> None:
        """Count a publish of ``size`` bytes, or a marker, which has no messages."""
        self._count(1, messages, size)

    def remove(self, messages: int = 0, size: int = 0) -> None:
        """Stop counting a publish or a marker, which has been answered."""
        self._count(-1, -messages, -size)

    def _count(self, calls: int, messages: int, size: int) -> None:
        self._calls += calls
        self._messages += messages
        self._bytes += size
        self._budget.waiting += size
