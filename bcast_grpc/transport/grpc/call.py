"""One call: what all of them have in common, whatever serves them."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol

from google.rpc import code_pb2

from bcast_grpc.errors import CallError
from bcast_grpc.transport.ending import internal_error
from bcast_grpc.transport.grpc.headers import Head, Metadata, details, first_fields, last_fields
from bcast_grpc.transport.grpc.messages import ENCODINGS, Message, MessageReader, StatusError
from bcast_grpc.transport.rpc import status
from bcast_grpc.transport.turns import Turns

logger = logging.getLogger(__name__)


class Carrier(Protocol):
    """A call's connection, as the call sees it.

    Attributes:
        peer: the other end's address.
        turns: which all connections take.
        send_data: sends as much as the call's window and the connection's allow, and returns how many bytes that is.
        send_now: sends something whole and at once if there is room, and nothing otherwise; returns whether it did.
    """

    peer: str
    turns: Turns

    @property
    def certificate(self) -> str:
        """Whom the client's certificate names; empty if it has shown none."""
        ...

    send_data: Callable[[Call, bytes | memoryview], int]
    send_now: Callable[[Call, bytes], bool]

    def send_headers(self, call: Call, block: bytes, *, ended: bool) -> None:
        """Send fields: those that a call is answered with, or those that it ends with."""
        ...

    @property
    def has_room(self) -> bool:
        """Whether the connection's window has room."""
        ...

    def wake(self, call: Call) -> None:
        """Have ``call.write()`` called, soon, when there is room."""
        ...

    def consumed(self, call: Call, size: int) -> None:
        """Let as many bytes come again, on the call or where it is over on the others."""
        ...

    def keep(self, call: Call, size: int) -> None:
        """Note how many bytes a call keeps of messages. Where that grows, it may end the call, or another."""
        ...

    def acked(self, call: Call) -> int:
        """Return a number that grows while the client takes what is sent on a call."""
        ...

    def ended(self, call: Call) -> None:
        """Forget a call."""
        ...


class Call(ABC):
    """A call, from its first fields to its last ones.

    Args:
        carrier: its connection, which is kept as an attribute.
        stream_id: its number there.
        head: what it began with.
        max_bytes: size of its largest message.

    Attributes:
        over: whether it has ended, or its client is gone.
        finished: whether its client sends no more.
        sent: how many bytes of messages were sent.
        blocked: whether its own window has no room for more; kept by its connection.
        queued: whether it waits for its turn to write; kept by its connection.
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
        "blocked",
        "carrier",
        "finished",
        "head",
        "over",
        "queued",
        "sent",
        "stream_id",
    )

    def __init__(self, carrier: Carrier, stream_id: int, head: Head, max_bytes: int) -> None:
        self.carrier = carrier
        self.stream_id = stream_id
        self.head = head
        self.over = False
        self.finished = False
        self.sent = 0
        self.blocked = False
        self.queued = False
        self._answered = False
        self._reader = MessageReader(max_bytes, ENCODINGS[head.encoding])
        self._arrived: list[Message] = []
        self._unconsumed = 0
        self._waiting = 0  # bytes of whole messages that are not carried out yet
        self._kept = 0  # those and what is unfinished
        self._rest: bytes | memoryview = b""
        self._deadline: asyncio.TimerHandle | None = None
        self._silence: asyncio.TimerHandle | None = None  # until its one request has begun to come
        if head.timeout_s is not None:
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(head.timeout_s, carrier.turns.soon, self._expire)  # of many in turns

    # --- what the connection says

    def received(self, payloads: Sequence[bytes], size: int) -> None:
        """Take what came, which is ``size`` bytes of the windows."""
        self._unconsumed += size
        begun = self._reader.begun
        if arrived := self._reader.read(payloads):
            self._arrived += arrived
            self._waiting += begun + size
        self.read_on()
        self._note_kept()

    def finish(self) -> None:
        """Note that the client sends no more."""
        self.finished = True
        self.read_on()

    @property
    @abstractmethod
    def stalled(self) -> bool:
        """Whether it goes on only once its client has read more of its answers."""

    @property
    def is_waited_for(self) -> bool:
        """Whether what it keeps is there since its client does not finish a message, or does not read."""
        return not self._waiting or self.stalled

    @abstractmethod
    def write(self) -> bool:
        """Write one piece of what there is, as far as there is room; return whether more can be written at once."""

    def drop(self) -> None:
        """Forget the call: the client is gone."""
        if not self.over:
            self.over = True
            self._close()

    # --- what serves the call

    @abstractmethod
    def read_on(self) -> None:
        """Carry out what came, as far as that can be done now."""

    @abstractmethod
    def release(self) -> None:
        """Let go of everything: the call is over."""

    def answer(self, metadata: Metadata = ()) -> None:
        """Send the first fields."""
        if not (self._answered or self.over):
            self._answered = True
            self.carrier.send_headers(self, first_fields(metadata), ended=False)

    def end(self, code: int = code_pb2.OK, message: str = "", metadata: Metadata = ()) -> None:
        """End the call with a status."""
        if self.over:
            return
        self.over = True
        block = last_fields(code, message, metadata)
        self.carrier.send_headers(self, block if self._answered else first_fields() + block, ended=True)
        self._close()

    def fail(self, error: CallError | StatusError | None) -> None:
        """End the call with an error; well where there is none."""
        if error is None:
            self.end()
        elif isinstance(error, StatusError):
            self.end(error.code, error.message)
        else:
            what = status(error)
            self.end(what.code, what.message, details(what))

    def fault(self, raised: Exception) -> None:
        """End the call after a failure of the server itself."""
        logger.error("internal error while serving %s", self.carrier.peer, exc_info=raised)
        self.fail(internal_error())

    def _put(self, data: bytes | memoryview) -> bool:
        """Send data, and keep what there is no room for; return whether the call's own window has room for more."""
        sent = self.carrier.send_data(self, data)
        self._rest = memoryview(data)[sent:] if sent < len(data) else b""
        return not self.blocked

    def _consume(self) -> None:
        """Let as much come again as was carried out, which is all."""
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
        self.end(code_pb2.DEADLINE_EXCEEDED, "the time that the client gave the call is over")

    def _limit_silence(self, seconds: float) -> None:
        """End the call where nothing has come of its one request after so long, unless ``_heard()`` is called before.

        There is no bound of calls whose clients have not said yet who they are.
        """
        loop = asyncio.get_running_loop()
        self._silence = loop.call_later(seconds, self.carrier.turns.soon, self._refuse_silent)

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
