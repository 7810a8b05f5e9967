"""One client of the load: a connection and a call of its own, every frame verified as it comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import TypeAlias, cast

import grpc

from bcast_grpc.bench.histogram import Histogram
from bcast_grpc.bench.plan import Plan
from bcast_grpc.bench.sender import Sender
from bcast_grpc.bench.summary import Summaries, Summary
from bcast_grpc.bench.verify import Checker
from bcast_grpc.client.dial import call_metadata, open_channel, start_call
from bcast_grpc.client.endings import error_of
from bcast_grpc.errors import BcastError, CallError, ConnectionLost, ErrorCode
from bcast_grpc.wire.protobuf import MalformedFrame

Call: TypeAlias = "grpc.aio.StreamStreamCall[bytes, bytes]"

JOIN_TIMEOUT_S = 20.0
"""How long a server may take to let a client in."""

_PROVISIONAL = "Internal error from Core"
_PAUSES_S = (0.0, 0.001, 0.01, 0.1, 0.5)


class Receipts:
    """What the clients of one process received.

    Attributes:
        last_ns: when the last message came.
        active_ns: when anything came at all.
    """

    def __init__(self) -> None:
        self.messages = 0
        self.bytes = 0
        self.last_ns = 0
        self.active_ns = 0
        self.latency = Histogram()

    def record(self, summary: Summary, size: int) -> None:
        """Count a frame."""
        now_ns = self.active_ns = time.monotonic_ns()
        self.bytes += size
        if summary.messages:
            self.messages += summary.messages
            self.last_ns = now_ns
            for sent_ns, messages in summary.samples:
                self.latency.record(now_ns - sent_ns, messages)


class Client:
    """A client of the load.

    Attributes:
        error: what ended its call before it was to end.
        sender: what it sends, if it is one of those.
    """

    def __init__(self, plan: Plan, number: int, summaries: Summaries, receipts: Receipts) -> None:
        self.number = number
        self.error: BcastError | None = None
        self.checker = Checker(number, plan.senders_near(number))
        self.sender = Sender(plan, number) if plan.sends(number) else None
        self._plan = plan
        self._summaries = summaries
        self._receipts = receipts
        self._channel: grpc.aio.Channel | None = None
        self._call: Call | None = None
        self._listener: asyncio.Task[None] | None = None
        self._status: asyncio.Task[grpc.aio.AioRpcError] | None = None

    async def join(self) -> None:
        """Connect, and begin to listen once the server has let us in.

        Raises:
            CallError: it refused.
            ConnectionLost: there is none, or it did not answer in time.
        """
        options = self._plan.options
        credentials = grpc.ssl_channel_credentials(options.root_certificates) if options.root_certificates else None
        room = self._plan.room(self.number)
        metadata = call_metadata(name="", room=room, client="", events="none", echo=False, token=options.token)
        self._channel = open_channel(options.target, credentials)
        self._call = start_call(self._channel, metadata)
        self._call.add_done_callback(self._keep_status)
        await _let_in(self._call, options.target)
        self._listener = asyncio.create_task(self._listen(self._call))

    async def send(self, start_ns: int, stop_ns: int) -> None:
        """Send until the time is over, or the call; nothing for one that is no sender."""
        if self.sender and self._call:
            # Where the call has ended, the listener finds out how.
            with suppress(grpc.aio.AioRpcError, grpc.aio.BaseError, asyncio.InvalidStateError):
                await self.sender.send(self._call.write, start_ns, stop_ns)

    async def gone(self) -> None:
        """Wait until the call has ended."""
        if self._listener:
            await asyncio.wait([self._listener])

    async def leave(self) -> None:
        """End the call, if it has not ended, and close the connection."""
        if self._listener:
            self._listener.cancel()
        if self._channel:
            await self._channel.close()
        if self._listener:
            with suppress(asyncio.CancelledError):
                await self._listener  # raises what is a fault of the load

    async def _listen(self, call: Call) -> None:
        target = self._plan.options.target
        frames = cast("AsyncGenerator[bytes]", aiter(call))
        try:
            async with aclosing(frames):
                async for frame in frames:
                    self._receive(frame)
            self.error = ConnectionLost("the server ended the call without an error")
        except grpc.aio.AioRpcError:
            self.error = _error_of(await (self._status or _status_of(call)), target)
        except MalformedFrame as fault:
            self.error = CallError(ErrorCode.MALFORMED, f"{target} sent {fault}")
            call.cancel()
        finally:
            if self.sender:
                self.sender.end()

    def _keep_status(self, call: Call) -> None:
        """Read how the call has ended at once: a write that fails because of it may put its own status over that."""
        self._status = self._status or asyncio.create_task(_status_of(call))

    def _receive(self, frame: bytes) -> None:
        summary = self._summaries.of(frame)
        self._receipts.record(summary, len(frame))
        self.checker.take(summary)
        if summary.answers and self.sender:
            for answer in summary.answers:
                self.sender.hear(answer)


async def _let_in(call: Call, target: str) -> None:
    try:
        async with asyncio.timeout(JOIN_TIMEOUT_S):
            if (await call.initial_metadata()).get("bcast-session"):
                return
            status = await _status_of(call)
    except TimeoutError:
        raise ConnectionLost(f"no answer from {target} within {JOIN_TIMEOUT_S:g} s") from None
    if status.code() is grpc.StatusCode.OK:
        raise CallError(ErrorCode.UNSPECIFIED, f"no bcast_grpc server at {target}: the call ended at once")
    raise error_of(status, target, connected=False)


def _error_of(status: grpc.aio.AioRpcError, target: str) -> BcastError:
    if status.details() == _PROVISIONAL:
        return ConnectionLost(f"{target} ended a call that was written to, and gRPC did not keep its reason")
    return error_of(status, target, connected=True)


async def _status_of(call: Call) -> grpc.aio.AioRpcError:
    """Wait until a call has ended, and return how.

    A write that fails because the call has ended may put a status of its own before the server's, see
    https://github.com/grpc/grpc/issues/36066.
    """
    for pause_s in _PAUSES_S:
        code, details = await call.code(), await call.details()
        if details != _PROVISIONAL:
            break
        await asyncio.sleep(pause_s)
    return grpc.aio.AioRpcError(code, await call.initial_metadata(), await call.trailing_metadata(), details)
