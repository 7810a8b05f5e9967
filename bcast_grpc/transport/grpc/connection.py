"""One connection: HTTP/2 on asyncio, and the calls on it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from time import monotonic, perf_counter
from typing import Any, ClassVar, Protocol, cast

from google.rpc import code_pb2

from bcast_grpc.http2 import Connection as Http2
from bcast_grpc.http2 import ErrorCode, Limits, encode, events
from bcast_grpc.transport.connections import port_of
from bcast_grpc.transport.door import Shared
from bcast_grpc.transport.ending import internal_error
from bcast_grpc.transport.grpc.call import Call
from bcast_grpc.transport.grpc.headers import NotGrpc, first_fields, last_fields
from bcast_grpc.transport.grpc.messages import StatusError
from bcast_grpc.transport.liveness import Liveness, acked

logger = logging.getLogger(__name__)

LARGEST_STREAM_ID = 2**31 - 1

HANDSHAKE_S = 10.0
"""How long a client may take to begin to speak HTTP/2, and to acknowledge the server's settings."""

LAST_WORDS_S = 1.0
"""How long a connection that the server closes stays open for the client to read what was written last."""

UNSENT_BYTES = 64 * 1024
"""Nothing more is read while so many bytes of fields and answers wait to be sent, so that they are bounded."""

PIECE_BYTES = 64 * 1024
"""So much is collected before it is handed to the system."""

RECHECK_S = 0.01
"""After so long all calls are looked at that wait for room, where the client has changed what they all have."""

_PING = b"keepaliv"
_DRAIN_PING = b"draining"
_SHUTTING_DOWN = b"the server is shutting down"
_FOREIGN = (
    b"this port speaks gRPC, which is HTTP/2 without TLS; use a gRPC client such as grpcurl -plaintext,"
    b" or the server's http-port for browsers\n"
)
_HTTP_1 = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%b" % (len(_FOREIGN), _FOREIGN)
)
_TLS_HANDSHAKE = 0x16


class Owner(Protocol):
    """What a door does for its connections."""

    def opened(self, connection: Connection) -> None:
        """Count a connection."""
        ...

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        ...

    def begin(self, connection: Connection, event: events.HeadersReceived) -> Call:
        """Make a call of a request.

        Raises:
            NotGrpc: it is not a call.
            StatusError: it cannot be served.
        """
        ...

    def keep(self, call: Call, size: int) -> Call | None:
        """Note how many bytes a call keeps of an unfinished message.

        Returns:
            The call that is to end, since that is too much.
        """
        ...


class Connection(asyncio.Protocol):
    """One client's connection.

    Args:
        shared: what all doors share.
        limits: what its peer may do.
        owner: the door, which makes its calls.
    """

    __slots__ = (
        "_announced",
        "_calls",
        "_carrying",
        "_closing",
        "_full",
        "_h2",
        "_handshake",
        "_liveness",
        "_loop",
        "_owner",
        "_paused",
        "_pumping",
        "_ready",
        "_recheck_timer",
        "_shared",
        "_transport",
        "_unsent",
        "_waits",
        "_woken",
        "draining",
        "peer",
    )

    def __init__(self, shared: Shared, limits: Limits, owner: Owner) -> None:
        self._shared = shared
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._h2 = Http2(limits, monotonic)
        self._calls: dict[int, Call] = {}
        self._ready: deque[Call] = deque()  # calls that have something to write
        self._announced = False
        self._carrying: AbstractContextManager[None] | None = None
        self._recheck_timer: asyncio.TimerHandle | None = None
        self._handshake: asyncio.TimerHandle | None = None
        self._liveness: Liveness | None = None
        self._closing = False  # nothing more is read
        self._paused = False  # the system has no room for more
        self._pumping = False
        self._woken = False
        self._waits = False  # for a turn to read
        self._full = False  # too much waits to be sent for more to be read
        self._unsent = 0
        self.draining = False
        self.peer = ""
        self._transport: asyncio.Transport

    @property
    def calls(self) -> int:
        """How many calls are on it."""
        return len(self._calls)

    # --- what the loop says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the client."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one, but not by its class
        self.peer = _address(transport)
        self._owner.opened(self)
        self._handshake = self._loop.call_later(HANDSHAKE_S, self._refuse_late)
        self._liveness = Liveness(self._transport, self._shared.keepalive_s, self._ping)
        self._h2.start()
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Read what came, or as much of it as there is time for."""
        if self._closing:
            return
        self._h2.receive(data)
        if self._waits or self._full:
            return
        if self._shared.scheduler.turns.scarce:
            self._wait_for_turn()
        else:
            self._read()

    def connection_lost(self, error: Exception | None) -> None:
        """Drop the calls."""
        self._closing = True
        self._owner.closed(self)
        if self._liveness:
            self._liveness.stop()
            self._liveness = None
        self._stop_handshake()
        if self._recheck_timer:
            self._recheck_timer.cancel()
        self._drop_calls()

    def pause_writing(self) -> None:
        """Write nothing more for now."""
        self._paused = True

    def resume_writing(self) -> None:
        """Write on, and read on where that waited for it."""
        self._paused = False
        self._flush()
        self._pump()
        if self._full and not self._paused:
            self._full = False
            if not self._waits:
                self._read()

    # --- reading

    def _wait_for_turn(self) -> None:
        self._waits = True
        self._transport.pause_reading()
        self._shared.scheduler.turns.call(self._take_turn)

    def _take_turn(self) -> bool:
        self._waits = False
        return self._read()

    def _read(self) -> bool:
        """Take what has come, as far as there is time and room; return whether that was anything."""
        turns = self._shared.scheduler.turns
        took = False
        began = perf_counter()
        while not (self._closing or self._is_full()):
            event = self._h2.next_event()
            if event is None:
                break
            took = True
            if type(event) is events.DataReceived:
                turns.worked(perf_counter() - began)  # what is done with it counts by itself
                self._on_data(event)
                began = perf_counter()
            else:
                self._HANDLERS[type(event)](self, event)
                now = perf_counter()
                turns.worked(now - began)
                began = now
            if turns.used_up:
                self._wait_for_turn()
                break
        self._flush()
        self._pump()
        if not self._transport.is_closing():
            if self._waits or self._full:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()
        return took

    def _is_full(self) -> bool:
        self._full = self._paused and self._unsent + self._h2.owed > UNSENT_BYTES
        return self._full

    def _on_data(self, event: events.DataReceived) -> None:
        call = self._calls.get(event.stream_id)
        if call is None:
            self._h2.consumed(event.stream_id, event.size)
            return
        try:
            call.received(event.payloads, event.size)
            if event.ended and not call.over:
                call.finish()
        except Exception as raised:  # noqa: BLE001  # the call ends with it
            call.fault(raised)

    def _on_headers(self, event: events.HeadersReceived) -> None:
        self._begin_carrying()
        try:
            self._begin(event)
        except NotGrpc as refused:
            fields = ((":status", str(refused.status)), ("content-type", "text/plain"), *refused.fields)
            self._refuse(event, encode(fields), refused.text.encode())
        except StatusError as error:
            self._refuse(event, first_fields() + last_fields(error.code, error.message))
        except Exception:
            logger.exception("internal error while serving %s", self.peer)
            self._refuse(event, first_fields() + last_fields(code_pb2.INTERNAL, internal_error().reason))
        self._end_carrying()

    def _begin(self, event: events.HeadersReceived) -> None:
        call = self._owner.begin(self, event)
        if not call.over:
            self._calls[event.stream_id] = call
            if event.ended:
                call.finish()

    def _refuse(self, event: events.HeadersReceived, block: bytes, text: bytes = b"") -> None:
        """Answer a request that is no call."""
        self._send_headers(event.stream_id, block, ended=not text)
        if text:
            self._h2.send_data(event.stream_id, text)
        if text or not event.ended:
            self._h2.reset(event.stream_id, ErrorCode.NO_ERROR)

    def _on_trailers(self, event: events.TrailersReceived) -> None:
        if call := self._calls.get(event.stream_id):
            try:
                call.finish()
            except Exception as raised:  # noqa: BLE001  # the call ends with it
                call.fault(raised)

    def _on_reset(self, event: events.StreamReset) -> None:
        if call := self._calls.get(event.stream_id):
            logger.debug("%s cancelled a call", self.peer)
            call.drop()

    def _on_window(self, event: events.WindowOpened) -> None:
        if not event.stream_id:
            if not self._recheck_timer:
                self._recheck_timer = self._loop.call_later(RECHECK_S, self._recheck)
        elif call := self._calls.get(event.stream_id):
            self._enqueue(call)

    def _recheck(self) -> None:
        self._recheck_timer = None
        for call in self._calls.values():
            if call.blocked:
                self._enqueue(call)
        self._pump()

    def _on_ping_answer(self, event: events.PingAcknowledged) -> None:
        if event.data == _DRAIN_PING:
            self.go_away()

    def _on_settings_answer(self, _: events.SettingsAcknowledged) -> None:
        self._stop_handshake()

    def _on_failure(self, event: events.ConnectionFailed) -> None:
        logger.debug("%s broke the rules of HTTP/2: %s", self.peer, event.reason)
        self._drop_calls()
        self._hang_up()

    def _on_foreign(self, event: events.NotHttp2) -> None:
        logger.debug("%s does not speak HTTP/2", self.peer)
        if event.first_bytes[:1] != bytes([_TLS_HANDSHAKE]):
            self._h2.data_to_send()
            self._transport.write(_HTTP_1)
        self._hang_up()

    def _ignore(self, _: events.Event) -> None:
        """Do nothing: it was dealt with below."""

    # --- what calls say

    def send_headers(self, call: Call, block: bytes, *, ended: bool) -> None:
        """Send fields; and where the call ends before its client is done, tell it to stop."""
        self._send_headers(call.stream_id, block, ended=ended)
        if ended and not call.finished:
            self._h2.reset(call.stream_id, ErrorCode.NO_ERROR)
        self._wake_soon()

    def send_data(self, call: Call, data: bytes | memoryview) -> int:
        """Send as much as the windows allow. A call that is blocked waits for room of its own."""
        sent = self._h2.send_data(call.stream_id, data)
        call.sent += sent
        call.blocked = sent < len(data) and self._h2.window > 0
        self._unsent += sent
        if self._unsent >= PIECE_BYTES:
            self._flush()
        return sent

    def wake(self, call: Call) -> None:
        """Have it write, soon."""
        self._enqueue(call)
        self._wake_soon()

    def _enqueue(self, call: Call) -> None:
        if not call.queued:
            call.queued = True
            self._ready.append(call)

    def consumed(self, call: Call, size: int) -> None:
        """Let as many bytes come again."""
        self._h2.consumed(call.stream_id, size)
        self._wake_soon()

    def keep(self, call: Call, size: int) -> None:
        """Note how many bytes it keeps of an unfinished message."""
        if too_much := self._owner.keep(call, size):
            too_much.fail(_too_much_kept())

    def acked(self, call: Call) -> int:
        """Return how many bytes the client's system has acknowledged, and the client has made room for."""
        return -call.sent if call.blocked else acked(self._transport)

    def ended(self, call: Call) -> None:
        """Forget a call."""
        self._calls.pop(call.stream_id, None)
        self._owner.keep(call, 0)
        self._end_carrying()
        if self.draining and not self._calls:
            self._loop.call_soon(self._hang_up_if_idle)

    # --- writing

    def _wake_soon(self) -> None:
        if not (self._woken or self._pumping):
            self._woken = True
            self._loop.call_soon(self._write)

    def _write(self) -> None:
        self._woken = False
        self._pump()

    def _pump(self) -> None:
        """Let the calls write in turn, as long as there is room."""
        ready = self._ready
        self._pumping = True
        while ready and not self._paused and self._h2.window > 0:
            call = ready.popleft()
            call.queued = False
            try:
                if call.write():
                    self._enqueue(call)
            except Exception as raised:  # noqa: BLE001  # the call ends with it
                call.fault(raised)
        self._pumping = False
        self._flush()

    def _flush(self) -> None:
        if self._paused:
            return
        self._unsent = 0
        pieces = self._h2.data_to_send()
        if pieces and not self._transport.is_closing():
            self._transport.writelines(pieces)

    def _send_headers(self, stream_id: int, block: bytes, *, ended: bool) -> None:
        try:
            self._h2.send_headers(stream_id, block, ended=ended)
        except LookupError:
            return  # the client has reset it
        self._unsent += len(block)

    # --- its life

    async def _ping(self) -> None:
        self._h2.ping(_PING)
        self._flush()

    def announce_drain(self) -> None:
        """Tell the client to go elsewhere. Calls that are on their way are served, until it has heard that."""
        if not (self._announced or self._closing):
            self._announced = True
            self._h2.go_away(ErrorCode.NO_ERROR, last_stream_id=LARGEST_STREAM_ID, debug=_SHUTTING_DOWN)
            self._h2.ping(_DRAIN_PING)
            self._flush()

    def go_away(self) -> None:
        """Take no more calls, and hang up once there are none."""
        if not (self.draining or self._closing):
            self.draining = True
            self._h2.go_away(ErrorCode.NO_ERROR, debug=_SHUTTING_DOWN)
            self._flush()
            self._hang_up_if_idle()

    def _hang_up_if_idle(self) -> None:
        if not self._calls:
            self._hang_up()

    def abort(self) -> None:
        """End it at once."""
        self._closing = True
        self._transport.abort()

    def _hang_up(self) -> None:
        """Close this end, and give the client a moment to read what was written and to close its own.

        A socket that is closed with something unread in it is reset, and what was last written to it may be lost.
        """
        if self._closing:
            return
        self._closing = True
        self._stop_handshake()
        self._paused = False
        self._flush()
        if self._transport.is_closing():
            return
        self._transport.write_eof()
        self._loop.call_later(LAST_WORDS_S, self._transport.abort)

    def _refuse_late(self) -> None:
        self._handshake = None
        logger.debug("%s did not finish the handshake in time", self.peer)
        self._h2.go_away(ErrorCode.SETTINGS_TIMEOUT)
        self._drop_calls()
        self._hang_up()

    def _stop_handshake(self) -> None:
        if self._handshake:
            self._handshake.cancel()
            self._handshake = None

    def _drop_calls(self) -> None:
        self._ready.clear()
        for call in list(self._calls.values()):
            call.drop()

    def _begin_carrying(self) -> None:
        if self._carrying is None:
            self._carrying = self._shared.connections.carrying(port_of(self.peer))
            self._carrying.__enter__()

    def _end_carrying(self) -> None:
        if self._carrying and not self._calls:
            self._carrying.__exit__(None, None, None)
            self._carrying = None

    _HANDLERS: ClassVar[Mapping[type, Callable[[Connection, Any], None]]] = {
        events.HeadersReceived: _on_headers,
        events.TrailersReceived: _on_trailers,
        events.StreamReset: _on_reset,
        events.WindowOpened: _on_window,
        events.PingReceived: _ignore,
        events.PingAcknowledged: _on_ping_answer,
        events.SettingsAcknowledged: _on_settings_answer,
        events.GoAwayReceived: _ignore,
        events.FrameIgnored: _ignore,
        events.ConnectionFailed: _on_failure,
        events.NotHttp2: _on_foreign,
    }
    """What each event does; data are dealt with apart."""


def _address(transport: asyncio.BaseTransport) -> str:
    """Return the other end's address as gRPC writes it."""
    host, port, *_ = transport.get_extra_info("peername") or ("", "")
    return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"


def _too_much_kept() -> StatusError:
    return StatusError(
        code_pb2.RESOURCE_EXHAUSTED,
        "too many bytes of unfinished messages are kept; finish one message before the next, and send it faster",
    )
