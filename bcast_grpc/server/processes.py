"""Programs that this process starts."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

HANGS_S = 10.0
"""A program that has given no sign of life for so long hangs."""

LOOK_S = 1.0
"""How often that is looked at, and how often there is a sign of life."""

BEAT = b"\n"
"""The sign of life of a worker, among the lines that it says."""

_AGAIN_S = 0.1
_LONGEST_S = 10.0
_SOUND_S = 30.0


class Backoff:
    """How long to wait before a program is started again: longer each time, unless it ran for a while."""

    def __init__(self) -> None:
        self._wait_s = _AGAIN_S

    def next_s(self, lived_s: float) -> float:
        """Return how many seconds to wait.

        Args:
            lived_s: how long it ran.
        """
        if lived_s >= _SOUND_S:
            self._wait_s = _AGAIN_S
        wait_s, self._wait_s = self._wait_s, min(2 * self._wait_s, _LONGEST_S)
        return wait_s


class Watchdog:
    """Tells whether a program hangs. While this process does not run itself, it hears nothing: that does not count.

    Args:
        patience_s: how long it may take until the first sign of life, if not as long as until any other.
        time: returns seconds that never go back.

    Attributes:
        patience_s: how long it may take until the next one.
    """

    def __init__(self, patience_s: float = 0, time: Callable[[], float] = time.monotonic) -> None:
        self.patience_s = patience_s or HANGS_S
        self._time = time
        self._heard_s = self._looked_s = time()

    def hear(self) -> None:
        """Note a sign of life."""
        self._heard_s = self._time()
        self.patience_s = HANGS_S

    def hangs(self) -> bool:
        """Whether there was no sign of life for too long. Call this every ``LOOK_S``."""
        now_s = self._time()
        late_s, self._looked_s = now_s - self._looked_s - LOOK_S, now_s
        if late_s > LOOK_S:
            self._heard_s += late_s
        return now_s - self._heard_s > self.patience_s


def when_ended(process: subprocess.Popen[Any]) -> asyncio.Future[int]:
    """Return a future with the exit code. A thread waits for it, because not every event loop can."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def tell(code: int) -> None:
        if not ended.done():
            ended.set_result(code)

    def wait() -> None:
        code = process.wait()
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(tell, code)

    threading.Thread(target=wait, name=f"waits for {process.pid}", daemon=True).start()
    return ended


async def outlast(process: subprocess.Popen[Any], ended: asyncio.Future[int], watchdog: Watchdog) -> bool:
    """Wait until a program has ended, or hangs; then it is killed. Returns whether it was."""
    while not ended.done():
        await asyncio.wait([ended], timeout=LOOK_S)
        if watchdog.hangs() and not ended.done():
            process.kill()
            return True
    return False


def say_how(code: int) -> str:
    """Return in words how a program ended."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"was ended by signal {-code}"
