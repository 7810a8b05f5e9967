"""A connection that comes back: one stream after another, until it is left, given up, or told not to."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import NamedTuple

from bcast_grpc.client.backlog import Backlog
from bcast_grpc.client.backoff import Backoff
from bcast_grpc.client.calls import Caller
from bcast_grpc.client.endings import lost
from bcast_grpc.client.intake import Intake
from bcast_grpc.client.stream import Stream
from bcast_grpc.errors import BcastError, CallError, ChatClosed, ConnectionLost, ErrorCode
from bcast_grpc.events import Kind, Reconnecting

_LOOKS = 20
"""How often one who leaves looks whether answers still come, within the time that is waited for one."""


class Outage(NamedTuple):
    """There is no connection since ``began``, in the loop's time, for the reason of ``error``."""

    began: float
    error: BcastError


class Connection:
    """What a chat says and hears through.

    Args:
        caller: whom to call, and as who.
        name: what others see, until the server agrees to another.
        max_downtime_s: how long to try without success; 0 not to try at all, ``None`` for ever.
        leave_timeout_s: how long one who leaves waits for an answer, and then for the end of the call.

    Attributes:
        error: what ended it; none while it lasts, or if it ended well or by ``close()``.
        over: whether it has ended. What was received before may still be in the inbox.
    """

    def __init__(
        self,
        caller: Caller,
        name: str,
        backlog: Backlog,
        intake: Intake,
        backoff: Backoff,
        max_downtime_s: float | None,
        leave_timeout_s: float,
    ) -> None:
        if leave_timeout_s <= 0:
            raise ValueError(f"leave_timeout_s: {leave_timeout_s:g} does not fit; it takes more than 0")
        self.error: BcastError | None = None
        self.over = False
        self._caller = caller
        self._name = name
        self._backlog = backlog
        self._intake = intake
        self._backoff = backoff
        self._max_downtime_s = max_downtime_s
        self._leave_timeout_s = leave_timeout_s
        self._began = 0.0  # the stream
        self._why_closed: BcastError | None = None
        self._left_at = math.inf
        self._left = asyncio.Event()
        self._ended = asyncio.Event()
        self._stream: Stream | None = None
        self._task: asyncio.Task[None]

    async def open(self) -> None:
        """Connect for the first time, with a single try.

        Raises:
            CallError: the server refused.
            ConnectionLost: there is none, or none that answered in time.
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
            raise self.error.with_traceback(None)  # else it would grow with each time

    def wake(self) -> None:
        """Tell that something was put into the backlog."""
        self._backlog.queued.set()
        self._intake.wake()

    def leave(self) -> None:
        """Get ready to leave: from now on there is an end to waiting for a server that is not there."""
        if not self._left.is_set():
            self._left_at = _now()
            self._left.set()

    async def until_answered(self) -> None:
        """Wait for the answers to all that was asked; give up where the server answers nothing for ``leave_timeout_s``.

        While there is no connection, ``max_downtime_s`` says how long there may be none.
        """
        away_s = max(self._max_downtime_s or 0.0, self._leave_timeout_s)
        missing, since = self._backlog.awaited, _now()
        while self._backlog.awaited and not self.over:
            if self._backlog.awaited < missing:
                missing, since = self._backlog.awaited, _now()
            silent_since = max(since, self._began) if self._stream else math.inf
            if _now() >= min(silent_since, since + away_s) + self._leave_timeout_s:
                loss = f"{self._backlog.unanswered} requests were not acknowledged"
                await self.close(self._lost(f"no answer within {self._leave_timeout_s:g} s; {loss}"))
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(self._leave_timeout_s / _LOOKS):
                    await self._backlog.all_answered.wait()

    async def finish(self) -> None:
        """Half-close, and wait until the server has ended the call; no longer than ``leave_timeout_s``."""
        self._intake.leave()
        if self._stream:
            self._stream.finish(self._backlog)
        try:
            async with asyncio.timeout(self._leave_timeout_s):
                await self._ended.wait()
        except TimeoutError:
            await self.close(self._lost(f"it did not end within {self._leave_timeout_s:g} s of our leaving"))

    async def close(self, why: BcastError | None = None) -> None:
        """End at once, if it has not ended."""
        self._why_closed = why
        self._task.cancel()
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.result()  # a fault of this library

    def _lost(self, cause: str) -> ConnectionLost:
        return lost(self._caller.target, cause, connected=True)

    # --- the task that keeps it

    async def _keep(self, opened: asyncio.Future[None]) -> None:
        error: BcastError | None = CallError(ErrorCode.INTERNAL, "a fault of the client library")
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
        """Go from stream to stream.

        Returns:
            Why the last one ended; nothing where the server, or one's leaving, ended it well.

        Raises:
            BcastError: there is no next one.
        """
        stream = await self._call()
        self._intake.begin(stream.hello)
        opened.set_result(None)
        while True:
            began = self._began = _now()
            error = await self._through(stream)
            if error is None or not error.retryable or self._max_downtime_s == 0 or self._done:
                return error
            self._backoff.connected(_now() - began)
            self._intake.lost()
            again = await self._reconnect(Outage(_now(), error))
            if again is None:
                return None
            stream = again
            self._intake.begin(stream.hello)

    async def _through(self, stream: Stream) -> BcastError | None:
        self._backlog.rewind()
        self._stream = stream
        if self._done:
            stream.finish(self._backlog)
        try:
            return await stream.run(self._backlog, self._intake)
        finally:
            self._stream = None

    async def _reconnect(self, outage: Outage) -> Stream | None:
        """Try until there is a stream again; none where one left that has nothing to come back for.

        Raises:
            BcastError: given up, or told not to come back.
        """
        error, asked_s, attempt = outage.error, self._intake.reconnect_after_s, 1
        while True:
            pause_s = self._pause_s(outage, error, asked_s)
            text = f"{error}; trying again in {pause_s:.1f} s"
            self._intake.tell(Kind.RECONNECTING, text, Reconnecting(error, attempt, pause_s))
            await self._wait(pause_s, outage)
            if self._done:
                return None
            try:
                return await self._call()
            except BcastError as failed:
                if not failed.retryable:
                    raise
                error, asked_s, attempt = failed, 0.0, attempt + 1

    def _pause_s(self, outage: Outage, error: BcastError, asked_s: float) -> float:
        """How long to wait: as long as the server asked for, and a last time until the time is up.

        Raises:
            ConnectionLost: the time is up, or the server asked for more than there is.
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
        away_s, unanswered = _now() - outage.began, self._backlog.unanswered
        loss = f"; {unanswered} requests were not acknowledged" if unanswered else ""
        return ConnectionLost(f"{error}; given up after {away_s:.1f} s{loss}")

    async def _wait(self, pause_s: float, outage: Outage) -> None:
        """Wait; one who leaves waits no longer than there is reason to."""
        until = _now() + pause_s
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._left.wait()
        if not self._done:
            await asyncio.sleep(max(0.0, min(until, self._until(outage)) - _now()))

    async def _call(self) -> Stream:
        if self._backlog.name is not None:
            self._name = self._backlog.name
        return await Stream.open(self._caller, self._name, self._intake.position)

    @property
    def _done(self) -> bool:
        """Whether one left and has nothing to come back for."""
        return self._left.is_set() and not self._backlog.unanswered

    def _end(self, error: BcastError | None) -> None:
        self.over = True
        self.error = error
        self._backlog.fail(error or ChatClosed("the chat ended before the server answered"))
        self._intake.end()
        self._ended.set()


def _now() -> float:
    return asyncio.get_running_loop().time()
