"""Signals: they end the server, or make it reload its files."""

from __future__ import annotations

import _thread
import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType

logger = logging.getLogger(__name__)

SAME_S = 1.0
"""Signals within this time of the first count as one: a terminal and a supervisor may send one each."""

_FAULT = 1


class Ending:
    """Waits for a signal that ends the server: SIGTERM, SIGINT, or a SIGHUP that is not ignored and does not reload.

    A second signal ends the process at once, even if the loop is stuck.

    Attributes:
        asked: set by the first signal.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._first: float | None = None
        self._hangs_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
        self._had_terminal = _has_terminal()
        _wake_up(self._loop)
        for number in NUMBERS:
            if number is not signal.SIGHUP or self._hangs_up:
                signal.signal(number, self._on_signal)

    def reload_on_hangup(self, reload: Callable[[], None]) -> None:
        """Call ``reload`` on SIGHUP from now on, unless the signal means that the server's terminal was closed."""

        def on_hangup(number: int, frame: FrameType | None) -> None:
            if self._hangs_up and self._had_terminal and not _has_terminal():
                self._on_signal(number, frame)
            else:
                self._loop.call_soon_threadsafe(reload)

        signal.signal(signal.SIGHUP, on_hangup)

    def wish(self, why: str) -> None:
        """End the server, as a signal does. Any thread may call this."""
        # This may interrupt anything, so it takes no lock. It notes when the signal came, not when the loop noticed it.
        now = time.monotonic()
        if self._first is None:
            self._first = now
            self._loop.call_soon_threadsafe(self._ask, why)
        elif now - self._first > SAME_S:
            _thread.start_new_thread(_end_at_once, (why,))

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self.wish(signal.Signals(number).name)

    def _ask(self, name: str) -> None:
        logger.info("%s", name)
        self.asked.set()


NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def _wake_up(loop: asyncio.AbstractEventLoop) -> None:
    """Have signals wake the loop. The system may give one to any thread, and then only this ends the loop's waiting."""
    reading, writing = socket.socketpair()
    reading.setblocking(False)
    writing.setblocking(False)
    if (fd := signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)) >= 0:
        signal.set_wakeup_fd(fd)  # uvloop does it itself
        reading.close()
        writing.close()
        return
    _kept.append(writing)
    loop.add_reader(reading, lambda: reading.recv(4096))


_kept: list[socket.socket] = []
"""As long as the process, because the system writes to them."""


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def hold() -> None:
    """Block signals until ``release``: the server is not ready for them yet, or has ended."""
    signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)


def release() -> None:
    """Deliver signals, including those that came since ``hold``."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, NUMBERS)


def _end_at_once(name: str) -> None:
    try:
        logger.warning("%s again: ending at once", name)
        logging.shutdown()
    finally:
        os._exit(_FAULT)
