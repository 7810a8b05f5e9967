"""The gRPC door: the service ``bcast_grpc.v1.Chat`` on ``grpc.aio``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from copy import copy
from functools import partial
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from bcast_grpc.core.batch import Codec
from bcast_grpc.core.hello import Hello, read_hello
from bcast_grpc.core.hub import Hub
from bcast_grpc.core.session import Publisher, Session
from bcast_grpc.errors import BcastError, CallError, ErrorCode
from bcast_grpc.events import Ack, Error, Event, Request
from bcast_grpc.transport.connections import Connections, port_of
from bcast_grpc.transport.percent import percent_decode
from bcast_grpc.transport.scheduler import LoopScheduler
from bcast_grpc.transport.stream import Stream, fault, resolve
from bcast_grpc.transport.turns import LIGHT_BYTES, Turns
from bcast_grpc.transport.waiting import WaitingPublishes
from bcast_grpc.wire import protobuf

logger = logging.getLogger(__name__)

SERVICE = "bcast_grpc.v1.Chat"

T = TypeVar("T")

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"

_PREFIX = "bcast-"
_DOMAIN = "bcast_grpc"
_BATCHES = Codec(protobuf.encode_batches, protobuf.MAX_BATCH_BYTES, protobuf.split_batches)
_SINGLY = Codec(protobuf.encode_singly, 0)

_STATUS = {
    ErrorCode.EMPTY_MESSAGE: code_pb2.INVALID_ARGUMENT,
    ErrorCode.MESSAGE_TOO_LARGE: code_pb2.INVALID_ARGUMENT,
    ErrorCode.UNKNOWN_OPERATION: code_pb2.INVALID_ARGUMENT,
    ErrorCode.RATE_LIMITED: code_pb2.RESOURCE_EXHAUSTED,
    ErrorCode.NAME_INVALID: code_pb2.INVALID_ARGUMENT,
    ErrorCode.METADATA_INVALID: code_pb2.INVALID_ARGUMENT,
    ErrorCode.UNAUTHENTICATED: code_pb2.UNAUTHENTICATED,
    ErrorCode.PERMISSION_DENIED: code_pb2.PERMISSION_DENIED,
    ErrorCode.TOKEN_EXPIRED: code_pb2.UNAUTHENTICATED,
    ErrorCode.SERVER_FULL: code_pb2.RESOURCE_EXHAUSTED,
    ErrorCode.SLOW_CONSUMER: code_pb2.RESOURCE_EXHAUSTED,
    ErrorCode.REPLACED: code_pb2.ABORTED,
    ErrorCode.SHUTTING_DOWN: code_pb2.UNAVAILABLE,
    ErrorCode.BROKER_UNAVAILABLE: code_pb2.UNAVAILABLE,
    ErrorCode.INTERNAL: code_pb2.INTERNAL,
    ErrorCode.MALFORMED: code_pb2.INVALID_ARGUMENT,
}


class ChatService:
    """The three calls of ``Chat``.

    Args:
        hub: where the clients go.
        scheduler: the loop that the hub flushes in.
        connections: counts those that carry a call.
    """

    def __init__(self, hub: Hub, scheduler: LoopScheduler, connections: Connections) -> None:
        self._hub = hub
        self._connections = connections
        self._scheduler = scheduler
        self._waiting = WaitingPublishes()

    def handler(self) -> grpc.GenericRpcHandler:
        """Return what ``grpc.aio.Server.add_generic_rpc_handlers`` takes. Frames pass as bytes, encoded elsewhere."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Connect": grpc.stream_stream_rpc_method_handler(counted(self._connections, self.connect)),
                "Publish": grpc.unary_unary_rpc_method_handler(counted(self._connections, self.publish)),
                "Subscribe": grpc.unary_stream_rpc_method_handler(counted(self._connections, self.subscribe)),
            },
        )

    async def connect(self, _: AsyncIterator[bytes], context: Context) -> None:
        """Serve a client that sends and receives."""
        await _end(context, await _outcome(context, self._serve(context, reader=False)))

    async def subscribe(self, frame: bytes, context: Context) -> None:
        """Serve a client that only receives."""
        await _end(context, await _outcome(context, self._subscribe(frame, context)))

    async def publish(self, frame: bytes, context: Context) -> bytes:
        """Send one message, and answer once it is in the others' queues."""
        return await _end(context, await _outcome(context, self._publish(frame, context)))

    async def _subscribe(self, frame: bytes, context: Context) -> None:
        protobuf.check_subscribe(frame)
        await self._serve(context, reader=True)

    async def _serve(self, context: Context, *, reader: bool) -> None:
        hello = _read_hello(self._hub, context)
        codec = _BATCHES if hello.batch else _SINGLY
        admission = await self._hub.admit(hello, context.peer())
        with closing(Stream(admission, self._scheduler, codec, reader=reader)) as stream:
            # Not within the stream's time limit: gRPC does not survive an end in the middle of this.
            await context.send_initial_metadata(_metadata(stream.session, hello))
            await stream.serve(context.write, None if reader else partial(_read, context, self._scheduler.turns))

    async def _publish(self, frame: bytes, context: Context) -> bytes:
        hello = _read_hello(self._hub, context)
        request = protobuf.decode_publish(frame)
        answered: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        publisher = Publisher(
            await self._hub.admit(hello, context.peer()),
            answer=lambda event: self._scheduler.call(partial(resolve, answered, event)),
        )
        try:
            await context.send_initial_metadata(_metadata(publisher, hello))
            publisher.hold(request)
            await self._waiting.wait(publisher, len(request.msg) + len(request.data))
            publisher.publish(request)
            answer = (await answered).detail
        finally:
            publisher.close()
        if isinstance(answer, Error):
            raise CallError(answer.code, answer.reason, retry_after_s=answer.retry_after_s)
        assert isinstance(answer, Ack)
        return protobuf.encode_publish_response(answer)


def counted(
    connections: Connections, call: Callable[[Any, Context], Awaitable[Any]]
) -> Callable[[Any, Context], Awaitable[Any]]:
    """Have each call count for its connection while it lasts."""

    async def serve(request: Any, context: Context) -> Any:
        with connections.carrying(port_of(context.peer())):
            return await call(request, context)

    return serve


async def _read(context: Context, turns: Turns) -> Iterator[Sequence[Request]] | None:
    frame = await context.read()
    if frame is grpc.aio.EOF:  # type: ignore[comparison-overlap]
        return None
    if len(frame) > LIGHT_BYTES:
        await turns.take()
    return protobuf.read_requests(frame)


async def _outcome(context: Context, serving: Awaitable[T]) -> T | BcastError | None:
    """Return what serving a call ends with: its result, or the error; None where nobody is there any more.

    What is raised keeps the frames that it went through, and what is in them. So nothing is raised beyond this.
    """
    try:
        return await serving
    except BcastError as error:
        return copy(error)
    except protobuf.MalformedFrame as error:
        return CallError(ErrorCode.MALFORMED, str(error))
    except grpc.aio.InternalError as error:
        logger.debug("%s is gone: %s", context.peer(), error)  # the cancellation that is to come was too late
        return None
    except Exception:
        logger.exception("a fault while serving %s", context.peer())
        return fault()


async def _end(context: Context, outcome: T | BcastError | None) -> T:
    """End the call with what serving it ended with."""
    if isinstance(outcome, BcastError):
        try:
            await context.abort_with_status(rpc_status.to_status(_status(outcome)))
        except grpc.aio.InternalError as error:
            logger.debug("%s is gone: %s", context.peer(), error)
    return outcome  # type: ignore[return-value]  # or nobody takes it any more


def _status(error: BcastError) -> status_pb2.Status:
    status = status_pb2.Status(code=_STATUS[error.code], message=error.reason)
    info = error_details_pb2.ErrorInfo(reason=error.code.name, domain=_DOMAIN)
    info.metadata["retryable"] = "true" if error.retryable else "false"
    status.details.add().Pack(info)
    if error.retry_after_s:
        delay = Duration()
        delay.FromNanoseconds(round(error.retry_after_s * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def _read_hello(hub: Hub, context: Context) -> Hello:
    return read_hello(_bcast_pairs(context), hub.limits, _PREFIX)


def _bcast_pairs(context: Context) -> Iterator[tuple[str, str]]:
    for key, value in context.invocation_metadata() or ():
        if key.startswith(_PREFIX):
            yield key.removeprefix(_PREFIX), percent_decode(key, value)


def _metadata(session: Session | Publisher, hello: Hello) -> tuple[tuple[str, str], ...]:
    return (
        ("bcast-session", session.id),
        ("bcast-room", quote(hello.room, safe="")),
        ("bcast-epoch", session.epoch),
    )
