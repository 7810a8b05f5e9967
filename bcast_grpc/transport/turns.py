"""Who may do something long on the event loop: one after the other, with everything else in between."""

from __future__ import annotations

import asyncio
from collections import deque
from time import perf_counter

LIGHT_BYTES = 4096
"""So much is read without a turn."""

_BUDGET_S = 0.001
_REST = 2


class Turns:
    """Large frames are read in slices of about a millisecond, and a slice needs a turn.

    Without it ten clients that send large frames would do ten slices in one go, and everybody's message would wait for
    all of them. What is small needs no turn. After a slice that could not be made so small, the others have the loop
    for twice as long.
    """

    __slots__ = ("_loop", "_over_at", "_rest_s", "_running", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._running = False
        self._over_at = 0.0
        self._rest_s = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Wait for a turn, unless next to nothing was read since the loop was here last."""
        if not self._running:
            self._begin()
        elif self._waiting or perf_counter() >= self._over_at:
            turn: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append(turn)
            await turn

    def spent(self, seconds: float) -> None:
        """Say how long a slice took."""
        if seconds > _BUDGET_S:
            self._rest_s = max(self._rest_s, _REST * seconds)

    def _begin(self) -> None:
        self._running = True
        self._over_at = perf_counter() + _BUDGET_S
        self._loop.call_soon(self._next)

    def _next(self) -> None:
        """Give a turn to the one that waits longest. It has it when the loop comes to this again."""
        rest_s, self._rest_s = self._rest_s, 0.0
        if rest_s:
            self._loop.call_later(rest_s, self._next)
            return
        self._running = False
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                self._begin()
                turn.set_result(None)
                return
