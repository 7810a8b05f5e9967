"""What all calls have in common."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from google.rpc import code_pb2

from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.transport.ending import internal_error
from bcast_grpc.transport.grpc.headers import Head, Metadata, details, first_fields, last_fields
from bcast_grpc.transport.grpc.messages import ENCODINGS, Message, MessageReader, StatusError
from bcast_grpc.transport.rpc import status
from bcast_grpc.transport.turns import Turns

if TYPE_CHECKING:
    from bcast_grpc.transport.grpc.chat_call import ChatCall
    from bcast_grpc.transport.grpc.lane import Lane

logger = logging.getLogger(__name__)


class Carrier(Protocol):
    """A call's connection, as the call sees it.

    Attributes:
        peer: the client's address.
        turns: the turns that all connections take.
        send_data: sends as much as the windows of call and connection allow, and returns how many bytes that is.
        send_now: sends all of the data at once if there is room, otherwise nothing; returns whether it did.
        send_away: tells the client to make its next calls over another connection, perhaps to another server.
    """

    peer: str
    turns: Turns

    @property
    def certificate(self) -> str:
        """The name in the client's certificate; empty if it has presented none."""
        ...

    send_data: Callable[[Call, bytes | memoryview], int]
    send_now: Callable[[Call, bytes], bool]
    send_away: Callable[[], None]

    def send_headers(self, call: Call, block: bytes, *, ended: bool) -> None:
        """Send header fields: the first ones of an answer, or the last ones of a call."""
        ...

    def lane(self, call: ChatCall, frame: Callable[[bytes], bytes]) -> Lane:
        """Return a fast way to write to a call; ``frame`` makes the DATA frame of a piece."""
        ...

    @property
    def has_room(self) -> bool:
        """Whether the connection's window has room."""
        ...

    def wake(self, call: Call) -> None:
        """Call ``call.write()`` soon, when there is room."""
        ...

    def consumed(self, call: Call, size: int) -> None:
        """Open the windows of call and connection again by as many bytes."""
        ...

    def keep(self, call: Call, size: int) -> None:
        """Note how many bytes of messages a call keeps. If that is too much, this ends the call or another one."""
        ...

    def acked(self, call: Call) -> int:
        """Return a number that changes while the client reads what is sent on a call."""
        ...

    def carry(self, call: Call) -> None:
        """Note that a call is served from now on: its connection is not idle. Until then it may be."""
        ...

    def let_in(self, call: Call, *, carries: bool = True) -> None:
        """Note that a call waits no more. If it ``carries`` its connection, it is that of a client from now on."""
        ...

    def ended(self, call: Call) -> None:
        """Forget a call."""
        ...


class Call(ABC):
    """A call, from its first fields to its last ones.

    Args:
        carrier: its connection, which is kept as an attribute.
        stream_id: the id of its stream.
        head: what it began with.
        max_bytes: size of its largest message.

    Attributes:
        network: the address that it is counted for; set by its door.
        asks: whether it waits to be let in; set by its door.
        carried: whether it is served; set by its connection.
        over: whether it has ended, or its client is gone.
        finished: whether its client has sent everything.
        sent: how many bytes of messages have been sent.
        blocked: whether its own window has no room for more; set by its connection.
        queued: whether it waits for its turn to write; set by its connection.
    """

    __slots__ = (
        "_answered",
        "_arrived",
        "_deadline",
        "_kept",
        "_reader",
        "_rest",
        "_silence",
        "_unconsumed",
        "_waiting",
        "asks",
        "blocked",
        "carried",
        "carrier",
        "finished",
        "head",
        "network",
        "over",
        "queued",
        "sent",
        "stream_id",
    )

    def __init__(self, carrier: Carrier, stream_id: int, head: Head, max_bytes: int) -> None:
        self.carrier = carrier
        self.stream_id = stream_id
        self.head = head
        self.network, self.asks = "", False
        self.carried = self.over = self.finished = False
        self.sent = 0
        self.blocked = False
        self.queued = False
        self._answered = False
        self._reader = MessageReader(max_bytes, ENCODINGS[head.encoding])
        self._arrived: list[Message] = []
        self._unconsumed = 0
        self._waiting = 0  # bytes of complete messages that are not carried out yet
        self._kept = 0  # those bytes, and those of the incomplete message
        self._rest: bytes | memoryview = b""
        self._deadline: asyncio.TimerHandle | None = None
        self._silence: asyncio.TimerHandle | None = None  # until its one request has begun to come
        if head.timeout_s is not None:
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(head.timeout_s, carrier.turns.soon, carrier.peer, self._expire)  # many may

    # --- called by the connection

    def received(self, payloads: Sequence[bytes], size: int) -> None:
        """Take data from the client, which is ``size`` bytes of the windows."""
        self._unconsumed += size
        begun = self._reader.begun
        if arrived := self._reader.read(payloads):
            self._arrived += arrived
            self._waiting += begun + size
        self.read_on()
        self._note_kept()

    def finish(self) -> None:
        """Note that the client has sent everything."""
        self.finished = True
        self.read_on()

    @property
    @abstractmethod
    def stalled(self) -> bool:
        """Whether it waits until its client has read more of the answers."""

    @property
    def is_waited_for(self) -> bool:
        """Whether it keeps data because its client does not finish a message, or does not read."""
        return not self._waiting or self.stalled

    @abstractmethod
    def write(self) -> bool:
        """Write one piece of what is queued, as far as there is room; return whether more can be written at once."""

    def drop(self) -> None:
        """Forget the call, because the client is gone."""
        if not self.over:
            self.over = True
            self._close()

    # --- implemented and called by the subclasses

    @abstractmethod
    def read_on(self) -> None:
        """Carry out what the client has sent, as far as possible now."""

    @abstractmethod
    def release(self) -> None:
        """Release everything that the call holds: it is over."""

    def answer(self, metadata: Metadata = ()) -> None:
        """Send the first fields."""
        if not (self._answered or self.over):
            self._answered = True
            self.carrier.send_headers(self, first_fields(metadata), ended=False)

    def end(self, code: int = code_pb2.OK, message: str = "", metadata: Metadata = ()) -> None:
        """End the call with a status."""
        if not self.over:
            self._end(last_fields(code, message, metadata))

    def _end(self, block: bytes) -> None:
        self.over = True
        self.carrier.send_headers(self, block if self._answered else first_fields() + block, ended=True)
        self._close()

    def fail(self, error: CallError | StatusError | None) -> None:
        """End the call with an error; without one, normally."""
        if error is None:
            self.end()
        elif isinstance(error, StatusError):
            self.end(error.code, error.message)
        elif not self.over:
            self._end(error_fields(error))

    def fault(self, raised: Exception) -> None:
        """End the call because of an internal error of the server."""
        logger.error("internal error while serving %s", self.carrier.peer, exc_info=raised)
        self.fail(internal_error())

    def _put(self, data: bytes | memoryview) -> bool:
        """Send data, and keep the rest if there is no room; return whether the call's own window has room for more."""
        sent = self.carrier.send_data(self, data)
        self._rest = memoryview(data)[sent:] if sent < len(data) else b""
        return not self.blocked

    def _consume(self) -> None:
        """Open the windows again: everything that came has been carried out."""
        size, self._unconsumed = self._unconsumed, 0
        self._waiting = 0
        if self._kept > self._reader.begun:
            self._note_kept()
        if size:
            self.carrier.consumed(self, size)

    def _note_kept(self) -> None:
        kept = 0 if self.over else self._waiting + self._reader.begun
        if kept != self._kept:
            self._kept = kept
            self.carrier.keep(self, kept)

    def _expire(self) -> None:
        self._deadline = None
        self.end(code_pb2.DEADLINE_EXCEEDED, "the deadline of the call (grpc-timeout) has passed")

    def _limit_silence(self, seconds: float) -> None:
        """End the call if its one request has not begun to come after so long, unless ``_heard()`` is called before.

        Calls without a request are not yet clients, so no other bound applies to them.
        """
        loop = asyncio.get_running_loop()
        carrier = self.carrier
        self._silence = loop.call_later(seconds, carrier.turns.soon, carrier.peer, self._refuse_silent)

    def _heard(self) -> None:
        if self._silence:
            self._silence.cancel()
            self._silence = None

    def _refuse_silent(self) -> None:
        if self._silence and not (self._reader.begun or self._arrived):
            self.end(code_pb2.DEADLINE_EXCEEDED, "no request came in time; send it with the call")

    def _close(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None
        self._heard()
        self._arrived = []
        self._rest = b""
        self._consume()
        self._note_kept()
        self.release()
        self.carrier.ended(self)


def error_fields(error: CallError) -> bytes:
    """Return the last fields of a call that ends with an error."""
    return _last_fields(error.code, error.reason, error.retry_after_s, error.retryable)


@lru_cache(maxsize=64)
def _last_fields(code: ErrorCode, reason: str, retry_after_s: float, retryable: bool) -> bytes:
    """Return the last fields of a call that ends with an error. Many calls end with the same one."""
    what = status(CallError(code, reason, retry_after_s=retry_after_s, retryable=retryable))
    return last_fields(what.code, what.message, details(what))
