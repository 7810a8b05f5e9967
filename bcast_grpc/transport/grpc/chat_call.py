"""``Connect`` and ``Subscribe``: a client's stream, driven by the events of its connection."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import cast

from bcast_grpc.core.admission import Admission
from bcast_grpc.core.batch import Encoder
from bcast_grpc.core.entrance import Admitting, settled
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Request
from bcast_grpc.transport.ending import ended_by, ending
from bcast_grpc.transport.grpc.call import Call, Carrier
from bcast_grpc.transport.grpc.headers import Head
from bcast_grpc.transport.grpc.messages import (
    MAX_SMALL_BYTES,
    Message,
    MessageReader,
    Packed,
    StatusError,
    encode_events,
    no_message,
    split_messages,
    too_many_messages,
    unpacked,
)
from bcast_grpc.transport.grpc.resources import Resources
from bcast_grpc.transport.rpc import BATCHES, initial_metadata, read_caller, read_metadata, read_peer
from bcast_grpc.transport.stream import Stream
from bcast_grpc.transport.turns import LIGHT_BYTES
from bcast_grpc.wire import protobuf

_read_hello = lru_cache(maxsize=128)(read_metadata)  # clients of one kind mostly send the same metadata
_MESSAGES = Encoder(encode_events, protobuf.MAX_BATCH_BYTES, split_messages)


TURN_BYTES = 64 * 1024
"""How much a call may write before it is the turn of the others on its connection."""

_READ = Head("", None, "", ())
"""Replaces the head of a call once it has been read, to save memory."""


class ChatCall(Call):
    """A call that carries a client's stream: it is the stream's ``Line``."""

    __slots__ = ("_arriving", "_asked", "_batches", "_is_reader", "_ready", "_resources", "_stream")

    def __init__(self, carrier: Carrier, stream_id: int, head: Head, resources: Resources, *, is_reader: bool) -> None:
        super().__init__(carrier, stream_id, head, protobuf.MAX_REQUEST_BYTES)
        self._resources = resources
        self._is_reader = is_reader
        self._asked = False  # the one request of `Subscribe` has come
        self._batches = False
        self._ready = False  # for more requests
        self._stream: Stream | None = None
        self._arriving: asyncio.Task[None] | None = None
        if is_reader:
            self._limit_silence(resources.shared.handshake_s)
        else:
            self._arrive()

    # --- called by the stream

    def wake(self) -> None:
        """Write, soon."""
        self.carrier.wake(self)
        if self._stream and self._stream.over and not self.carrier.has_room:  # ending the call needs no window
            self.carrier.turns.soon(self.carrier.peer, self._end_if_done)

    def write_now(self, piece: bytes) -> bool:
        """Write a piece, if there is room for all of it."""
        if self.over or self._rest:  # which is of history, or the queue would not be idle
            return False
        try:
            return self.carrier.send_now(self, self._resources.framer.frame(piece) if self._batches else piece)
        except Exception as raised:  # noqa: BLE001  # the call ends with it, but not in the middle of a flush
            asyncio.get_running_loop().call_soon(self.fault, raised)
            return True

    def ready(self) -> None:
        """Go on reading."""
        self._ready = True
        self._resources.unpacking.leave(self)
        self.read_on()

    @property
    def stalled(self) -> bool:
        """Whether it waits until its client has read more of the answers."""
        return self._stream is not None and self._stream.session.backlogged

    # --- reading

    def read_on(self) -> None:
        """Pass everything that has come to the stream, once that has carried out what came before."""
        if self.over:
            return
        if self._is_reader:
            self._read_subscription()
            return
        stream = self._stream
        unpacking = self._resources.unpacking if self._reader.unpacks else None
        while stream and self._ready and self._arrived:
            if unpacking and not unpacking.enter(self):
                return
            arrived, self._arrived = self._arrived, []
            self._ready = False
            self._ready = stream.received(_requests(arrived, self._reader))
            if unpacking and self._ready:
                unpacking.leave(self)
        if not (stream and self._ready) or self.over:
            return
        self._consume()
        if self._reader.fault:
            self.fail(self._reader.fault)
        elif self.finished:
            self._ready = False
            if self._reader.begun:
                stream.failed(protobuf.MalformedFrame("the stream ends in the middle of a message"))
            else:
                stream.finished()

    def _read_subscription(self) -> None:
        """Let a client of ``Subscribe`` in, once its one request has come."""
        self._consume()
        if (self._asked and self._arrived) or len(self._arrived) > 1:
            self.fail(too_many_messages())
        elif self._asked:
            return
        elif self._arrived:
            self._asked = True
            self._heard()
            self._subscribe(self._arrived.pop())
        elif self._reader.fault:
            self.fail(self._reader.fault)
        elif self.finished:
            self.fail(no_message())

    def _subscribe(self, message: Message) -> None:
        try:
            protobuf.check_subscribe(unpacked(message, MAX_SMALL_BYTES))
        except StatusError as error:
            self.fail(error)
        except protobuf.MalformedFrame as error:
            self._refuse(error)
        else:
            self._arrive()

    # --- its life

    def _arrive(self) -> None:
        proxies = self._resources.shared.connections.proxies
        self.carrier.turns.soon(read_peer(self.head.metadata, self.carrier.peer, proxies), self._ask)

    def _ask(self) -> bool:
        """Ask to come in. Mostly the answer is there at once; else a task waits for it. Return False if it is over."""
        if self.over:
            return False
        try:
            admitting = self._admitting()
            if isinstance(admitting, Admission):
                self._enter(admitting)
            else:
                self._arriving = self._resources.serving.start(self._wait(admitting))
        except Exception as raised:  # noqa: BLE001  # the client is told, and it is logged
            self._refuse(raised)
        return True

    def _admitting(self) -> Admitting:
        shared = self._resources.shared
        hello = _read_hello(self.head.metadata, shared.hub.limits)
        presented = (*self.head.metadata, *self.head.secrets)
        caller = read_caller(presented, self.carrier.peer, shared.connections.proxies, self.carrier.certificate)
        return shared.hub.entrance.begin(hello, caller)

    async def _wait(self, admitting: Admitting) -> None:
        counts = self._resources.shared.hub.counts
        ended = await ending(self._enter_later(admitting), self.carrier.peer, counts=counts)
        self._arriving = None
        if ended.error:
            self.fail(ended.error)

    def _refuse(self, raised: Exception) -> None:
        self.fail(ended_by(raised, self.carrier.peer, counts=self._resources.shared.hub.counts).error)

    async def _enter_later(self, admitting: Admitting) -> None:
        self._enter(await settled(admitting))

    def _enter(self, admission: Admission) -> None:
        shared, hello = self._resources.shared, admission.hello
        encoder = BATCHES if hello.batch else _MESSAGES
        self._batches = hello.batch
        lane = self.carrier.lane(self, self._resources.framings.of(self.stream_id, prefixed=not hello.batch))
        stream = Stream(admission, shared.scheduler, encoder, self, reader=self._is_reader, write_now=lane.write)
        self._stream = stream
        self.carrier.let_in(self)
        self.answer(initial_metadata(stream.session, hello))
        self.head = _READ
        stream.begin(self._end_overdue, lambda: self.carrier.acked(self))
        self.ready()

    def _end_overdue(self) -> None:
        if self._stream:
            self.fail(self._stream.overdue())

    def release(self) -> None:
        """Remove the client from its room."""
        self._resources.unpacking.leave(self)
        if self._arriving:
            self._arriving.cancel()
            self._arriving = None
        if self._stream:
            self._stream.close()
            self._stream = None

    # --- writing

    def write(self) -> bool:
        """Write what is queued, up to about ``TURN_BYTES``."""
        stream = self._stream
        if self.over or stream is None:
            return False
        if self._rest:
            self._put(self._rest)
        end = self.sent + TURN_BYTES
        while not self._rest and self.sent < end:
            piece = stream.take()
            if piece is None:
                if stream.over:
                    self._finish(stream.error)
                return False
            self._put(self._resources.framer.frame(piece) if self._batches else piece)
        self._end_if_done()
        return not (self.blocked or self.over)

    def _end_if_done(self) -> None:
        """End the call if everything has been written: that needs no room in the windows."""
        if self._stream and self._stream.done and not self._rest:
            self._finish(self._stream.error)

    def _finish(self, error: CallError | None) -> None:
        if error and error.code is ErrorCode.SHUTTING_DOWN:
            self.carrier.send_away()
        self.fail(error)


def _requests(messages: Sequence[Message], reader: MessageReader) -> Iterator[Sequence[Request]]:
    """Decode messages, many small ones at once. An empty slice before a long one gives others their turn."""
    if not reader.unpacks and max(map(len, messages)) <= protobuf.SMALL_BYTES:  # as most are
        return protobuf.read_small(cast("Sequence[bytes]", messages))
    return _mixed_requests(messages, reader)


def _mixed_requests(messages: Sequence[Message], reader: MessageReader) -> Iterator[Sequence[Request]]:
    small: list[bytes] = []
    for message in messages:
        if isinstance(message, bytes) and len(message) <= protobuf.SMALL_BYTES:
            small.append(message)
            continue
        yield from protobuf.read_small(small)
        small = []
        if isinstance(message, Packed):
            pieces: list[bytes] = []
            try:
                for piece in reader.pieces(message):
                    pieces.append(piece)
                    yield ()
            except StatusError as error:
                reader.fault = StatusError(error.code, error.message)  # a new one, without a traceback
                return
            message = b"".join(pieces)
            del pieces
        elif len(message) > LIGHT_BYTES:
            yield ()
        yield from protobuf.read_requests(message)
    yield from protobuf.read_small(small)
