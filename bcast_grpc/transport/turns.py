"""Who may do something long on the event loop: one after the other, with everything else in between."""

from __future__ import annotations

import asyncio
from collections import deque

LIGHT_BYTES = 64 * 1024
"""A frame up to this size is begun without a turn: its first slice is as small as any."""

_BUDGET_S = 0.001
_REST = 2


class Turns:
    """Large frames are read in slices of about a millisecond, and each slice but the first needs a turn.

    Without it ten clients that send large frames would do ten slices in one go, and everybody's message would wait for
    all of them. What is small needs a turn only where a millisecond has been spent on reading since the loop was here
    last. After a slice that could not be made so small, the others have the loop for twice as long.
    """

    __slots__ = ("_loop", "_rest_s", "_running", "_spent_s", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._running = False
        self._rest_s = 0.0
        self._spent_s = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Wait for a turn, unless nobody does and little was read since the loop was here last."""
        if self._waiting or self._spent_s >= _BUDGET_S:
            await self._wait()

    async def pause(self, frame_s: float) -> None:
        """Let others go on where much was read since the loop was here last: to be called after each frame.

        Args:
            frame_s: how long reading the frame took; a small one does not queue behind large ones.
        """
        if frame_s >= _BUDGET_S:
            await self._wait()
        elif self._spent_s >= _BUDGET_S:
            await asyncio.sleep(0)

    def spent(self, seconds: float) -> None:
        """Say how long reading took."""
        self._spent_s += seconds
        if seconds > _BUDGET_S:
            self._rest_s = max(self._rest_s, _REST * seconds)
        self._run()

    def worked(self, seconds: float) -> None:
        """Say how long it took to carry out what was read."""
        self._spent_s += seconds
        self._run()

    async def _wait(self) -> None:
        turn: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(turn)
        self._run()
        await turn

    def _run(self) -> None:
        if not self._running:
            self._running = True
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        """Give a turn to the one that waits longest. It has it when the loop comes to this again."""
        rest_s, self._rest_s = self._rest_s, 0.0
        if rest_s:
            self._loop.call_later(rest_s, self._next)
            return
        self._running = False
        self._spent_s = 0.0
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._run()
                return
