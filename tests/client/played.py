"""Servers that are played: they do what a test says, as no real one does, or not when it is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

import bcast_grpc
from bcast_grpc import Ack, Event, Kind
from bcast_grpc.events import Author, Request
from bcast_grpc.wire.protobuf import decode_requests, encode_batches

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Play: TypeAlias = Callable[[Context], Awaitable[None]]
HELLO = (("bcast-session", "s1"), ("bcast-room", "d%C3%A9v"), ("bcast-epoch", "e1"))


@asynccontextmanager
async def serving(play: Play, *, hello: Sequence[tuple[str, str]] | None = HELLO) -> AsyncIterator[str]:
    """A server that lets everybody in, and then does as ``play`` says."""

    async def connect(_: object, context: Context) -> None:
        if hello is not None:
            await context.send_initial_metadata(tuple(hello))
        await play(context)

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_send_message_length", -1)])
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(connect)
    service = grpc.method_handlers_generic_handler("bcast_grpc.v1.Chat", {"Connect": handler})
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def frame_of(*events: Event) -> bytes:
    """One batch frame."""
    ((frame, _),) = encode_batches(events)
    return frame


def message(seq: int, size: int = 1) -> Event:
    """What somebody says."""
    return Event(Kind.MESSAGE, "x" * size, Author("s2", "", "s2"), seq)


def ack(request: Request, seq: int = 0) -> Event:
    """It is done."""
    return Event(Kind.ACK, "sent to 1", id=request.id, detail=Ack(seq, "e1"))


async def requests(context: Context) -> AsyncIterator[Request]:
    """What the client asks for, until it half-closes."""
    while (frame := await context.read()) is not grpc.aio.EOF:  # type: ignore[comparison-overlap]
        for request in decode_requests(frame):
            yield request


async def goodbye(context: Context) -> None:
    """Wait until the client half-closes."""
    async for _ in requests(context):
        pass


async def acknowledge(context: Context) -> None:
    """Acknowledge all that the client asks for."""
    async for request in requests(context):
        await context.write(frame_of(ack(request)))


async def refuse(context: Context, code: grpc.StatusCode, text: str, *details: object) -> None:
    """End the call with a status that carries details."""
    status = status_pb2.Status(code=code.value[0], message=text)
    for detail in details:
        status.details.add().Pack(detail)
    await context.abort_with_status(rpc_status.to_status(status))


def info(reason: str, domain: str = "bcast_grpc") -> error_details_pb2.ErrorInfo:
    """What a server of the contract says in its status."""
    return error_details_pb2.ErrorInfo(reason=reason, domain=domain)


async def hang(_: Context) -> None:
    """Do nothing for ever."""
    await asyncio.Event().wait()


async def reason_of(play: Play, *, hello: Sequence[tuple[str, str]] | None = HELLO) -> bcast_grpc.BcastError:
    """The error that ends a chat with this server, in the iteration or before."""
    async with serving(play, hello=hello) as target:
        with pytest.raises(bcast_grpc.BcastError) as caught:  # noqa: PT012
            async with bcast_grpc.connect(target, max_downtime_s=0) as chat:
                async for _ in chat:
                    pass
    return caught.value
