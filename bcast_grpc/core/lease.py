"""A client may stay until its token expires."""

from __future__ import annotations

import time
from collections.abc import Callable

from bcast_grpc.core.scheduling import Scheduler, Timer

WARNING_S = 30.0
"""How long before its token expires a client is warned."""

_MAX_TIMER_S = 30.0
"""The longest timer: the system may be suspended, which a steady clock does not notice, or its clock be set."""


class Lease:
    """Warns a client before its token expires, and ends its stream when it does.

    What a token says is about the time of day. So where that has gone on faster than the scheduler's clock, it counts.

    Args:
        scheduler: provides the time.
        expires_at: when the token expires, on the scheduler's clock.
        warn: called once, with the seconds that are left.
        end: called when the token has expired.
    """

    __slots__ = ("_end", "_expires_at", "_scheduler", "_timer", "_wall_expires", "_warn", "_warned")

    def __init__(
        self, scheduler: Scheduler, expires_at: float, warn: Callable[[float], None], end: Callable[[], None]
    ) -> None:
        self._scheduler = scheduler
        self._expires_at = expires_at
        self._wall_expires = time.time() + expires_at - scheduler.time()
        self._warn = warn
        self._end = end
        self._warned = False
        self._timer: Timer | None = None
        self._look()

    def stop(self) -> None:
        """Call back no more. Call this in any case when the client leaves or gets another lease."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._warn = self._end = _nobody

    def _look(self) -> None:
        left_s = min(self._expires_at - self._scheduler.time(), self._wall_expires - time.time())
        if left_s <= WARNING_S and not self._warned:
            self._warned = True
            self._warn(left_s)
        if left_s <= 0:
            self._timer = None
            self._end()
            return
        until_s = left_s if self._warned else left_s - WARNING_S
        self._timer = self._scheduler.call_later(min(until_s, _MAX_TIMER_S), self._look)


def _nobody(*_: object) -> None:
    """Do nothing: the client has left, or has presented another token."""
