"""Last words: who still reads gets what is queued for it, however long that takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from bcast_grpc.transport.liveness import untaken

LINGER_S = 10.0
"""How long a client whose stream is ending may take nothing of what is queued for it."""

_LOOKS = 20
_POLL_S = 0.1


class Linger:
    """A time limit that begins with ``begin()``, and anew whenever the client is seen to take something.

    It is an asynchronous context that raises ``TimeoutError``.
    """

    __slots__ = ("_acked", "_inside", "_limit", "_loop", "_seen", "_timer")

    def __init__(self) -> None:
        self._acked: Callable[[], int] | None = None
        self._inside = False
        self._limit = asyncio.timeout(None)
        self._loop = asyncio.get_running_loop()
        self._seen = 0
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await self._limit.__aenter__()
        self._inside = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        await self._limit.__aexit__(kind, error, traceback)

    def watch(self, acked: Callable[[], int]) -> None:
        """Look at how many bytes have been acknowledged."""
        self._acked = acked

    def begin(self, seconds: float | None = None) -> None:
        """Give it some time from now on: ``LINGER_S``, or as much as this says."""
        if not self._inside or self._limit.expired():
            return
        self._limit.reschedule(self._loop.time() + (LINGER_S if seconds is None else seconds))
        if self._acked and not self._timer:
            self._seen = self._acked()
            self._look_later()

    def stop(self) -> None:
        """Limit nothing any more."""
        self._inside = False
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._acked = None

    def _look_later(self) -> None:
        self._timer = self._loop.call_later(LINGER_S / _LOOKS, self._look)

    def _look(self) -> None:
        self._timer = None
        if not self._acked or not self._inside or self._limit.expired():
            return
        if (acked := self._acked()) != self._seen:
            self._seen = acked
            self._limit.reschedule(self._loop.time() + LINGER_S)
        self._look_later()


async def taken(transport: asyncio.WriteTransport) -> None:
    """Wait until the client's system has acknowledged everything, or the client is gone."""
    pause_s = _POLL_S / 100
    while untaken(transport):
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _POLL_S)
