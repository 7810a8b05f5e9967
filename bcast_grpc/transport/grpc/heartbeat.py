"""Detects dead clients where the system does not report what it hears: pings them, and expects any byte."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_SILENT_BEATS = 2


class Heartbeat:
    """Pings a silent client, until ``stop()``.

    Args:
        interval_s: how long it may be silent before it is pinged.
        ping: sends a ping.
        gone: called once after twice the interval without a byte from the client.
    """

    __slots__ = ("_gone", "_interval_s", "_loop", "_ping", "_silent", "_timer")

    def __init__(self, interval_s: float, ping: Callable[[], None], gone: Callable[[], None]) -> None:
        self._interval_s = interval_s
        self._ping = ping
        self._gone = gone
        self._silent = 0
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(interval_s, self._beat)

    def heard(self) -> None:
        """Note that the client has sent something."""
        self._silent = 0

    def stop(self) -> None:
        """Stop pinging."""
        self._timer.cancel()
        self._ping = self._gone = _nothing  # breaks the reference cycle with the connection

    def _beat(self) -> None:
        self._silent += 1
        if self._silent >= _SILENT_BEATS:
            self._gone()
            return
        self._timer = self._loop.call_later(self._interval_s, self._beat)
        self._ping()


def _nothing() -> None:
    """Do nothing: the connection has ended."""
