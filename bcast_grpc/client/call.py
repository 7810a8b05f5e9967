"""One open call: one task writes requests to it, another hands what arrives to the dispatcher."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias, cast

import grpc

from bcast_grpc.client.address import Address
from bcast_grpc.client.channel import close_channel
from bcast_grpc.client.dial import Dialer, start_call
from bcast_grpc.client.dispatcher import Dispatcher, SessionInfo
from bcast_grpc.client.endings import error_of, lost
from bcast_grpc.client.handshake import wait_until_let_in
from bcast_grpc.client.renewal import Renewal, failed
from bcast_grpc.client.status import FinalStatus, GrpcCall, Status
from bcast_grpc.client.unanswered import Unanswered
from bcast_grpc.errors import BcastError, CallError, ErrorCode
from bcast_grpc.events import Kind, ResumePoint
from bcast_grpc.wire.protobuf import MalformedFrame

Read: TypeAlias = Callable[[], Awaitable[object]]

_STATUS_S = 5.0
"""How long after the end of the stream its status may come."""


class Call:
    """A call that the server has let in.

    Attributes:
        address: the server.
        info: the session that the server gave us.
    """

    def __init__(self, address: Address, channel: grpc.aio.Channel, call: GrpcCall, info: SessionInfo) -> None:
        self.address = address
        self.info = info
        self._target = str(address)
        self._channel = channel
        self._call = call
        self._status = FinalStatus(call)
        self._finishing = False

    @classmethod
    async def open(cls, dialer: Dialer, name: str, after: ResumePoint | None) -> Call:
        """Call one server after the other, each once, until one has let us in.

        Raises:
            CallError: the connection was refused.
            ConnectionLost: no server was reached, or none answered in time.
        """
        metadata = dialer.metadata(name, after, await dialer.tokens.fetch())

        async def enter(address: Address, channel: grpc.aio.Channel) -> Call:
            call = start_call(channel, metadata)
            info = await wait_until_let_in(call, address, dialer.timeout_s, dialer.tls)
            return cls(address, channel, call, info)

        return await (await dialer.attempt()).enter(enter)

    async def run(self, unanswered: Unanswered, dispatcher: Dispatcher, renewal: Renewal) -> BcastError | None:
        """Write the unanswered requests, and read, until the call has ended; cancelling this ends the call.

        Returns:
            Why the call ended; ``None`` if the server ended it without an error after we left.
        """
        renewal.begin()
        writing = asyncio.create_task(self._write(unanswered, renewal))
        renewing = asyncio.create_task(
            renewal.keep(unanswered.queued.set, lambda error: dispatcher.tell(Kind.ERROR, *failed(error)))
        )
        try:
            return await self._read(dispatcher)
        finally:
            self._call.cancel()
            renewing.cancel()
            self._finishing = True
            unanswered.queued.set()
            try:
                # A write that is under way when the call is cancelled is cancelled too.
                await asyncio.wait({writing, renewing})
                for task in (writing, renewing):
                    if not task.cancelled():
                        task.result()  # raises what went wrong in this library
            finally:
                await close_channel(self._channel)

    def finish(self, unanswered: Unanswered) -> None:
        """Half-close, once all unanswered requests are written."""
        self._finishing = True
        unanswered.queued.set()

    # --- the two tasks

    async def _write(self, unanswered: Unanswered, renewal: Renewal) -> None:
        try:
            while True:
                unanswered.queued.clear()
                if self._call.done():
                    return
                if frame := renewal.take() or unanswered.take():
                    await self._call.write(frame)
                elif self._finishing:
                    await self._call.done_writing()
                    return
                else:
                    await unanswered.queued.wait()
        except (Status, grpc.aio.BaseError, asyncio.InvalidStateError):
            pass  # the call has ended, and the reader finds out why
        except BaseException:
            self._call.cancel()
            raise

    async def _read(self, dispatcher: Dispatcher) -> BcastError | None:
        # Not `call.read()`: once a write has failed it reports the end of the call although messages are unread.
        # Not `async for` either: it waits forever if something on the way ended the stream without a status.
        read = cast("Read", getattr(self._call, "_read", self._call.read))
        try:
            await dispatcher.make_room()
            while (frame := await read()) is not grpc.aio.EOF:
                dispatcher.receive(cast("bytes", frame))
                if dispatcher.why_move:
                    return dispatcher.why_move
                await dispatcher.make_room()
            async with asyncio.timeout(_STATUS_S):
                return await self._why_it_ended()
        except Status:
            return await self._why_it_ended()
        except TimeoutError:
            return lost(self._target, "the stream ended without a status", connected=True)
        except MalformedFrame as fault:  # nothing that follows on this stream can be trusted
            return CallError(ErrorCode.MALFORMED, f"{self._target} sent {fault}", retryable=True)

    async def _why_it_ended(self) -> BcastError | None:
        status = await self._status.wait()
        if status.code() is grpc.StatusCode.OK:
            return self._ended_well()
        return error_of(status, self._target, connected=True)

    def _ended_well(self) -> BcastError | None:
        """The server ends a call without an error only after we left; before that, something on the way did."""
        return None if self._finishing else lost(self._target, "the stream was ended", connected=True)
