"""The calls on one connection, and what the events of HTTP/2 mean to them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from google.rpc import code_pb2

from bcast_grpc.errors import CallError
from bcast_grpc.http2 import Connection as Http2
from bcast_grpc.http2 import ErrorCode, events
from bcast_grpc.transport.connections import Connections, port_of
from bcast_grpc.transport.ending import internal_error
from bcast_grpc.transport.grpc.call import Call, Carrier, error_fields
from bcast_grpc.transport.grpc.carried import Carried
from bcast_grpc.transport.grpc.headers import NotGrpc, first_fields, last_fields
from bcast_grpc.transport.grpc.lane import Lane
from bcast_grpc.transport.grpc.messages import StatusError
from bcast_grpc.transport.grpc.refusal import Refusal
from bcast_grpc.transport.grpc.writer import Writer
from bcast_grpc.transport.tcp_info import acked
from bcast_grpc.transport.tls.peer import subject_of
from bcast_grpc.transport.turns import Turns

if TYPE_CHECKING:
    from bcast_grpc.transport.grpc.chat_call import ChatCall

logger = logging.getLogger(__name__)


class Owner(Protocol):
    """A door, as the calls on its connections see it."""

    def begin(self, carrier: Carrier, event: events.HeadersReceived) -> Call:
        """Make a call from a request.

        Raises:
            NotGrpc: the request is not a gRPC call.
            StatusError: the call cannot be served.
            CallError: ``SERVER_FULL``.
        """
        ...

    def let_in(self, call: Call) -> None:
        """Note that a call waits no more: it was let in, or is over."""
        ...

    def keep(self, call: Call, size: int) -> Call | None:
        """Note how many bytes of messages a call keeps.

        Returns:
            The call that must end because too much is kept, if any.
        """
        ...


class Calls(Carrier):
    """The calls on one connection.

    Args:
        h2: the connection's HTTP/2.
        transport: the connection's transport.
        writer: writes to the connection.
        peer: the client's address.
        owner: the door, which makes the calls.
        connections: counts the connections that carry a call.
        turns: the turns that all connections take.

    Attributes:
        none_left: called when the last call has ended.
        send_away: tells the client to make its next calls over another connection.
    """

    __slots__ = (
        "_carried",
        "_dropping",
        "_h2",
        "_open",
        "_owner",
        "_transport",
        "_writer",
        "none_left",
        "peer",
        "send_away",
        "send_data",
        "send_now",
        "turns",
    )

    def __init__(
        self,
        h2: Http2,
        transport: asyncio.Transport,
        writer: Writer,
        peer: str,
        owner: Owner,
        connections: Connections,
        turns: Turns,
    ) -> None:
        self._h2 = h2
        self._transport = transport
        self._writer = writer
        self.send_data = writer.send_data
        self.send_now = writer.send_now
        self.peer = _as_grpc_writes(peer)
        self._owner = owner
        self.turns = turns
        self.none_left: Callable[[], None] = _nobody
        self.send_away: Callable[[], None] = _nobody
        self._carried = Carried(connections, port_of(peer))
        self._open: dict[int, Call] = {}
        self._dropping: list[Call] | None = None  # the last one first; None as long as the client is there

    @property
    def certificate(self) -> str:
        """The name in the client's certificate; empty if it has presented none."""
        return subject_of(self._transport) or ""

    def __len__(self) -> int:
        """Return how many calls are open."""
        return len(self._open)

    # --- events of the connection

    def data(self, event: events.DataReceived) -> None:
        """Pass data to its call."""
        call = self._open.get(event.stream_id)
        if call is None:
            self._h2.consumed(event.stream_id, event.size)
            return
        try:
            call.received(event.payloads, event.size)
            if event.ended and not call.over:
                call.finish()
        except Exception as raised:  # noqa: BLE001  # the call ends with it
            call.fault(raised)

    def headers(self, event: events.HeadersReceived) -> None:
        """Begin a call, or refuse it."""
        try:
            self._begin(event)
        except CallError as error:
            self._refuse(event, first_fields() + error_fields(error))
        except StatusError as error:
            self._refuse(event, first_fields() + last_fields(error.code, error.message))
        except Exception:
            logger.exception("internal error while serving %s", self.peer)
            self._refuse(event, first_fields() + last_fields(code_pb2.INTERNAL, internal_error().reason))

    def _begin(self, event: events.HeadersReceived) -> None:
        try:
            call = self._owner.begin(self, event)
        except NotGrpc as error:
            call = Refusal(self, event.stream_id, error.fields, error.text, has_body=error.has_body)
        if not call.over:
            self._open[event.stream_id] = call
            self._writer.expect()
            if event.ended:
                call.finish()

    def _refuse(self, event: events.HeadersReceived, block: bytes) -> None:
        """Answer a request without making a call."""
        self._writer.send_headers(event.stream_id, block, ended=True)
        if not event.ended:
            self._h2.reset(event.stream_id, ErrorCode.NO_ERROR)
        self._carried.refused()

    def trailers(self, event: events.TrailersReceived) -> None:
        """Tell a call that its client has sent everything."""
        if call := self._open.get(event.stream_id):
            try:
                call.finish()
            except Exception as raised:  # noqa: BLE001  # the call ends with it
                call.fault(raised)

    def reset(self, event: events.StreamReset) -> None:
        """Drop a call that its client has cancelled."""
        if call := self._open.get(event.stream_id):
            logger.debug("%s cancelled a call", self.peer)
            call.drop()

    def window(self, event: events.WindowOpened) -> None:
        """Let calls write that have room now."""
        if not event.stream_id:
            self._writer.recheck(self._open.values())
        elif (call := self._open.get(event.stream_id)) and call.blocked:
            self._writer.add(call)

    # --- called by calls

    def send_headers(self, call: Call, block: bytes, *, ended: bool) -> None:
        """Send header fields. If the call ends before its client has sent everything, tell the client to stop."""
        self._writer.send_headers(call.stream_id, block, ended=ended)
        if ended and not call.finished:
            self._h2.reset(call.stream_id, ErrorCode.NO_ERROR)
        self._writer.soon()

    def lane(self, call: ChatCall, frame: Callable[[bytes], bytes]) -> Lane:
        """Return a fast way to write to a call; ``frame`` makes the DATA frame of a piece."""
        return Lane(call, frame, self._transport, self._writer)

    @property
    def has_room(self) -> bool:
        """Whether the connection's window has room."""
        return self._h2.window > 0

    def wake(self, call: Call) -> None:
        """Let a call write soon."""
        self._writer.add(call)
        self._writer.soon()

    def consumed(self, call: Call, size: int) -> None:
        """Open the windows again by as many bytes."""
        self._h2.consumed(call.stream_id, size)
        self._writer.soon()

    def keep(self, call: Call, size: int) -> None:
        """Note how many bytes of messages a call keeps."""
        if too_much := self._owner.keep(call, size):
            too_much.fail(_too_much_kept())

    def acked(self, call: Call) -> int:
        """Return how many bytes the client's system has acknowledged or, if the window is full, the client has read."""
        return -call.sent if call.blocked else acked(self._transport)

    def carry(self, call: Call) -> None:
        """Note that a call is served from now on: its connection is not idle."""
        self._carried.add(call)

    def let_in(self, call: Call, *, carries: bool = True) -> None:
        """Note that a call waits no more. If it ``carries`` its connection, it is that of a client from now on."""
        self._owner.let_in(call)
        if carries:
            self.carry(call)

    def ended(self, call: Call) -> None:
        """Forget a call."""
        self._open.pop(call.stream_id, None)
        self._owner.let_in(call)
        self._carried.ended(call)
        if not self._open and self._dropping is None:
            self.none_left()

    def drop_all(self, none_left: Callable[[], None] | None = None) -> None:
        """Drop them: the client is gone. Where there are many, that is done in turns with all else.

        Args:
            none_left: called when the last one is dropped, at once where there is none.
        """
        self.none_left = none_left or _nobody  # the one before keeps the connection, which keeps this
        self.send_away = _nobody
        self._writer.stop(self._open.values())
        if not self._dropping:  # in turns, already
            self._dropping = list(reversed(self._open.values()))
            self._drop_some()

    def _drop_some(self) -> bool:
        turns = self.turns
        began = perf_counter()
        while self._dropping and not turns.used_up:
            try:
                self._dropping.pop().drop()
            except Exception:
                logger.exception("internal error while serving %s", self.peer)
            now = perf_counter()
            turns.worked(now - began)
            began = now
        if self._dropping:
            turns.call(self.peer, self._drop_some)
        else:
            none_left, self.none_left = self.none_left, _nobody
            none_left()
        return True


def _nobody() -> None:
    """Do nothing: the connection has ended."""


def _too_much_kept() -> StatusError:
    return StatusError(
        code_pb2.RESOURCE_EXHAUSTED,
        "too many bytes are kept of messages that are incomplete, or whose answers are not read;"
        " finish one message before the next, and read while you send",
    )


def _as_grpc_writes(peer: str) -> str:
    return f"ipv6:{peer}" if peer.startswith("[") else f"ipv4:{peer}"
