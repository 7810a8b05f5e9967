"""An event loop in a thread of its own, for callers that have none."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Generic, TypeVar

from bcast_grpc.errors import ChatClosed

T = TypeVar("T")

_CTRL_C_S = 0.5
"""How late Ctrl-C is noticed at most: just before a wait, and on Windows always, it does not interrupt the wait."""


class Work(Generic[T]):
    """A coroutine that runs in the event loop of another thread.

    It is used in place of ``concurrent.futures`` because of Ctrl-C: inside a ``Condition``, Ctrl-C may leave the
    condition locked, and the loop would wait for it forever. Here the main thread touches only a lock of its own.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, start: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._loop = loop
        self._start = start
        self._task: asyncio.Task[T] | None = None
        self._done = threading.Lock()
        self._done.acquire()
        loop.call_soon_threadsafe(self._begin)

    def wait(self, timeout_s: float | None) -> T:
        """Wait for the result, once.

        Raises:
            TimeoutError: the result did not arrive in time.
            ChatClosed: the loop ended before.
        """
        until = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while not self._done.acquire(timeout=min(max(0.0, until - time.monotonic()), _CTRL_C_S)):
            if time.monotonic() >= until:
                raise TimeoutError(f"not done within {timeout_s:g} s")
        assert self._task
        if self._task.cancelled():
            raise ChatClosed
        return self._task.result()

    def cancel(self) -> None:
        """Cancel the work, if it is not done."""
        if self._task is None or not self._task.done():
            with suppress(RuntimeError):  # the loop has ended before
                self._loop.call_soon_threadsafe(self._cancel)

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._start())
        self._task.add_done_callback(self._end)

    def _cancel(self) -> None:
        assert self._task
        self._task.cancel()

    def _end(self, task: asyncio.Task[T]) -> None:
        if not task.cancelled():
            task.exception()  # perhaps nobody waits for it any more
        self._done.release()


class BackgroundLoop:
    """A thread with an event loop for all synchronous chats; it runs while one of them is open.

    All chats share one, because gRPC wakes every loop of a process for the events of each:
    https://github.com/grpc/grpc/pull/23377.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread
        self._no_users: asyncio.Event

    def acquire(self) -> asyncio.AbstractEventLoop:
        """Return the loop; ``release`` it later."""
        with self._lock:
            if not self._users:
                started = threading.Lock()
                started.acquire()
                self._thread = threading.Thread(
                    target=lambda: asyncio.run(self._serve(started)), name="bcast_grpc", daemon=True
                )
                self._thread.start()
                started.acquire()
            self._users += 1
            return self._loop

    def release(self) -> None:
        """Give the loop back; the thread ends with its last user."""
        with self._lock:
            self._users -= 1
            if not self._users:
                self._loop.call_soon_threadsafe(self._no_users.set)
                self._thread.join()

    async def _serve(self, started: threading.Lock) -> None:
        self._loop = asyncio.get_running_loop()
        self._no_users = no_users = asyncio.Event()
        started.release()
        await no_users.wait()
