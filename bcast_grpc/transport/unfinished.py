"""Bounds what is kept of messages, and of HTTP headers, that have not come to their end, at the socket doors together.

gRPC has its own bound, for calls: see ``grpc/kept.py``.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

logger = logging.getLogger(__name__)

MAX_BYTES = 64 * 1024 * 1024
"""Past that the connection is closed whose message began first."""

_LEAST_BYTES = 5 * 1024 * 1024
"""A server with little memory has a quarter of it for these, but no less than for a large message."""

_SMALL_BYTES = 8 * 1024
"""So much may be kept without being counted: nearly all messages are smaller, and counting would cost each of them."""


def most_unfinished(memory: int) -> int:
    """Return how many bytes of unfinished messages a server may keep that has so much memory at the moment.

    They may stay for ever, and new clients are refused while memory is full.
    """
    return max(_LEAST_BYTES, min(MAX_BYTES, memory // 4))


class Budget(Protocol):
    """The memory of the server, as far as it is used here.

    Attributes:
        bound: how much there is, as last measured.
        unfinished: how much of it unfinished messages take.
    """

    bound: int
    unfinished: int


class Unfinished:
    """What is kept of unfinished messages, by connection, the oldest message first.

    Args:
        budget: counts it, too, if there is one.
    """

    def __init__(self, budget: Budget | None = None) -> None:
        self._budget = budget
        self._sizes: dict[asyncio.Transport, int] = {}
        self._total = 0

    def keep(self, transport: asyncio.Transport, size: int) -> None:
        """Note how many bytes a connection keeps. Where that grows, a connection may be closed. Cost: O(1)."""
        before = self._sizes.get(transport, 0)
        if size <= _SMALL_BYTES:
            if before:
                self.forget(transport)
            return
        self._sizes[transport] = size
        self._add(size - before)
        most = most_unfinished(self._budget.bound) if self._budget else MAX_BYTES
        while self._total > most:
            self._close(next(iter(self._sizes)))

    def forget(self, transport: asyncio.Transport | None) -> None:
        """Note that a connection keeps nothing more: its message is complete, or it is lost."""
        if transport:
            self._add(-self._sizes.pop(transport, 0))

    def _add(self, size: int) -> None:
        self._total += size
        if self._budget:
            self._budget.unfinished += size

    def _close(self, transport: asyncio.Transport) -> None:
        peer, size = transport.get_extra_info("peername"), self._sizes[transport]
        logger.info("%s is disconnected: too much is kept of unfinished messages, %d bytes of one there", peer, size)
        self.forget(transport)
        transport.abort()
