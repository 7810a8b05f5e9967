"""A connection that reconnects: one call after another, until the chat is left or another attempt cannot succeed."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import NamedTuple

from bcast_grpc.client.backoff import Backoff
from bcast_grpc.client.call import Call
from bcast_grpc.client.dial import Dialer
from bcast_grpc.client.dispatcher import Dispatcher
from bcast_grpc.client.endings import lost
from bcast_grpc.client.renewal import Renewal
from bcast_grpc.client.unanswered import Unanswered
from bcast_grpc.errors import BcastError, CallError, ChatClosed, ConnectionLost, ErrorCode
from bcast_grpc.events import Kind, Reconnecting

_LOOKS = 20
"""How often leaving checks whether answers still come, within ``leave_timeout_s``."""


class Outage(NamedTuple):
    """There has been no connection since ``began``, in the loop's time, because of ``error``."""

    began: float
    error: BcastError


class Connection:
    """The connection of one chat, over all of its calls.

    Args:
        dialer: makes the calls.
        name: the name that others see, until the server accepts another.
        max_downtime_s: how long to reconnect without success; 0 for not at all, ``None`` for no limit.
        leave_timeout_s: how long leaving waits for an answer, and then for the end of the call.

    Attributes:
        error: what ended it; ``None`` while it lasts, and if it ended without an error or by ``close()``.
        over: whether it has ended. What was received before may still be in the inbox.
    """

    def __init__(
        self,
        dialer: Dialer,
        name: str,
        unanswered: Unanswered,
        dispatcher: Dispatcher,
        renewal: Renewal,
        backoff: Backoff,
        max_downtime_s: float | None,
        leave_timeout_s: float,
    ) -> None:
        if leave_timeout_s <= 0:
            raise ValueError(f"leave_timeout_s must be more than 0, not {leave_timeout_s:g}")
        self.error: BcastError | None = None
        self.over = False
        self._dialer = dialer
        self._name = name
        self._unanswered = unanswered
        self._dispatcher = dispatcher
        self._renewal = renewal
        self._backoff = backoff
        self._max_downtime_s = max_downtime_s
        self._leave_timeout_s = leave_timeout_s
        self._began = 0.0  # the call
        self._why_closed: BcastError | None = None
        self._left_at = math.inf
        self._left = asyncio.Event()
        self._ended = asyncio.Event()
        self._call: Call | None = None
        self._task: asyncio.Task[None]

    async def open(self) -> None:
        """Connect for the first time. This is attempted once.

        Raises:
            CallError: the server refused the connection.
            ConnectionLost: no server was reached, or it did not answer in time.
        """
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._keep(opened))
        try:
            await opened
        except BaseException:
            await self.close()
            raise

    def raise_error(self) -> None:
        """Raise what ended the connection, if that was an error."""
        if self.error:
            raise self.error.with_traceback(None)  # otherwise the traceback would grow each time

    def wake(self) -> None:
        """Wake the writer: a request was queued."""
        self._unanswered.queued.set()
        self._dispatcher.wake()

    def leave(self) -> None:
        """Prepare to leave: from now on, waiting for an absent server has a limit."""
        if not self._left.is_set():
            self._left_at = _now()
            self._left.set()

    async def until_answered(self) -> None:
        """Wait for all answers, but give up if the server answers nothing for ``leave_timeout_s``.

        While there is no connection, ``max_downtime_s`` limits the wait instead.
        """
        away_s = max(self._max_downtime_s or 0.0, self._leave_timeout_s)
        missing, since = self._unanswered.awaited, _now()
        while self._unanswered.awaited and not self.over:
            if self._unanswered.awaited < missing:
                missing, since = self._unanswered.awaited, _now()
            silent_since = max(since, self._began) if self._call else math.inf
            if _now() >= min(silent_since, since + away_s) + self._leave_timeout_s:
                why = f"no answer within {self._leave_timeout_s:g} s{_loss(self._unanswered.count)}"
                await self.close(self._lost(why))
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(self._leave_timeout_s / _LOOKS):
                    await self._unanswered.all_answered.wait()

    async def finish(self) -> None:
        """Half-close, and wait until the server has ended the call; no longer than ``leave_timeout_s``."""
        self._dispatcher.leave()
        if self._call:
            self._call.finish(self._unanswered)
        try:
            async with asyncio.timeout(self._leave_timeout_s):
                await self._ended.wait()
        except TimeoutError:
            await self.close(
                self._lost(f"the server did not end the call within {self._leave_timeout_s:g} s after we left")
            )

    async def close(self, why: BcastError | None = None) -> None:
        """End the connection at once, if it has not ended."""
        self._why_closed = why
        self._task.cancel()
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.result()  # raises what went wrong in this library

    def _lost(self, cause: str) -> ConnectionLost:
        return lost(self._dialer.target, cause, connected=True)

    # --- the task that keeps the connection

    async def _keep(self, opened: asyncio.Future[None]) -> None:
        error: BcastError | None = CallError(
            ErrorCode.INTERNAL, "the client library failed; this is a bug, please report it"
        )
        try:
            error = await self._run(opened)
        except BcastError as final:
            error = final
            if not opened.done():
                opened.set_exception(final)
        except asyncio.CancelledError:
            error = self._why_closed
            raise
        finally:
            self._end(error)

    async def _run(self, opened: asyncio.Future[None]) -> BcastError | None:
        """Go from call to call.

        Returns:
            Why the last call ended; ``None`` if it ended without an error.

        Raises:
            BcastError: there is no next call.
        """
        call = await self._dial()
        self._dispatcher.begin(call.info)
        opened.set_result(None)
        while True:
            began = self._began = _now()
            error = await self._through(call)
            if error is None or not self._may_retry(error) or self._max_downtime_s == 0 or self._done:
                return error
            self._backoff.connected(_now() - began)
            self._dispatcher.lost()
            again = await self._reconnect(Outage(_now(), error))
            if again is None:
                return None
            call = again
            self._dispatcher.begin(call.info)

    async def _through(self, call: Call) -> BcastError | None:
        self._unanswered.rewind()
        self._call = call
        if self._done:
            call.finish(self._unanswered)
        try:
            return await call.run(self._unanswered, self._dispatcher, self._renewal)
        finally:
            self._call = None

    async def _reconnect(self, outage: Outage) -> Call | None:
        """Dial until there is a call again; ``None`` if the chat was left and has nothing more to send.

        Raises:
            BcastError: the time is up, or the server said not to come back.
        """
        error, asked_s, attempt = outage.error, self._dispatcher.reconnect_after_s, 1
        while True:
            pause_s = self._pause_s(outage, error, asked_s)
            text = f"{error}; trying again in {pause_s:.1f} s"
            self._dispatcher.tell(Kind.RECONNECTING, text, Reconnecting(error, attempt, pause_s))
            await self._wait(pause_s, outage)
            if self._done:
                return None
            try:
                return await self._dial()
            except BcastError as failed:
                if not self._may_retry(failed):
                    raise
                error, asked_s, attempt = failed, 0.0, attempt + 1

    def _may_retry(self, error: BcastError) -> bool:
        tokens = self._dialer.tokens
        if error.code is not ErrorCode.TOKEN_EXPIRED:
            return error.retryable
        tokens.expired()
        return tokens.renewable

    def _pause_s(self, outage: Outage, error: BcastError, asked_s: float) -> float:
        """How long to wait: at least as long as the server asked for, and no longer than the time that is left.

        Raises:
            ConnectionLost: the time is up, or the server asked for more time than is left.
        """
        left_s, asked_s = self._until(outage) - _now(), max(asked_s, error.retry_after_s)
        if left_s <= 0 or asked_s > left_s:
            raise self._given_up(outage, error)
        return max(asked_s, min(self._backoff.pause_s(), left_s))

    def _until(self, outage: Outage) -> float:
        if self._max_downtime_s is not None:
            return outage.began + self._max_downtime_s
        return max(outage.began, self._left_at) + self._leave_timeout_s

    def _given_up(self, outage: Outage, error: BcastError) -> ConnectionLost:
        away_s = _now() - outage.began
        return ConnectionLost(f"{error}; given up after {away_s:.1f} s{_loss(self._unanswered.count)}")

    async def _wait(self, pause_s: float, outage: Outage) -> None:
        """Wait; less long if the chat is left meanwhile."""
        until = _now() + pause_s
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._left.wait()
        if not self._done:
            await asyncio.sleep(max(0.0, min(until, self._until(outage)) - _now()))

    async def _dial(self) -> Call:
        if self._unanswered.name is not None:
            self._name = self._unanswered.name
        return await Call.open(self._dialer, self._name, self._dispatcher.resume_point)

    @property
    def _done(self) -> bool:
        """Whether the chat was left and has nothing more to send."""
        return self._left.is_set() and not self._unanswered.count

    def _end(self, error: BcastError | None) -> None:
        self.over = True
        self.error = error
        self._unanswered.fail(error or ChatClosed("the chat ended before the server answered"))
        self._dispatcher.end()
        self._ended.set()


def _loss(count: int) -> str:
    if not count:
        return ""
    return f"; {count} requests were not acknowledged" if count > 1 else "; 1 request was not acknowledged"


def _now() -> float:
    return asyncio.get_running_loop().time()
