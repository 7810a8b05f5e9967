"""The event loop that all doors share, as the core sees it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from bcast_grpc.transport.turns import Turns


class LoopScheduler:
    """A core ``Scheduler`` on the running event loop.

    Attributes:
        turns: for what would hold the loop up for long.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self.turns = Turns(self._loop)

    def time(self) -> float:
        """Return the loop's time in seconds."""
        return self._loop.time()

    def call(self, callback: Callable[[], None]) -> None:
        """Call back at once where that is the loop's thread, otherwise from there."""
        if threading.get_ident() == self._thread:
            callback()
        else:
            self._loop.call_soon_threadsafe(callback)

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call back from the loop, as soon as it comes to it. Any thread may ask."""
        if threading.get_ident() == self._thread:
            self._loop.call_soon(callback)
        else:
            self._loop.call_soon_threadsafe(callback)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Call back from the loop after ``delay_s``."""
        return self._loop.call_later(delay_s, callback)
