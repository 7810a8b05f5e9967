"""One client of the bench: it has its own connection, and verifies every frame as it arrives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from functools import cache, partial
from typing import cast

import grpc

from bcast_grpc.bench.histogram import Histogram
from bcast_grpc.bench.plan import Plan
from bcast_grpc.bench.renewing import Renewing
from bcast_grpc.bench.sender import Sender
from bcast_grpc.bench.spread import Spread
from bcast_grpc.bench.summary import Summaries, Summary
from bcast_grpc.bench.verify import Checker
from bcast_grpc.client.address import Address
from bcast_grpc.client.attempt import Attempt
from bcast_grpc.client.channel import close_channel, open_channel
from bcast_grpc.client.dial import call_metadata, start_call
from bcast_grpc.client.endings import error_of
from bcast_grpc.client.handshake import wait_until_let_in
from bcast_grpc.client.status import FinalStatus, GrpcCall
from bcast_grpc.client.tls import Tls
from bcast_grpc.client.token import Tokens
from bcast_grpc.errors import BcastError, CallError, ConnectionLost, ErrorCode
from bcast_grpc.wire.protobuf import MalformedFrame

JOIN_TIMEOUT_S = 20.0
"""How long the server may take to let a client in."""


class Receipts:
    """What the clients of one process received.

    Attributes:
        last_ns: when the last message arrived.
        active_ns: when anything arrived at all.
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
    """A client of the bench.

    Attributes:
        error: what ended its call early.
        server: the address of the server that it is connected to.
        sender: what it sends; ``None`` if it does not send.
    """

    def __init__(self, plan: Plan, number: int, summaries: Summaries, receipts: Receipts) -> None:
        self.number = number
        self.error: BcastError | None = None
        self.checker = Checker(number, plan.senders_near(number))
        self.sender = Sender(plan, number) if plan.sends(number) else None
        self._plan = plan
        self._summaries = summaries
        self._receipts = receipts
        self.server = ""
        self._channel: grpc.aio.Channel | None = None
        self._call: GrpcCall | None = None
        self._listener: asyncio.Task[None] | None = None
        self._renewing: Renewing | None = None

    async def join(self, spread: Spread) -> None:
        """Connect to one of the servers, and begin to listen once it has let us in.

        Raises:
            CallError: the connection was refused.
            ConnectionLost: no server was reached, or none answered in time.
        """
        options = self._plan.options
        room = self._plan.room(self.number)
        tokens = Tokens(options.token, JOIN_TIMEOUT_S)
        events = "expiring" if tokens.renewable else "none"
        token = await tokens.fetch()
        metadata = call_metadata(name="", room=room, client="", events=events, echo=False, token=token)
        credentials = _credentials(options.tls) if options.tls else None
        open_one = partial(open_channel, credentials=credentials)

        async def enter(address: Address, channel: grpc.aio.Channel) -> tuple[GrpcCall, FinalStatus]:
            call = start_call(channel, metadata)
            status = FinalStatus(call)
            await wait_until_let_in(call, address, JOIN_TIMEOUT_S, options.tls)
            self.server, self._channel = str(address), channel
            return call, status

        attempt = Attempt(spread.order(self.number), open_one, spread.put_last, JOIN_TIMEOUT_S)
        call, status = await attempt.enter(enter)
        self._call = call
        if tokens.renewable:
            self._renewing = Renewing(tokens, call.write)
        self._listener = asyncio.create_task(self._listen(call, status))

    async def send(self, start_ns: int, stop_ns: int) -> None:
        """Send until the time is over or the call has ended; does nothing if this is not a sender."""
        if self.sender and self._call:
            # If the call has ended, the listener finds out why.
            with suppress(grpc.aio.AioRpcError, grpc.aio.BaseError, asyncio.InvalidStateError):
                write = self._renewing.write if self._renewing else self._call.write
                await self.sender.send(write, start_ns, stop_ns)

    async def gone(self) -> None:
        """Wait until the call has ended."""
        if self._listener:
            await asyncio.wait([self._listener])

    async def leave(self) -> None:
        """End the call, if it has not ended, and close the connection."""
        if self._renewing:
            self._renewing.stop()
        if self._listener:
            self._listener.cancel()
        if self._channel:
            await close_channel(self._channel)
        if self._listener:
            with suppress(asyncio.CancelledError):
                await self._listener  # raises what went wrong in the bench

    async def _listen(self, call: GrpcCall, status: FinalStatus) -> None:
        frames = cast("AsyncGenerator[bytes]", aiter(call))
        try:
            async with aclosing(frames):
                async for frame in frames:
                    self._receive(frame)
            self.error = ConnectionLost("the server ended the call without an error")
        except grpc.aio.AioRpcError:
            self.error = error_of(await status.wait(), self.server, connected=True)
        except MalformedFrame as fault:
            self.error = CallError(ErrorCode.MALFORMED, f"{self.server} sent {fault}")
            call.cancel()
        finally:
            if self.sender:
                self.sender.end()

    def _receive(self, frame: bytes) -> None:
        summary = self._summaries.of(frame)
        self._receipts.record(summary, len(frame))
        self.checker.take(summary)
        for answer in summary.answers:
            about_tokens = self._renewing and self._renewing.hear(answer)
            if self.sender and not about_tokens:
                self.sender.hear(answer)


@cache
def _credentials(tls: Tls) -> grpc.ChannelCredentials:
    """Read the files once for all clients."""
    return tls.credentials()
