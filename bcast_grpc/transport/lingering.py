"""A client whose stream ends gets what is queued for it, as long as it keeps reading."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from bcast_grpc.transport.tcp_info import all_taken

LINGER_S = 10.0
"""How long a client whose stream is ending may go without reading anything of what is queued for it."""

_LOOKS = 20
_POLL_S = 0.1


class Linger:
    """A time limit that begins with ``begin()``, and again whenever the client has read something.

    It has no effect before ``start()`` and after ``stop()``.
    """

    __slots__ = ("_acked", "_expired", "_limit", "_look_timer", "_loop", "_seen")

    def __init__(self) -> None:
        self._acked: Callable[[], int] | None = None
        self._expired: Callable[[], None] | None = None
        self._limit: asyncio.TimerHandle | None = None
        self._look_timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._seen = 0

    def start(self, expired: Callable[[], None], acked: Callable[[], int] | None = None) -> None:
        """Set what is called when the time is over.

        Args:
            expired: called once, when the time is over.
            acked: returns how many bytes the client has acknowledged, if that is known.
        """
        self._expired = expired
        self._acked = acked

    def begin(self, seconds: float | None = None) -> None:
        """Begin the time limit: ``LINGER_S``, or ``seconds``."""
        if self._expired is None:
            return
        self._set(LINGER_S if seconds is None else seconds)
        if self._acked and not self._look_timer:
            self._seen = self._acked()
            self._look_later()

    def stop(self) -> None:
        """End the time limit."""
        self._expired = self._acked = None
        for timer in (self._limit, self._look_timer):
            if timer:
                timer.cancel()
        self._limit = self._look_timer = None

    def _set(self, seconds: float) -> None:
        if self._limit:
            self._limit.cancel()
        self._limit = self._loop.call_later(seconds, self._expire)

    def _expire(self) -> None:
        expired = self._expired
        self.stop()
        if expired:
            expired()

    def _look_later(self) -> None:
        self._look_timer = self._loop.call_later(LINGER_S / _LOOKS, self._look)

    def _look(self) -> None:
        if self._acked:
            if (acked := self._acked()) != self._seen:
                self._seen = acked
                self._set(LINGER_S)
            self._look_later()


@asynccontextmanager
async def limited(linger: Linger, acked: Callable[[], int] | None = None) -> AsyncIterator[None]:
    """Raise ``TimeoutError`` in the ``with`` block when the time of ``linger`` is over; stop it at the end."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as limit:
        linger.start(lambda: limit.reschedule(loop.time()), acked)
        try:
            yield
        finally:
            linger.stop()


async def taken(transport: asyncio.WriteTransport) -> None:
    """Wait until the client's system has acknowledged everything, or the connection is lost."""
    pause_s = _POLL_S / 100
    while not all_taken(transport):
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _POLL_S)
