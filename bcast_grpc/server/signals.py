"""What ends the server from outside."""

from __future__ import annotations

import _thread
import asyncio
import logging
import os
import signal
import time
from types import FrameType

logger = logging.getLogger(__name__)

SAME_S = 1.0
"""Signals that come within this time of the first are one: a terminal and a supervisor may send one each."""

_FAULT = 1


class Ending:
    """The wish to end: SIGTERM, SIGINT, or SIGHUP unless that is ignored, as ``nohup`` does.

    A second one ends the process at once, even where the loop is stuck.

    Attributes:
        asked: set by the first one.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._first: float | None = None
        for number in NUMBERS:
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        # This may interrupt anything, so it takes no lock; it counts when the signal came, not when the loop had time.
        now = time.monotonic()
        if self._first is None:
            self._first = now
            self._loop.call_soon_threadsafe(self._ask, signal.Signals(number).name)
        elif now - self._first > SAME_S:
            _thread.start_new_thread(_end_at_once, (signal.Signals(number).name,))

    def _ask(self, name: str) -> None:
        logger.info("%s", name)
        self.asked.set()


NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def hold() -> None:
    """Keep signals for later: there is nobody yet, or any more, who would know what to do."""
    signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)


def release() -> None:
    """Let them come."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, NUMBERS)


def _end_at_once(name: str) -> None:
    try:
        logger.warning("%s again: ending at once", name)
        logging.shutdown()
    finally:
        os._exit(_FAULT)
