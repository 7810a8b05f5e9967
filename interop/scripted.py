"""A server that does what a real one does only on a bad day: its calls end as a script says."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from bcast_grpc.v1 import chat_pb2, chat_pb2_grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, chat_pb2.ConnectResponse]"
Act: TypeAlias = Callable[[Context], Awaitable[None]]

EPOCH = "scripted"


class Scripted(chat_pb2_grpc.ChatServicer):
    """Each client's first call is the first act, and so on; all further calls are the last one.

    Attributes:
        address: where it is.
        calls: when each client called, by a monotonic clock.
        places: where each wanted to go on.
    """

    def __init__(self, *acts: Act) -> None:
        self.address = ""
        self.calls: defaultdict[str, list[float]] = defaultdict(list)
        self.places: defaultdict[str, list[str]] = defaultdict(list)
        self._acts: Sequence[Act] = acts

    async def Connect(self, _: object, context: Context) -> None:  # noqa: N802
        """Play the next act."""
        metadata = dict(context.invocation_metadata() or ())
        client = str(metadata["bcast-client"])
        self.places[client].append(str(metadata.get("bcast-after", "")))
        calls = self.calls[client]
        calls.append(time.monotonic())
        await self._acts[min(len(calls), len(self._acts)) - 1](context)


@asynccontextmanager
async def playing(*acts: Act) -> AsyncIterator[Scripted]:
    """Run such a server."""
    scripted = Scripted(*acts)
    server = grpc.aio.server()
    chat_pb2_grpc.add_ChatServicer_to_server(scripted, server)  # type: ignore[no-untyped-call]
    scripted.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield scripted
    finally:
        await server.stop(None)


async def welcome(context: Context, head: int = 0) -> None:
    """Let a client in."""
    event = chat_pb2.ConnectResponse(message="welcome", kind=chat_pb2.EVENT_KIND_WELCOME, seq=head)
    event.welcome.epoch = EPOCH
    await context.write(event)


async def stay(context: Context) -> None:
    """Let a client in, acknowledge what it says, and end the call when it leaves."""
    await welcome(context)
    await acknowledge(context)


async def hang(context: Context) -> None:
    """The same, but do not end the call."""
    await stay(context)
    await asyncio.Event().wait()


async def acknowledge(context: Context) -> None:
    """Acknowledge what a client says, until it leaves."""
    while frame := await context.read():
        await tell(context, frame)


async def tell(context: Context, frame: chat_pb2.ConnectRequest) -> None:
    """Acknowledge what a client has said."""
    for request in frame.batch or [frame]:
        answer = chat_pb2.ConnectResponse(message="ok", kind=chat_pb2.EVENT_KIND_ACK, id=request.id)
        answer.ack.epoch = EPOCH
        await context.write(answer)


async def unable(context: Context) -> None:
    """Let a client in, and tell it for each request that the store is away."""
    await welcome(context)
    while frame := await context.read():
        for request in frame.batch or [frame]:
            answer = chat_pb2.ConnectResponse(message="no", kind=chat_pb2.EVENT_KIND_ERROR, id=request.id)
            answer.error.code = chat_pb2.ERROR_CODE_BROKER_UNAVAILABLE
            answer.error.retryable = True
            answer.error.retry_after.FromSeconds(2)
            await context.write(answer)


async def ahead(context: Context) -> None:
    """Let a client in at a place that will be forgotten."""
    await welcome(context, 20)
    await context.abort(grpc.StatusCode.UNAVAILABLE, "ahead")


async def back(context: Context) -> None:
    """Let it in again: a backup was put back, in which the order is the same and shorter."""
    await welcome(context, 10)
    gap = chat_pb2.Gap(reason=chat_pb2.GAP_REASON_NEW_EPOCH)
    await context.write(chat_pb2.ConnectResponse(message="gap", kind=chat_pb2.EVENT_KIND_GAP, gap=gap))
    await context.abort(grpc.StatusCode.UNAVAILABLE, "back")


async def halfway(context: Context) -> None:
    """Let a client in, answer its request with the first part of a list, and end the call."""
    await welcome(context)
    await _tell_part(context, (await context.read()).id, chat_pb2.Members(more=True))
    await context.abort(grpc.StatusCode.UNAVAILABLE, "halfway")


async def in_parts(context: Context) -> None:
    """Let a client in, answer its request with a list in two parts, and wait until it leaves."""
    await welcome(context)
    asked = await context.read()
    await _tell_part(context, asked.id, chat_pb2.Members(more=True))
    await _tell_part(context, asked.id, chat_pb2.Members(members=[chat_pb2.Member(session="2")]))
    assert not await context.read()


async def _tell_part(context: Context, id_: str, part: chat_pb2.Members) -> None:
    await context.write(
        chat_pb2.ConnectResponse(message="here", kind=chat_pb2.EVENT_KIND_MEMBERS, id=id_, members=part)
    )


def ending(
    code: grpc.StatusCode,
    text: str,
    *,
    domain: str = "",
    retryable: bool = False,
    retry_after_s: float = 0.0,
    let_in: bool = True,
) -> Act:
    """An act that ends with a status; with an ErrorInfo where a domain is given."""
    status = status_pb2.Status(code=code.value[0], message=text)

    def add(detail: Message) -> None:
        status.details.add().Pack(detail)

    if domain:
        info = error_details_pb2.ErrorInfo(reason="SOMETHING", domain=domain)
        info.metadata["retryable"] = "true" if retryable else "false"
        add(info)
    if retry_after_s:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(round(retry_after_s * 1000))
        add(retry)

    async def act(context: Context) -> None:
        if let_in:
            await welcome(context)
            closing = chat_pb2.ConnectResponse(message="closing", kind=chat_pb2.EVENT_KIND_CLOSING)
            closing.closing.reconnect_after.FromMilliseconds(10)
            await context.write(closing)
        if code is grpc.StatusCode.OK:
            return
        if status.details:
            await context.abort_with_status(rpc_status.to_status(status))
        await context.abort(code, text)

    return act
