"""A connection to NATS, and what it has said of itself."""

from __future__ import annotations

import asyncio

from bcast_grpc.broker.nats.connection.connection import Connection

PATIENCE_S = 30


class Connected:
    """A connection, and what it has said of itself.

    Attributes:
        connection: the connection.
        news: why it was lost, or nothing where it was there.
    """

    connection: Connection

    def __init__(self) -> None:
        self.news: list[str] = []
        self._changed = asyncio.Event()

    def changed(self, why: str) -> None:
        """Take note."""
        self.news.append(why)
        self._changed.set()

    async def until(self, *, up: bool, why: str = "") -> None:
        """Wait until it is there, or not, and for some word of why."""
        async with asyncio.timeout(PATIENCE_S):
            while self.connection.up != up or why not in self.news[-1]:
                self._changed.clear()
                await self._changed.wait()
