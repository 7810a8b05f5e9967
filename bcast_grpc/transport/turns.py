"""Shares the event loop: long work is done in turns, and everything else runs in between."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from time import perf_counter

LIGHT_BYTES = 64 * 1024
"""A frame up to this size is read without waiting for a turn."""

_BUDGET_S = 0.001
_REST = 2


class Turns:
    """Large frames are read in slices of about a millisecond, and each slice but the first needs a turn.

    Without turns, ten clients that send large frames would do ten slices in one pass of the loop, and every message
    would wait for all of them. A small frame needs a turn only if the current pass has spent a millisecond on reading.
    After a slice that took longer than a millisecond, reading pauses for twice as long.
    """

    __slots__ = ("_loop", "_rest_s", "_running", "_small", "_spent_s", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._running = False
        self._rest_s = 0.0
        self._small: deque[Callable[[], None]] = deque()
        self._spent_s = 0.0
        self._waiting: deque[Callable[[], bool]] = deque()

    @property
    def scarce(self) -> bool:
        """Whether a turn has to be waited for: others are waiting, or this pass of the loop has read much already."""
        return bool(self._waiting) or self._spent_s >= _BUDGET_S

    @property
    def used_up(self) -> bool:
        """Whether this pass of the loop has read as much as it may."""
        return self._spent_s >= _BUDGET_S

    def call(self, turn: Callable[[], bool]) -> None:
        """Call back when it is the caller's turn. ``turn`` returns False if it is no longer needed."""
        self._waiting.append(turn)
        self._run()

    def soon(self, work: Callable[[], None]) -> None:
        """Do a small piece of work after earlier ones: if there are thousands, a millisecond's worth in each pass."""
        self._small.append(work)
        if len(self._small) == 1:
            self._loop.call_soon(self._work)

    def _work(self) -> None:
        began = perf_counter()
        try:
            while self._small and not self.used_up:
                self._small.popleft()()
                now = perf_counter()
                self.worked(now - began)
                began = now
        finally:
            if self._small:
                self._loop.call_soon(self._work)

    async def take(self) -> None:
        """Wait for a turn, if one has to be waited for."""
        if self.scarce:
            turn: asyncio.Future[None] = self._loop.create_future()
            self.call(partial(_grant, turn))
            await turn

    def pause(self, frame_s: float, go_on: Callable[[], bool]) -> bool:
        """Let others go on, if this pass of the loop has read much already. Call this after each frame.

        Args:
            frame_s: how long reading the frame took; a small one does not queue behind large ones.
            go_on: called after the pause.

        Returns:
            Whether there is a pause.
        """
        if frame_s >= _BUDGET_S:
            self.call(go_on)
        elif self._spent_s >= _BUDGET_S:
            self._loop.call_soon(go_on)
        else:
            return False
        return True

    def spent(self, seconds: float) -> None:
        """Record how long reading took."""
        self._spent_s += seconds
        if seconds > _BUDGET_S:
            self._rest_s = max(self._rest_s, _REST * seconds)
        self._run()

    def worked(self, seconds: float) -> None:
        """Record how long it took to process what was read."""
        self._spent_s += seconds
        self._run()

    def _run(self) -> None:
        if not self._running:
            self._running = True
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        """Give a turn to the one that has waited longest."""
        rest_s, self._rest_s = self._rest_s, 0.0
        if rest_s:
            self._loop.call_later(rest_s, self._next)
            return
        self._running = False
        self._spent_s = 0.0
        taken = False
        try:
            while self._waiting and not taken:
                taken = self._waiting.popleft()()
        finally:  # an error in one turn, which the loop logs, must not stop the others
            if taken or self._waiting:
                self._run()


def _grant(turn: asyncio.Future[None]) -> bool:
    """Give a turn to a coroutine, which may have been cancelled."""
    if turn.done():
        return False
    turn.set_result(None)
    return True
