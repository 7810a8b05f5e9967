"""Bounds what is kept of messages, and of HTTP headers, that have not come to their end, at the socket doors together.

gRPC has its own bound, for calls: see ``grpc/kept.py``.
"""

from __future__ import annotations

import asyncio
import logging

logger = logging.getLogger(__name__)

MAX_BYTES = 64 * 1024 * 1024
"""Past that the connection is closed whose message began first."""

_SMALL_BYTES = 8 * 1024
"""So much may be kept without being counted: nearly all messages are smaller, and counting would cost each of them."""


class Unfinished:
    """What is kept of unfinished messages, by connection, the oldest message first."""

    def __init__(self) -> None:
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
        self._total += size - before
        while self._total > MAX_BYTES:
            self._close(next(iter(self._sizes)))

    def forget(self, transport: asyncio.Transport | None) -> None:
        """Note that a connection keeps nothing more: its message is complete, or it is lost."""
        if transport:
            self._total -= self._sizes.pop(transport, 0)

    def _close(self, transport: asyncio.Transport) -> None:
        peer, size = transport.get_extra_info("peername"), self._sizes[transport]
        logger.info("%s is disconnected: too much is kept of unfinished messages, %d bytes of one there", peer, size)
        self.forget(transport)
        transport.abort()
