"""The event loop that all doors share, as the core sees it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent import futures
from time import perf_counter
from typing import Any, TypeVar

from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.transport.turns import Turns

T = TypeVar("T")

_LOOK_S = 0.5
"""How often a thread that waits for the loop checks whether the loop has ended."""


class LoopScheduler:
    """A core ``Scheduler`` on the running event loop.

    Attributes:
        turns: for work that would block the loop for long.
        writes: the turns of those who have much to write. Reading does not wait for them; while they keep each pass of
            the loop busy, it has several turns in a pass.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself keeps no reference to tasks
        self.writes = writes = Turns(self._loop, several=lambda: True)
        self.turns = Turns(self._loop, several=lambda: writes.scarce)

    def time(self) -> float:
        """Return the loop's time in seconds."""
        return self._loop.time()

    def precise_time(self) -> float:
        """Return seconds to the microsecond; uvloop's own time counts in milliseconds."""
        return perf_counter()

    def call(self, callback: Callable[[], None]) -> None:
        """Call back: at once in the loop's thread, from another thread in the loop."""
        if threading.get_ident() == self._thread:
            callback()
        else:
            self._loop.call_soon_threadsafe(callback)

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call back from the loop in its next pass. May be called from any thread."""
        if threading.get_ident() == self._thread:
            self._loop.call_soon(callback)
        else:
            self._loop.call_soon_threadsafe(callback)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Call back from the loop after ``delay_s``."""
        return self._loop.call_later(delay_s, callback)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine in a task of its own."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def do(self, peer: str, work: Callable[[], T]) -> T:
        """Do a small piece of work when it is the turn of the client at ``peer``, and return its result."""
        return await self.turns.do(peer, work)

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine in this loop, whichever loop this is awaited in, and return its result."""
        if asyncio.get_running_loop() is self._loop:
            return await work()
        try:
            return await asyncio.wrap_future(self._begin(work))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task and task.cancelling():
                raise
            raise _stopped() from None  # not this task was cancelled: the server's loop has ended

    def wait(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine in this loop, and block until there is a result.

        Raises:
            CallError: ``SHUTTING_DOWN``: the loop has ended.
            RuntimeError: it was called in the loop's own thread.
        """
        if threading.get_ident() == self._thread and not self._loop.is_closed():  # thread ids are reused
            raise RuntimeError("this would block the server's own event loop; await the server's methods there")
        future = self._begin(work)
        while True:
            futures.wait([future], _LOOK_S)
            if future.done() and not future.cancelled():
                return future.result()
            if future.cancelled() or self._loop.is_closed():
                raise _stopped()

    def _begin(self, work: Callable[[], Coroutine[Any, Any, T]]) -> futures.Future[T]:
        working = work()
        try:
            return asyncio.run_coroutine_threadsafe(working, self._loop)
        except RuntimeError:  # the loop is closed
            working.close()
            raise _stopped() from None


def _stopped() -> CallError:
    return CallError(ErrorCode.SHUTTING_DOWN, "the server has stopped")
