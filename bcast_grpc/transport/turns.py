"""Shares the event loop: long work is done in turns, and everything else runs in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import TypeVar

from bcast_grpc.transport.by_address import ByAddress

T = TypeVar("T")

LIGHT_BYTES = 64 * 1024
"""A frame up to this size is read without waiting for a turn."""

BUDGET_S = 0.001
"""How long turns take in a pass of the loop."""

_REST = 2


class Turns:
    """Large frames are read in slices of about a millisecond, and each slice but the first needs a turn.

    Without turns, ten clients that send large frames would do ten slices in one pass of the loop, and every message
    would wait for all of them. A small frame needs a turn only if the current pass has spent a millisecond on reading.
    After a slice that took longer than a millisecond, reading pauses for twice as long.

    Small work, such as admitting a client, goes on meanwhile: each pass does one piece, and more if there is time left.

    Addresses take turns, and the connections of an address do: whoever asks for much keeps others waiting for little.

    Those who have much to write take turns of their own, in the same way: see ``LoopScheduler``.

    Args:
        loop: the event loop.
        several: whether a pass has turns for a millisecond at the moment, instead of one.
    """

    __slots__ = ("_loop", "_rest_s", "_running", "_several", "_small", "_spent_s", "_waiting", "_works")

    def __init__(self, loop: asyncio.AbstractEventLoop, several: Callable[[], bool] = bool) -> None:
        self._loop = loop
        self._several = several
        self._running = False
        self._rest_s = 0.0
        self._small = ByAddress[Callable[[], object]]()
        self._spent_s = 0.0
        self._waiting = ByAddress[Callable[[], bool]]()
        self._works = False

    @property
    def scarce(self) -> bool:
        """Whether a turn has to be waited for: others are waiting, or this pass of the loop has read much already."""
        return bool(self._waiting) or self._spent_s >= BUDGET_S

    @property
    def used_up(self) -> bool:
        """Whether this pass of the loop has read, or written, as much as it may."""
        return self._spent_s >= BUDGET_S

    def call(self, peer: str, turn: Callable[[], bool]) -> None:
        """Call back when it is the turn of the client at ``peer``. ``turn`` returns False if it is no longer needed."""
        self._waiting.add(peer, turn)
        self._run()

    def soon(self, peer: str, work: Callable[[], object]) -> None:
        """Do a small piece of work for the client at ``peer``: of thousands, a millisecond's worth in each pass.

        Args:
            peer: the client's end of the connection.
            work: returns False if it was no longer needed.
        """
        self._small.add(peer, work)
        if not self._works:
            self._works = True
            self._loop.call_soon(self._work)

    def _work(self) -> None:
        self._works = False
        began = perf_counter()
        try:
            while self._small:
                needed = self._small.take()() is not False
                now = perf_counter()
                self.worked(now - began)
                began = now
                if needed and self.used_up:  # one is done in any case, or endless reading would leave no time for any
                    break
        finally:
            if self._small and not self._works:
                self._works = True
                self._loop.call_soon(self._work)

    async def take(self, peer: str) -> None:
        """Wait for a turn, if one has to be waited for."""
        if self.scarce:
            turn: asyncio.Future[None] = self._loop.create_future()
            self.call(peer, partial(self._grant, turn))
            await turn

    def _grant(self, turn: asyncio.Future[None]) -> bool:
        """Give the last turn of this pass to a coroutine, which takes it later, and may have been cancelled."""
        if turn.done():
            return False
        self._spent_s = BUDGET_S
        turn.set_result(None)
        return True

    async def do(self, peer: str, work: Callable[[], T]) -> T:
        """Do a small piece of work as ``soon`` does, or now if nobody waits, and return its result.

        It is not done if this is cancelled before.
        """
        if not (self._small or self.used_up):
            began = perf_counter()
            try:
                return work()
            finally:
                self.worked(perf_counter() - began)
        done: asyncio.Future[T] = self._loop.create_future()
        self.soon(peer, partial(_do, done, work))
        del work
        try:
            return await done
        finally:
            del done  # it may have an error, which refers to this frame

    def pause(self, peer: str, frame_s: float, go_on: Callable[[], bool]) -> bool:
        """Let others go on, if this pass of the loop has read much already. Call this after each frame.

        Args:
            peer: the client's end of the connection.
            frame_s: how long reading the frame took; a small one does not queue behind large ones.
            go_on: called after the pause.

        Returns:
            Whether there is a pause.
        """
        if frame_s >= BUDGET_S:
            self.call(peer, go_on)
        elif self._spent_s >= BUDGET_S:
            self._loop.call_soon(go_on)
        else:
            return False
        return True

    def spent(self, seconds: float) -> None:
        """Record how long reading took."""
        self._spent_s += seconds
        if seconds > BUDGET_S:
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
        """Give a turn to the one that has waited longest, and to others if there are several in a pass."""
        rest_s, self._rest_s = self._rest_s, 0.0
        if rest_s:
            self._loop.call_later(rest_s, self._next)
            return
        self._running = False
        self._spent_s = 0.0
        taken = False
        try:
            while self._waiting and not (taken and (self.used_up or not self._several())):
                taken |= self._waiting.take()()
        finally:  # an error in one turn, which the loop logs, must not stop the others
            if taken or self._waiting:
                self._run()


def _do(done: asyncio.Future[T], work: Callable[[], T]) -> bool:
    """Do the work of a coroutine, which may have been cancelled."""
    if done.done():
        return False
    try:
        done.set_result(work())
    except Exception as raised:  # noqa: BLE001  # the coroutine gets it
        done.set_exception(raised)
    finally:
        del done, work  # an error refers to this frame, and there may be a token in the work
    return True
