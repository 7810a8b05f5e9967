"""How long the client waits while there is no connection."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import NamedTuple

from bcast_grpc.client.backoff import Backoff
from bcast_grpc.client.unanswered import Unanswered
from bcast_grpc.errors import BcastError, ConnectionLost


class Outage(NamedTuple):
    """There has been no connection since ``began``, in the loop's time, because of ``error``."""

    began: float
    error: BcastError


class Patience:
    """Decides how long to wait before each attempt to reconnect, and when to give up.

    Args:
        unanswered: a chat that is being left still reconnects to send these.
        backoff: the pauses between attempts.
        max_downtime_s: how long to reconnect without success; 0 for not at all, ``None`` for no limit.
        leave_timeout_s: how long leaving waits for an answer, and then for the end of the call; and how long to
            reconnect once the chat is being left, if ``max_downtime_s`` sets no limit.

    Raises:
        ValueError: ``leave_timeout_s`` is not more than 0.
    """

    def __init__(
        self, unanswered: Unanswered, backoff: Backoff, max_downtime_s: float | None, leave_timeout_s: float
    ) -> None:
        if leave_timeout_s <= 0:
            raise ValueError(f"leave_timeout_s must be more than 0, not {leave_timeout_s:g}")
        self.max_downtime_s = max_downtime_s
        self.leave_timeout_s = leave_timeout_s
        self._unanswered = unanswered
        self._backoff = backoff
        self._left = asyncio.Event()
        self._left_at = math.inf

    def leave(self) -> None:
        """Note that the chat is being left: from now on, waiting for an absent server has a limit."""
        if not self._left.is_set():
            self._left_at = now()
            self._left.set()

    @property
    def done(self) -> bool:
        """Whether the chat was left and has nothing more to send."""
        return self._left.is_set() and not self._unanswered.count

    def connected(self, lasted_s: float) -> bool:
        """Note how long a connection lasted; return whether that was long."""
        return self._backoff.connected(lasted_s)

    def pause_s(self, outage: Outage, error: BcastError, asked_s: float) -> float:
        """Return how long to wait: at least as long as the servers asked for, and no longer than the time that is left.

        Args:
            outage: the present one.
            error: why the last attempt failed.
            asked_s: how long all servers asked to wait.

        Raises:
            ConnectionLost: the time is up, or the servers asked for more time than is left.
        """
        left_s = self._until(outage) - now()
        if left_s <= 0 or asked_s > left_s:
            away_s = now() - outage.began
            raise ConnectionLost(f"{error}; given up after {away_s:.1f} s{loss(self._unanswered.count)}")
        return max(asked_s, min(self._backoff.pause_s(), left_s))

    async def wait(self, pause_s: float, outage: Outage) -> None:
        """Wait; less long if the chat is left meanwhile."""
        until = now() + pause_s
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._left.wait()
        if not self.done:
            await asyncio.sleep(max(0.0, min(until, self._until(outage)) - now()))

    def _until(self, outage: Outage) -> float:
        if self.max_downtime_s is not None:
            return outage.began + self.max_downtime_s
        return max(outage.began, self._left_at) + self.leave_timeout_s


def loss(count: int) -> str:
    """Return the end of an error text: how many requests were not acknowledged; nothing if there are none."""
    if not count:
        return ""
    return f"; {count} requests were not acknowledged" if count > 1 else "; 1 request was not acknowledged"


def now() -> float:
    """Return the loop's time in seconds."""
    return asyncio.get_running_loop().time()
