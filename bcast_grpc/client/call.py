"""One open call: one task writes requests to it, another hands what arrives to the dispatcher."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias, cast
from urllib.parse import unquote

import grpc

from bcast_grpc.client import fork
from bcast_grpc.client.dial import Dialer, open_channel, start_call
from bcast_grpc.client.dispatcher import Dispatcher, SessionInfo
from bcast_grpc.client.endings import error_of, lost
from bcast_grpc.client.unanswered import Unanswered
from bcast_grpc.errors import BcastError, CallError, ConnectionLost, ErrorCode
from bcast_grpc.events import Position
from bcast_grpc.wire.protobuf import MalformedFrame

GrpcCall: TypeAlias = "grpc.aio.StreamStreamCall[bytes, bytes]"
Status: TypeAlias = grpc.aio.AioRpcError
Read: TypeAlias = Callable[[], Awaitable[object]]

_PROVISIONAL = "Internal error from Core"
_STATUS_S = 5.0
"""How long after the last message a status may come, which comes with the end."""
_PAUSES_S = (0.0, 0.001, 0.01, 0.1, 0.5)


class Call:
    """A call that the server has let in.

    Attributes:
        info: what it said then.
    """

    def __init__(self, target: str, channel: grpc.aio.Channel, call: GrpcCall, info: SessionInfo) -> None:
        self.info = info
        self._target = target
        self._channel = channel
        self._call = call
        self._status: Status | None = None
        self._finishing = False
        call.add_done_callback(self._keep_status)

    @classmethod
    async def open(cls, dialer: Dialer, name: str, after: Position | None) -> Call:
        """Call the server, and wait until it has let us in.

        Raises:
            CallError: it refused.
            ConnectionLost: there is none, or it did not answer in time.
        """
        channel = open_channel(dialer.target, dialer.credentials)
        fork.opened()
        try:
            call = start_call(channel, dialer.metadata(name, after))
            return cls(dialer.target, channel, call, await _let_in(call, dialer.target, dialer.timeout_s))
        except BaseException:
            await _close(channel)
            raise

    async def run(self, unanswered: Unanswered, dispatcher: Dispatcher) -> BcastError | None:
        """Write the unanswered requests, and read, until the call has ended; cancelling this ends the call.

        Returns:
            Why it ended; nothing where the server ended it well after our goodbye.
        """
        writing = asyncio.create_task(self._write(unanswered))
        try:
            return await self._read(dispatcher)
        finally:
            self._call.cancel()
            self._finishing = True
            unanswered.queued.set()
            try:
                await asyncio.wait({writing})  # a write that is under way when the call is cancelled is cancelled too
                if not writing.cancelled():
                    writing.result()  # a fault of this library
            finally:
                await _close(self._channel)

    def finish(self, unanswered: Unanswered) -> None:
        """Half-close, once all unanswered requests are written."""
        self._finishing = True
        unanswered.queued.set()

    # --- the two tasks

    async def _write(self, unanswered: Unanswered) -> None:
        try:
            while True:
                unanswered.queued.clear()
                if self._call.done():
                    return
                if frame := unanswered.take():
                    await self._call.write(frame)
                elif self._finishing:
                    await self._call.done_writing()
                    return
                else:
                    await unanswered.queued.wait()
        except (Status, grpc.aio.BaseError, asyncio.InvalidStateError):
            pass  # the call has ended, and the reader finds out how
        except BaseException:
            self._call.cancel()
            raise

    async def _read(self, dispatcher: Dispatcher) -> BcastError | None:
        # Neither `call.read()`, which says that the call has ended, with messages still unread, as soon as a write
        # failed; nor `async for`, which waits for ever where something on the way ended the stream without a status.
        read = cast("Read", getattr(self._call, "_read", self._call.read))
        try:
            await dispatcher.make_room()
            while (frame := await read()) is not grpc.aio.EOF:
                dispatcher.receive(cast("bytes", frame))
                await dispatcher.make_room()
            async with asyncio.timeout(_STATUS_S):
                return await self._why_it_ended()
        except Status:
            return await self._why_it_ended()
        except TimeoutError:
            return lost(self._target, "the stream was ended without a status", connected=True)
        except MalformedFrame as fault:  # nothing after it can be trusted, on this stream
            return CallError(ErrorCode.MALFORMED, f"{self._target} sent {fault}", retryable=True)

    # --- how it ended

    def _keep_status(self, call: GrpcCall) -> None:
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
        return (
            self._ended_well()
            if status.code() is grpc.StatusCode.OK
            else error_of(status, self._target, connected=True)
        )

    def _ended_well(self) -> BcastError | None:
        """A server ends a call well only after our goodbye; before that, something on the way did."""
        return None if self._finishing else lost(self._target, "the stream was ended", connected=True)


async def _close(channel: grpc.aio.Channel) -> None:
    try:
        await channel.close()
    finally:
        fork.closed()


async def _let_in(call: GrpcCall, target: str, timeout_s: float) -> SessionInfo:
    """Wait for the server's initial metadata, and decode it."""
    try:
        async with asyncio.timeout(timeout_s):
            metadata = await call.initial_metadata()
            if metadata.get("bcast-session"):
                return SessionInfo(*(unquote(str(metadata.get(f"bcast-{field}", ""))) for field in SessionInfo._fields))
            status = await _status_of_stranger(call)
    except TimeoutError:
        raise ConnectionLost(f"no answer from {target} within {timeout_s:g} s") from None
    if status and status.code() is not grpc.StatusCode.OK:
        raise error_of(status, target, connected=False)
    what = "the call ended at once" if status else "it answers in another way"
    raise CallError(ErrorCode.UNSPECIFIED, f"no bcast_grpc server at {target}: {what}", retryable=True)


async def _status_of_stranger(call: GrpcCall) -> Status | None:
    """How a call ends that was answered without our metadata; nothing where it goes on, with whatever."""
    try:
        if await call.read() is not grpc.aio.EOF:
            return None
    except Status:
        pass
    return await _status_of(call)


def _is_provisional(status: Status) -> bool:
    return status.code() is grpc.StatusCode.INTERNAL and status.details() == _PROVISIONAL


async def _status_of(call: GrpcCall) -> Status:
    """Wait until a call has ended, and return how."""
    code, details = await call.code(), await call.details()
    return Status(code, await call.initial_metadata(), await call.trailing_metadata(), details)


def _status_of_ended(call: GrpcCall) -> Status | None:
    """Return how a call has ended, without waiting: the coroutine has nothing to wait for."""
    reading = _status_of(call)
    try:
        reading.send(None)
    except StopIteration as finished:
        return cast("Status", finished.value)
    reading.close()
    return None
