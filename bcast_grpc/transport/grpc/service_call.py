"""Calls that one of grpcio's servicers serves, in a task: those that are few or short."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from time import perf_counter
from typing import Any, NoReturn, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from google.rpc import code_pb2

from bcast_grpc.transport.ending import ended_by
from bcast_grpc.transport.grpc.call import Call, Carrier
from bcast_grpc.transport.grpc.headers import Head, Metadata
from bcast_grpc.transport.grpc.messages import (
    MAX_SMALL_BYTES,
    Packed,
    StatusError,
    no_message,
    too_many_messages,
    with_prefix,
)
from bcast_grpc.transport.grpc.resources import Resources
from bcast_grpc.transport.lingering import LINGER_S
from bcast_grpc.transport.stream import resolve
from bcast_grpc.wire import protobuf

Method: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class ServiceCall(Call):
    """A call that is served by a coroutine.

    Args:
        method: the handler, as ``add_…Servicer_to_server`` registers it. One without a deserializer takes frames of the
            contract, which may be large.
        resources: what all calls of the door share.
        ended: called when it is over.
    """

    __slots__ = ("_asked", "_ended", "_method", "_resources", "_room", "_something", "_task")

    def __init__(
        self,
        carrier: Carrier,
        stream_id: int,
        head: Head,
        method: Method,
        resources: Resources,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        max_bytes = MAX_SMALL_BYTES if method.request_deserializer else protobuf.MAX_REQUEST_BYTES
        if method.request_deserializer:  # of grpcio's servicers, which ask nobody who they are
            head = head.without_secrets()
        super().__init__(carrier, stream_id, head, max_bytes)
        self._method = method
        self._ended = ended
        self._resources = resources
        self._asked = False  # the one request of a unary method has been read
        self._something: asyncio.Future[None] | None = None  # done when something has come
        self._room: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = resources.serving.start(self._serve())

    @property
    def stalled(self) -> bool:
        """Whether it waits until its client has read more of the answers."""
        return self._room is not None and not self._room.done()

    def read_on(self) -> None:
        """Wake the task to read what has come."""
        if self._asked and self._arrived:
            self.fail(too_many_messages())
        if self._something:
            resolve(self._something, None)

    def write(self) -> bool:
        """Write the rest of the message; wake the task when all of it has been written."""
        if self._rest and not self._put(self._rest):
            return False
        if self._rest:
            return True
        if self._room:
            resolve(self._room, None)
        return False

    def release(self) -> None:
        """Cancel the task, and forget it: a cancelled task refers to its frames, and these to the call."""
        self._ended()
        self._resources.unpacking.leave(self)
        task, self._task = self._task, None
        if task and asyncio.current_task() is not task:
            task.cancel()

    async def read(self) -> bytes | None:
        """Return the next message; None if there will be none.

        Raises:
            StatusError: the data are not a message.
        """
        while not self._arrived:
            self._consume()
            if fault := self._reader.fault:
                raise StatusError(fault.code, fault.message)  # a new one: one that was raised refers to its frames
            if self.finished:
                return None
            await self._any_news()
        message = self._arrived.pop(0)
        self._note_request()
        if isinstance(message, Packed):
            message = await self._unpack(message)
        if not self._arrived:
            self._consume()
        return message

    def _note_request(self) -> None:
        if self._method.request_deserializer:  # of grpcio's servicers, which let everyone in, and may last for ever
            self.carrier.let_in(self, carries=False)
        else:
            self.carrier.carry(self)

    async def _any_news(self) -> None:
        self._something = asyncio.get_running_loop().create_future()
        await self._something

    async def _unpack(self, message: Packed) -> bytes:
        """Unpack a message when not too many other calls do, in turn with everything that is read."""
        unpacking, turns = self._resources.unpacking, self._resources.shared.scheduler.turns
        while not unpacking.enter(self):
            await self._any_news()
        unpacked = bytearray()
        pieces = self._reader.pieces(message)
        while True:
            await turns.take(self.carrier.peer)
            began = perf_counter()
            try:
                if (piece := next(pieces, None)) is None:
                    break
            finally:
                turns.spent(perf_counter() - began)
            unpacked += piece
        unpacking.leave(self)
        return bytes(unpacked)

    async def send(self, message: bytes) -> None:
        """Send a message; return once it is written."""
        self.answer()
        self._rest = with_prefix(message)
        self._room = asyncio.get_running_loop().create_future()
        self.carrier.wake(self)
        await self._room

    async def _serve(self) -> None:
        context = Context(self)
        try:
            await self._converse(context)
        except grpc.aio.AbortError:
            pass  # the servicer has ended the call
        except StatusError as error:
            self.fail(error)
        except Exception as raised:  # noqa: BLE001  # the client is told, and it is logged
            self.fail(ended_by(raised, self.carrier.peer, counts=self._resources.shared.hub.counts).error)
        else:
            self.end(context.code, context.details, context.trailing)

    async def _converse(self, context: Context) -> None:
        method = self._method
        read = _decoder(method.request_deserializer)
        write = _identity if method.response_serializer is None else method.response_serializer
        serve: Any = method.unary_unary or method.unary_stream or method.stream_unary or method.stream_stream
        context.serialize = write
        responses: AsyncIterator[Any] | Awaitable[Any]
        if method.request_streaming:
            responses = serve(self._requests(read), context)
        else:
            responses = serve(read(await self._request()), context)  # no variable holds it: it may be large
        if isinstance(responses, AsyncIterator):
            async for response in responses:
                await self.send(write(response))
        else:
            response = await responses
            if not method.response_streaming:
                await self._send_last(write(response))

    async def _send_last(self, message: bytes) -> None:
        """Send the one answer to the one request. Nothing else bounds how many such calls there are."""
        try:
            async with asyncio.timeout(LINGER_S):
                await self.send(message)
        except TimeoutError:
            raise StatusError(code_pb2.RESOURCE_EXHAUSTED, f"the answer was not read within {LINGER_S:g} s") from None

    async def _request(self) -> bytes:
        if not self._arrived:  # most send it with the call
            self._limit_silence(self._resources.shared.handshake_s)
        request = await self.read()
        self._heard()
        if request is None:
            raise no_message()
        self._asked = True
        if self._arrived:
            raise too_many_messages()
        return request

    async def _requests(self, read: Callable[[bytes], Any]) -> AsyncIterator[Any]:
        while (request := await self.read()) is not None:
            yield read(request)


class Context:
    """A call as a servicer sees it: the part of ``grpc.aio.ServicerContext`` that servicers use.

    Attributes:
        code: the number of the status that ends the call.
        details: the text of the status.
        trailing: metadata that is sent with the status.
        serialize: turns what is written into bytes.
    """

    def __init__(self, call: ServiceCall) -> None:
        self._call = call
        self.code: int = code_pb2.OK
        self.details = ""
        self.trailing: Metadata = ()
        self.serialize: Callable[[Any], bytes] = _identity

    async def read(self) -> Any:
        """Return the next message as bytes, or ``grpc.aio.EOF``."""
        message = await self._call.read()
        return grpc.aio.EOF if message is None else message

    async def write(self, message: Any) -> None:
        """Send a message."""
        await self._call.send(self.serialize(message))

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        """End the call with a status."""
        self._call.end(code.value[0], details, trailing_metadata)
        raise grpc.aio.AbortError

    async def send_initial_metadata(self, initial_metadata: Metadata) -> None:
        """Send the first fields."""
        self._call.answer(initial_metadata)

    def set_trailing_metadata(self, trailing_metadata: Metadata) -> None:
        """Set the metadata that is sent with the status."""
        self.trailing = trailing_metadata

    def invocation_metadata(self) -> Metadata:
        """Return the client's fields, without those that let it in."""
        return self._call.head.metadata

    def take_secrets(self) -> Metadata:
        """Return the client's fields that let it in; they are not kept after that."""
        head = self._call.head
        self._call.head = head.without_secrets()
        return head.secrets

    def admitted(self) -> None:
        """Note that the client is let in."""
        self._call.carrier.let_in(self._call)

    def set_code(self, code: grpc.StatusCode) -> None:
        """Set the status that ends the call."""
        self.code = code.value[0]

    def set_details(self, details: str) -> None:
        """Set the text of the status."""
        self.details = details

    def peer(self) -> str:
        """Return the client's address."""
        return self._call.carrier.peer

    @property
    def certificate(self) -> str:
        """The name in the client's certificate; empty if it has presented none."""
        return self._call.carrier.certificate


def _decoder(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    """Return a function that decodes a message, or ends the call if it is malformed."""
    if deserialize is None:
        return _identity

    def read(message: bytes) -> Any:
        try:
            return deserialize(message)
        except DecodeError as error:
            raise StatusError(code_pb2.INVALID_ARGUMENT, f"the request is not valid: {error}") from None

    return read


def _identity(message: bytes) -> bytes:
    return message
