"""A connection that reconnects: one call after another, until the chat is left or another attempt cannot succeed."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress

from bcast_grpc.client.call import Call
from bcast_grpc.client.dial import Dialer
from bcast_grpc.client.dispatcher import Dispatcher
from bcast_grpc.client.endings import lost
from bcast_grpc.client.patience import Outage, Patience, loss, now
from bcast_grpc.client.renewal import Renewal
from bcast_grpc.client.unanswered import Unanswered
from bcast_grpc.errors import BcastError, CallError, ChatClosed, ConnectionLost, ErrorCode
from bcast_grpc.events import Kind, Reconnecting

_LOOKS = 20
"""How often leaving checks whether answers still come, within ``leave_timeout_s``."""


class Connection:
    """The connection of one chat, over all of its calls.

    Args:
        dialer: makes the calls.
        name: the name that others see, until the server accepts another.
        patience: how long it waits for a server that is away.

    Attributes:
        error: what ended it; ``None`` while it lasts, and if it ended without an error or by ``close()``.
        over: whether it has ended. What was received before may still be in the inbox.
        target: the address of the server of the last call; empty before the first.
    """

    def __init__(
        self,
        dialer: Dialer,
        name: str,
        unanswered: Unanswered,
        dispatcher: Dispatcher,
        renewal: Renewal,
        patience: Patience,
    ) -> None:
        self.error: BcastError | None = None
        self.over = False
        self.target = ""
        self._dialer = dialer
        self._name = name
        self._unanswered = unanswered
        self._dispatcher = dispatcher
        self._renewal = renewal
        self._patience = patience
        self._began = 0.0  # the call
        self._why_closed: BcastError | None = None
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
        self._patience.leave()

    async def until_answered(self) -> None:
        """Wait for all answers, but give up if the server answers nothing for ``leave_timeout_s``.

        While there is no connection, ``max_downtime_s`` limits the wait instead.
        """
        timeout_s = self._patience.leave_timeout_s
        away_s = max(self._patience.max_downtime_s or 0.0, timeout_s)
        missing, since = self._unanswered.awaited, now()
        while self._unanswered.awaited and not self.over:
            if self._unanswered.awaited < missing:
                missing, since = self._unanswered.awaited, now()
            silent_since = max(since, self._began) if self._call else math.inf
            if now() >= min(silent_since, since + away_s) + timeout_s:
                why = f"no answer within {timeout_s:g} s{loss(self._unanswered.count)}"
                await self.close(self._lost(why))
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s / _LOOKS):
                    await self._unanswered.all_answered.wait()

    async def finish(self) -> None:
        """Half-close, and wait until the server has ended the call; no longer than ``leave_timeout_s``."""
        self._dispatcher.leave()
        if self._call:
            self._call.finish(self._unanswered)
        timeout_s = self._patience.leave_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await self._ended.wait()
        except TimeoutError:
            await self.close(self._lost(f"the server did not end the call within {timeout_s:g} s after we left"))

    async def close(self, why: BcastError | None = None) -> None:
        """End the connection at once, if it has not ended."""
        self._why_closed = why
        self._task.cancel()
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.result()  # raises what went wrong in this library

    def _lost(self, cause: str) -> ConnectionLost:
        return lost(self.target, cause, connected=True)

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
        self._begin(call)
        opened.set_result(None)
        while True:
            began = self._began = now()
            error = await self._through(call)
            if error is None or not self._may_retry(error) or self._patience.max_downtime_s == 0 or self._patience.done:
                return error
            choice = self._dialer.choice
            leave = choice.leave if self._patience.connected(now() - began) else choice.put_last
            leave(call.address, max(error.retry_after_s, self._dispatcher.reconnect_after_s))
            self._dispatcher.lost()
            again = await self._reconnect(Outage(now(), error))
            if again is None:
                return None
            call = again
            self._begin(call)

    def _begin(self, call: Call) -> None:
        before, self.target = self.target, str(call.address)
        self._dispatcher.begin(call.info, moved_to=self.target if before != self.target else "")

    async def _through(self, call: Call) -> BcastError | None:
        self._unanswered.rewind()
        self._call = call
        if self._patience.done:
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
        error, attempt = outage.error, 1
        while True:
            pause_s = self._patience.pause_s(outage, error, self._dialer.choice.wait_s())
            text = f"{error}; trying again in {pause_s:.1f} s"
            self._dispatcher.tell(Kind.RECONNECTING, text, Reconnecting(error, attempt, pause_s))
            await self._patience.wait(pause_s, outage)
            if self._patience.done:
                return None
            try:
                return await self._dial()
            except BcastError as failed:
                if not self._may_retry(failed):
                    raise
                error, attempt = failed, attempt + 1

    def _may_retry(self, error: BcastError) -> bool:
        tokens = self._dialer.tokens
        if error.code is not ErrorCode.TOKEN_EXPIRED:
            return error.retryable
        tokens.expired()
        return tokens.renewable

    async def _dial(self) -> Call:
        if self._unanswered.name is not None:
            self._name = self._unanswered.name
        return await Call.open(self._dialer, self._name, self._dispatcher.resume_point)

    def _end(self, error: BcastError | None) -> None:
        self.over = True
        self.error = error
        self._unanswered.fail(error or ChatClosed("the chat ended before the server answered"))
        self._dispatcher.end()
        self._ended.set()
