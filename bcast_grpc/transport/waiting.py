"""Publishes that wait while the server has enough to do: as streams do, and bounded, as there may be any number."""

from __future__ import annotations

import asyncio
from functools import partial

from bcast_grpc.core.session import Publisher
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.transport.stream import resolve

PATIENCE_S = 10.0
MAX_WAITING = 4096
MAX_WAITING_BYTES = 16 * 1024 * 1024

_RETRY_AFTER_S = 1.0


class WaitingPublishes:
    """How many wait, and how large they are."""

    def __init__(self) -> None:
        self._count = 0
        self._bytes = 0

    async def wait(self, publisher: Publisher, size: int) -> None:
        """Return when a message of ``size`` bytes may be published, which must be done without waiting once more.

        Raises:
            CallError: ``RATE_LIMITED``, where too many wait already; ``BROKER_UNAVAILABLE``, where it takes too long.
        """
        if not publisher.congested:
            return
        if self._count >= MAX_WAITING or self._bytes + size > MAX_WAITING_BYTES:
            raise CallError(
                ErrorCode.RATE_LIMITED,
                f"{self._count} publishes of {self._bytes} bytes wait already, as many as may; try again in"
                f" {_RETRY_AFTER_S:g} s",
                retry_after_s=_RETRY_AFTER_S,
            )
        self._count += 1
        self._bytes += size
        try:
            async with asyncio.timeout(PATIENCE_S):
                await _until_clear(publisher)
        except TimeoutError:
            raise CallError(
                ErrorCode.BROKER_UNAVAILABLE,
                f"the message was not sent: for {PATIENCE_S:g} s there was more to do than the server could",
                retry_after_s=_RETRY_AFTER_S,
            ) from None
        finally:
            self._count -= 1
            self._bytes -= size


async def _until_clear(publisher: Publisher) -> None:
    while publisher.congested:
        clear: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        publisher.when_clear(partial(resolve, clear, None))
        await clear
