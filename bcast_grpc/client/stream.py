"""One open call: a task writes the backlog to it, another reads from it into the inbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import TypeAlias, cast
from urllib.parse import unquote

import grpc

from bcast_grpc.client.backlog import Backlog
from bcast_grpc.client.calls import error_of, open_channel, start_call
from bcast_grpc.client.inbox import Inbox
from bcast_grpc.errors import BcastError, CallError, ChatClosed, ConnectionLost, ErrorCode
from bcast_grpc.wire.protobuf import MalformedFrame, decode_events

Call: TypeAlias = "grpc.aio.StreamStreamCall[bytes, bytes]"
Status: TypeAlias = grpc.aio.AioRpcError

_PROVISIONAL = "Internal error from Core"
_PAUSES_S = (0.0, 0.001, 0.01, 0.1, 0.5)

# How long nobody takes events until it is held to be for want of an answer.
_PATIENCE_S = 0.1


class Stream:
    """A call that the server has let in.

    Attributes:
        session: the public session id that the server gave.
        room: where it is.
        epoch: the name of the room's order.
        error: what ended it; none while it lasts, or if it ended well or by ``close()``.
        over: whether it has ended. What was received before may still be in the inbox.
    """

    def __init__(
        self, target: str, channel: grpc.aio.Channel, call: Call, hello: dict[str, str], backlog: Backlog, inbox: Inbox
    ) -> None:
        self.session = hello["bcast-session"]
        self.room = hello["bcast-room"]
        self.epoch = hello["bcast-epoch"]
        self.error: BcastError | None = None
        self.over = False
        self._target = target
        self._channel = channel
        self._call = call
        self._backlog = backlog
        self._inbox = inbox
        self._status: Status | None = None
        self._leaving = False
        self._taken_from = False
        self._stuck_at = -1
        self._queued = asyncio.Event()
        self._room = asyncio.Event()
        self._changed = asyncio.Event()
        self._ended = asyncio.Event()
        call.add_done_callback(self._keep_status)
        self._writer = asyncio.create_task(self._write())
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def open(
        cls,
        target: str,
        credentials: grpc.ChannelCredentials | None,
        metadata: tuple[tuple[str, str], ...],
        timeout_s: float,
        backlog: Backlog,
        inbox: Inbox,
    ) -> Stream:
        """Call the server, and wait until it has let us in.

        Raises:
            CallError: it refused.
            ConnectionLost: there is none, or it did not answer in time.
        """
        channel = open_channel(target, credentials)
        try:
            call = start_call(channel, metadata)
            hello = await _let_in(call, target, timeout_s)
            return cls(target, channel, call, hello, backlog, inbox)
        except BaseException:
            await channel.close()
            raise

    def wake(self) -> None:
        """Tell that something was put into the backlog."""
        self._queued.set()
        self._room.set()

    def raise_error(self) -> None:
        """Raise what ended the call, if that was an error."""
        if self.error:
            raise self.error.with_traceback(None)  # else it would grow with each time

    def taking(self) -> None:
        """Tell that somebody takes events from the inbox."""
        self._taken_from = True
        if self._inbox.half_empty:
            self._room.set()

    async def change(self) -> None:
        """Wait until the inbox is given events, or the stream is over."""
        self._changed.clear()
        await self._changed.wait()

    async def finish(self) -> None:
        """Write what is in the backlog, half-close, and wait until the server has ended the call."""
        self._leaving = True
        self.wake()
        await self._ended.wait()

    async def close(self) -> None:
        """End the call at once, if it has not ended."""
        self._leaving = True
        self._call.cancel()
        self.wake()
        try:
            results = await asyncio.gather(self._reader, self._writer, return_exceptions=True)
        finally:
            await self._channel.close()
        for result in results:
            if isinstance(result, Exception):  # a fault of this library
                raise result

    # --- the two tasks

    async def _write(self) -> None:
        try:
            while True:
                self._queued.clear()
                if frame := self._backlog.take():
                    await self._call.write(frame)
                elif self._leaving or self.over:
                    await self._call.done_writing()
                    return
                else:
                    await self._queued.wait()
        except (Status, grpc.aio.BaseError, asyncio.InvalidStateError):
            pass  # the call has ended, and the reader finds out how
        except BaseException:
            self._call.cancel()
            raise

    async def _read(self) -> None:
        error: BcastError | None = CallError(ErrorCode.INTERNAL, "a fault of the client library")
        # Not `call.read()`: that says that the call has ended, with messages still unread, as soon as a write failed.
        frames = cast("AsyncGenerator[bytes]", aiter(self._call))
        try:
            async with aclosing(frames):
                async for frame in frames:
                    self._receive(frame)
                    if self._inbox.full:
                        await self._make_room()
            error = None
        except Status:
            error = await self._why_it_ended()
        except MalformedFrame as fault:
            error = CallError(ErrorCode.MALFORMED, f"{self._target} sent {fault}")
            self._call.cancel()
        except asyncio.CancelledError:
            error = None
            raise
        finally:
            self._end(error)

    def _receive(self, frame: bytes) -> None:
        settle = self._backlog.settle
        events = [event for event in decode_events(frame) if not (event.id and settle(event))]
        if events:
            self._inbox.put(events, len(frame))
            self._changed.set()

    async def _make_room(self) -> None:
        """Leave what comes next on the server, whose policy for slow clients decides, until there is room again.

        Or drop events: if nobody has begun to take them, or if an answer is awaited, which comes after what would be
        left there, and nobody takes any for some time, perhaps for the very reason that it awaits the answer.
        """
        clock = asyncio.get_running_loop().time
        place, patient_until = self._inbox.place, clock() + _PATIENCE_S
        while self._inbox.full and self._taken_from and not self._leaving:
            if self._inbox.place != place:
                place, patient_until = self._inbox.place, clock() + _PATIENCE_S
            if self._backlog.unanswered and (place == self._stuck_at or clock() >= patient_until):
                self._inbox.trim()
                self._stuck_at = self._inbox.place
                return
            self._room.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(patient_until if self._backlog.unanswered else None):
                    await self._room.wait()
        self._inbox.trim()

    def _end(self, error: BcastError | None) -> None:
        self.over = True
        self.error = error
        self._backlog.fail(error or ChatClosed("the chat ended before the server answered"))
        self._changed.set()
        self._ended.set()
        self._queued.set()

    # --- how it ended

    def _keep_status(self, call: Call) -> None:
        if self._status is None or _is_provisional(self._status):
            self._status = _status_of_ended(call)

    async def _why_it_ended(self) -> BcastError | None:
        """Find the server's status.

        A write that fails because the call has ended puts a status of its own over the server's, or before it
        (https://github.com/grpc/grpc/issues/36066). So the first is kept where it is the server's, else awaited.
        """
        status = self._status or await _status_of(self._call)
        for pause_s in _PAUSES_S:
            if not _is_provisional(status):
                break
            await asyncio.sleep(pause_s)
            status = await _status_of(self._call)
        return None if status.code() is grpc.StatusCode.OK else error_of(status, self._target, connected=True)


async def _let_in(call: Call, target: str, timeout_s: float) -> dict[str, str]:
    """Wait for the server's initial metadata, and decode it."""
    try:
        async with asyncio.timeout(timeout_s):
            metadata = await call.initial_metadata()
            if metadata.get("bcast-session"):
                keys = ("bcast-session", "bcast-room", "bcast-epoch")
                return {key: unquote(str(metadata.get(key, ""))) for key in keys}
            status = await _status_of(call)
    except TimeoutError:
        raise ConnectionLost(f"no answer from {target} within {timeout_s:g} s") from None
    if status.code() is grpc.StatusCode.OK:
        raise CallError(ErrorCode.UNSPECIFIED, f"no bcast_grpc server at {target}: the call ended at once")
    raise error_of(status, target, connected=False)


def _is_provisional(status: Status) -> bool:
    return status.code() is grpc.StatusCode.INTERNAL and status.details() == _PROVISIONAL


async def _status_of(call: Call) -> Status:
    """Wait until a call has ended, and return how."""
    code, details = await call.code(), await call.details()
    return Status(code, await call.initial_metadata(), await call.trailing_metadata(), details)


def _status_of_ended(call: Call) -> Status | None:
    """Return how a call has ended, without waiting: the coroutine has nothing to wait for."""
    reading = _status_of(call)
    try:
        reading.send(None)
    except StopIteration as finished:
        return cast("Status", finished.value)
    reading.close()
    return None
