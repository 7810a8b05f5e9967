"""The gRPC door: the service ``bcast_grpc.v1.Chat`` on ``grpc.aio``."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeAlias, TypeVar
from urllib.parse import quote, unquote_to_bytes

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from bcast_grpc.core.batch import Codec
from bcast_grpc.core.hello import Hello, read_hello, shortened
from bcast_grpc.core.hub import Hub
from bcast_grpc.core.member import slow_consumer
from bcast_grpc.core.session import Publisher, Session
from bcast_grpc.errors import BcastError, CallError, ErrorCode
from bcast_grpc.events import Ack, Error, Event, Request
from bcast_grpc.transport.scheduler import LoopScheduler
from bcast_grpc.wire import protobuf

logger = logging.getLogger(__name__)

T = TypeVar("T")

SERVICE = "bcast_grpc.v1.Chat"

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"

_PREFIX = "bcast-"
_DOMAIN = "bcast_grpc"
_LINGER_S = 10.0
"""How long a client whose call is ending gets to read what is queued for it."""

_BROKEN_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")
_BATCHES = Codec(protobuf.encode_batches, protobuf.MAX_BATCH_BYTES)
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
    """

    def __init__(self, hub: Hub, scheduler: LoopScheduler) -> None:
        self._hub = hub
        self._scheduler = scheduler

    def handler(self) -> grpc.GenericRpcHandler:
        """Return what ``grpc.aio.Server.add_generic_rpc_handlers`` takes. Frames pass as bytes, encoded elsewhere."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Connect": grpc.stream_stream_rpc_method_handler(self.connect),
                "Publish": grpc.unary_unary_rpc_method_handler(self.publish),
                "Subscribe": grpc.unary_stream_rpc_method_handler(self.subscribe),
            },
        )

    async def connect(self, _: AsyncIterator[bytes], context: Context) -> None:
        """Serve a client that sends and receives."""
        async with _ending(context):
            await _Stream(self._hub, self._scheduler, context, reader=False).serve()

    async def subscribe(self, frame: bytes, context: Context) -> None:
        """Serve a client that only receives."""
        async with _ending(context):
            protobuf.check_subscribe(frame)
            await _Stream(self._hub, self._scheduler, context, reader=True).serve()

    async def publish(self, frame: bytes, context: Context) -> bytes:
        """Send one message, and answer once it is in the others' queues."""
        async with _ending(context):
            hello = _read_hello(self._hub, context)
            request = protobuf.decode_publish(frame)
            answer = await self._publish(hello, request, context)
            if isinstance(answer, Error):
                raise CallError(answer.code, answer.reason, retry_after_s=answer.retry_after_s)
            return protobuf.encode_publish_response(answer)
        return b""  # not reached: an error has ended the call

    async def _publish(self, hello: Hello, request: Request, context: Context) -> Ack | Error:
        answered: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        publisher = Publisher(
            self._hub,
            hello,
            peer=context.peer(),
            answer=lambda event: self._scheduler.call(partial(_resolve, answered, event)),
        )
        try:
            await context.send_initial_metadata(_metadata(publisher, hello))
            publisher.publish(request)
            return (await answered).detail  # type: ignore[return-value]  # an ACK or an ERROR
        finally:
            publisher.close()


class _Stream:
    """One client's stream: a task reads its requests, the call's own task writes what is queued for it."""

    __slots__ = (
        "_context",
        "_hello",
        "_limited",
        "_loop",
        "_reader",
        "_session",
        "_time_limit",
        "_wakened",
        "_written",
    )

    def __init__(self, hub: Hub, scheduler: LoopScheduler, context: Context, *, reader: bool) -> None:
        self._context = context
        self._limited = False
        self._written: asyncio.Future[None] | None = None
        self._reader = reader
        self._loop = asyncio.get_running_loop()
        self._wakened: asyncio.Future[None] | None = None
        self._time_limit = asyncio.timeout(None)
        self._hello = _read_hello(hub, context)
        codec = _BATCHES if self._hello.batch else _SINGLY
        self._session = Session(hub, self._hello, codec, wake=lambda: scheduler.call(self._wake), reader=reader)

    async def serve(self) -> None:
        """Serve the client until its call ends.

        Raises:
            CallError: what the call is to end with, where that is not well.
        """
        reading: asyncio.Task[None] | None = None
        try:
            # Not within the time limit: gRPC does not survive an end in the middle of this.
            await self._context.send_initial_metadata(_metadata(self._session, self._hello))
            async with self._time_limit:
                self._limited = True
                self._wake()
                if not self._reader:
                    reading = asyncio.create_task(self._read())
                await self._write()
        except TimeoutError:
            raise self._session.outbox.error or slow_consumer(self._session.outbox) from None
        finally:
            self._limited = False
            if reading:
                reading.cancel()
            self._session.close()
        if self._session.outbox.error:
            raise self._session.outbox.error

    async def _write(self) -> None:
        outbox = self._session.outbox
        while True:
            frame = self._session.take()
            if frame is not None:
                await self._context.write(frame)
                if self._written:
                    _resolve(self._written, None)
            elif outbox.closed:
                return
            else:
                self._wakened = self._loop.create_future()
                await self._wakened

    async def _read(self) -> None:
        try:
            while (frame := await self._context.read()) is not grpc.aio.EOF:  # type: ignore[comparison-overlap]
                await self._handle(protobuf.decode_requests(frame))
            self._session.leave()
        except protobuf.MalformedFrame as error:
            self._session.fail(CallError(ErrorCode.MALFORMED, str(error)))
        except Exception:
            logger.exception("a fault while reading from session %s", self._session.id)
            self._session.fail(_fault())

    async def _handle(self, requests: Sequence[Request]) -> None:
        done = self._session.handle(requests)
        while True:
            if self._session.congested:
                flushed: asyncio.Future[None] = self._loop.create_future()
                self._session.when_flushed(partial(_resolve, flushed, None))
                await flushed
            elif self._session.backlogged:
                self._written = self._loop.create_future()
                await self._written
            elif done < len(requests):
                await asyncio.sleep(0)  # the others' turn
                done = self._session.handle(requests, done)
            else:
                return

    def _wake(self) -> None:
        if self._wakened:
            _resolve(self._wakened, None)
        outbox = self._session.outbox
        if outbox.closed and self._limited and not self._time_limit.expired():
            linger_s = 0.0 if outbox.discarded else _LINGER_S
            self._time_limit.reschedule(self._loop.time() + linger_s)


@asynccontextmanager
async def _ending(context: Context) -> AsyncIterator[None]:
    """End the call with the status of whatever is raised inside."""
    try:
        try:
            yield
        except BcastError as error:
            await _abort(context, error)
        except protobuf.MalformedFrame as error:
            await _abort(context, CallError(ErrorCode.MALFORMED, str(error)))
        except (grpc.aio.AbortError, grpc.aio.InternalError):
            raise
        except Exception:
            logger.exception("a fault while serving %s", context.peer())
            await _abort(context, _fault())
    except grpc.aio.InternalError as error:
        logger.debug("%s is gone: %s", context.peer(), error)  # the cancellation that is to come was too late


async def _abort(context: Context, error: BcastError) -> None:
    await context.abort_with_status(rpc_status.to_status(_status(error)))


def _fault() -> CallError:
    return CallError(ErrorCode.INTERNAL, "a fault of the server; its log says more")


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
            yield key.removeprefix(_PREFIX), _percent_decode(key, value)


def _percent_decode(key: str, value: str | bytes) -> str:
    """Decode a metadata value.

    Raises:
        CallError: ``METADATA_INVALID``: it is no percent-encoding, or not of UTF-8.
    """
    if isinstance(value, bytes) or not value.isascii():
        raise CallError(
            ErrorCode.METADATA_INVALID, f"{shortened(key)}: takes ASCII, with other text percent-encoded ('Jos%C3%A9')"
        )
    if _BROKEN_PERCENT.search(value):
        raise CallError(
            ErrorCode.METADATA_INVALID,
            f"{shortened(key)}: {shortened(value)!r} is no percent-encoding; a % is written %25",
        )
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError:
        raise CallError(
            ErrorCode.METADATA_INVALID,
            f"{shortened(key)}: {shortened(value)!r} is no percent-encoded UTF-8 ('Jos%C3%A9')",
        ) from None


def _metadata(session: Session | Publisher, hello: Hello) -> tuple[tuple[str, str], ...]:
    return (
        ("bcast-session", session.id),
        ("bcast-room", quote(hello.room, safe="")),
        ("bcast-epoch", session.epoch),
    )


def _resolve(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)
