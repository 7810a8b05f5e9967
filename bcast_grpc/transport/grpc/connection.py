"""One connection: HTTP/2 on asyncio, and the calls on it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, ClassVar, Protocol, cast

from bcast_grpc.http2 import PREFACE, ErrorCode, Limits, events
from bcast_grpc.http2 import Connection as Http2
from bcast_grpc.transport import tcp_info
from bcast_grpc.transport.door import Shared
from bcast_grpc.transport.grpc.calls import Calls
from bcast_grpc.transport.grpc.calls import Owner as OwnerOfCalls
from bcast_grpc.transport.grpc.foreign import answer_to
from bcast_grpc.transport.grpc.heartbeat import Heartbeat
from bcast_grpc.transport.grpc.reader import Reader
from bcast_grpc.transport.grpc.writer import Writer
from bcast_grpc.transport.lingering import LINGER_S
from bcast_grpc.transport.liveness import Liveness
from bcast_grpc.transport.tcp_info import acked
from bcast_grpc.transport.tls.plaintext import TLS_HANDSHAKE

logger = logging.getLogger(__name__)

LAST_WORDS_S = 1.0
"""How long a connection that the server closes stays open for the client to read what was written last."""

_PING = b"keepaliv"
_DRAIN_PING = b"draining"
_LARGEST_STREAM_ID = 2**31 - 1
_SHUTTING_DOWN = b"the server is shutting down"


class Owner(OwnerOfCalls, Protocol):
    """A door, as its connections see it."""

    def opened(self, connection: Connection) -> None:
        """Count a connection."""
        ...

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        ...


class Connection(asyncio.Protocol):
    """One client's connection.

    Args:
        shared: what all doors share.
        limits: the bounds of HTTP/2 that the client must keep.
        owner: the door, which makes its calls.
        peer: the client's address.
    """

    __slots__ = (
        "_announced",
        "_block_timer",
        "_calls",
        "_closing",
        "_draining",
        "_greeted",
        "_h2",
        "_handshake",
        "_heartbeat",
        "_liveness",
        "_loop",
        "_owner",
        "_peer",
        "_reader",
        "_shared",
        "_transport",
        "_writer",
    )

    def __init__(self, shared: Shared, limits: Limits, owner: Owner, peer: str) -> None:
        self._shared = shared
        self._owner = owner
        self._peer = peer
        self._loop = asyncio.get_running_loop()
        self._h2 = Http2(limits, monotonic)
        self._announced = False
        self._handshake: asyncio.TimerHandle | None = None
        self._block_timer: asyncio.TimerHandle | None = None  # while a header block is incomplete
        self._heartbeat: Heartbeat | None = None
        self._liveness: Liveness | None = None
        self._closing = False  # nothing more is read
        self._greeted = False
        self._draining = False
        self._transport: asyncio.Transport
        self._writer: Writer
        self._calls: Calls
        self._reader: Reader

    # --- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the client to begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's class is no subclass of it
        h2, shared, transport = self._h2, self._shared, self._transport
        writer = self._writer = Writer(h2, transport)
        turns = shared.scheduler.turns
        calls = Calls(h2, transport, writer, self._peer, self._owner, shared.connections, turns, self._none_left)
        self._calls = calls
        self._reader = Reader(h2, transport, writer, turns, calls.data, self._on_event)
        self._owner.opened(self)
        self._handshake = self._loop.call_later(shared.handshake_s, self._refuse_late)
        self._liveness = shared.keepalive.watch(transport, self._ping)
        if not tcp_info.KNOWN:
            self._heartbeat = Heartbeat(shared.keepalive.interval_s, self._ping, self.abort)

    def data_received(self, data: bytes) -> None:
        """Read the data, or as much of it as there is time for."""
        if not (self._greeted or self._closing):
            self._greet(data)
        if self._heartbeat:
            self._heartbeat.heard()
        self._reader.receive(data)
        if (self._h2.in_header_block or self._block_timer) and not self._closing:
            self._limit_header_block()

    def _greet(self, data: bytes) -> None:
        """Begin HTTP/2 if the client does. A client of another protocol gets an answer that it can show."""
        self._greeted = True
        if PREFACE.startswith(data[: len(PREFACE)]):
            self._h2.start()

    def _limit_header_block(self) -> None:
        if not self._block_timer:
            self._block_timer = self._loop.call_later(self._shared.handshake_s, self._refuse_slow)
        elif not self._h2.in_header_block:
            self._block_timer.cancel()
            self._block_timer = None

    def connection_lost(self, error: Exception | None) -> None:
        """Drop the calls."""
        self._closing = True
        self._reader.stop()
        if self._liveness:
            self._liveness.stop()
            self._liveness = None
        if self._heartbeat:
            self._heartbeat.stop()
        self._stop_timers()
        self._shared.connections.gone(self._peer)
        self._calls.drop_all(partial(self._owner.closed, self))

    def pause_writing(self) -> None:
        """Write nothing more for now."""
        self._writer.paused = True

    def resume_writing(self) -> None:
        """Write on, and read on if reading had to wait for that."""
        self._writer.paused = False
        self._writer.flush()
        self._writer.pump()
        self._reader.resume()

    # --- events of HTTP/2

    def _on_event(self, event: events.Event) -> None:
        self._HANDLERS[type(event)](self, event)

    def _on_ping_answer(self, event: events.PingAcknowledged) -> None:
        if event.data == _DRAIN_PING:
            self.go_away()
        elif self._liveness:
            self._liveness.answered()

    def _on_settings_answer(self, _: events.SettingsAcknowledged) -> None:
        self._stop_timers()

    def _on_failure(self, event: events.ConnectionFailed) -> None:
        logger.debug("%s broke the rules of HTTP/2: %s", self._peer, event.reason)
        self._calls.drop_all()
        self._hang_up()

    def _on_foreign(self, event: events.NotHttp2) -> None:
        if event.first_bytes.startswith(TLS_HANDSHAKE):
            logger.info("%s speaks TLS to a port without it", self._peer)
        else:
            logger.debug("%s does not speak HTTP/2", self._peer)
        if answer := answer_to(event.first_bytes):
            self._transport.write(answer)
        self._hang_up()

    def _ignore(self, _: events.Event) -> None:
        """Do nothing: the layer below has handled the event."""

    # --- its life

    def _ping(self) -> None:
        if self._greeted and not self._closing:
            self._h2.ping(_PING)
            self._writer.flush()

    def announce_drain(self) -> None:
        """Tell the client to make its next calls elsewhere. Calls are still served until it has received that."""
        if self._greeted and not (self._announced or self._closing):
            self._announced = True
            self._h2.go_away(ErrorCode.NO_ERROR, last_stream_id=_LARGEST_STREAM_ID, debug=_SHUTTING_DOWN)
            self._h2.ping(_DRAIN_PING)
            self._writer.flush()

    def go_away(self) -> None:
        """Refuse new calls, and disconnect once there are none."""
        if not self._greeted:
            self.abort()
        elif not (self._draining or self._closing):
            self._draining = True
            self._h2.go_away(ErrorCode.NO_ERROR, debug=_SHUTTING_DOWN)
            self._writer.flush()
            self._hang_up_if_idle()

    def _none_left(self) -> None:
        if self._draining:
            self._loop.call_soon(self._hang_up_if_idle)
        elif self._writer.paused and not self._closing:
            self._loop.call_later(LINGER_S, self._abort_if_stuck, acked(self._transport))

    def _abort_if_stuck(self, acked_before: int) -> None:
        """Disconnect a client without calls that has read nothing for a while."""
        if self._writer.paused and not self._calls and acked(self._transport) == acked_before:
            self.abort()

    def _hang_up_if_idle(self) -> None:
        if not self._calls:
            self._hang_up()

    def abort(self) -> None:
        """Disconnect at once."""
        self._closing = True
        self._reader.stop()
        self._transport.abort()

    def _hang_up(self) -> None:
        """Half-close, and give the client a moment to read what was written and to close its end.

        Closing a socket with unread data in it resets the connection, and what was last written may be lost.
        """
        if self._closing:
            return
        self._closing = True
        self._reader.stop()
        self._stop_timers()
        self._writer.end()
        if self._transport.is_closing():
            return
        with suppress(OSError):  # the client is gone; asyncio's own loop raises at once
            self._transport.write_eof()
        self._loop.call_later(LAST_WORDS_S, self._transport.abort)

    def _refuse_late(self) -> None:
        self._handshake = None
        logger.debug("%s did not finish the handshake in time", self._peer)
        if not self._greeted:
            self.abort()
            return
        self._refuse(ErrorCode.SETTINGS_TIMEOUT)

    def _refuse_slow(self) -> None:
        self._block_timer = None
        logger.debug("%s did not finish the fields of a request in time", self._peer)
        self._refuse(ErrorCode.ENHANCE_YOUR_CALM)

    def _refuse(self, code: ErrorCode) -> None:
        self._h2.go_away(code)
        self._calls.drop_all()
        self._hang_up()

    def _stop_timers(self) -> None:
        for timer in (self._handshake, self._block_timer):
            if timer:
                timer.cancel()
        self._handshake = self._block_timer = None

    _HANDLERS: ClassVar[Mapping[type, Callable[[Connection, Any], None]]] = {
        events.HeadersReceived: lambda self, event: self._calls.headers(event),
        events.TrailersReceived: lambda self, event: self._calls.trailers(event),
        events.StreamReset: lambda self, event: self._calls.reset(event),
        events.WindowOpened: lambda self, event: self._calls.window(event),
        events.PingReceived: _ignore,
        events.PingAcknowledged: _on_ping_answer,
        events.SettingsAcknowledged: _on_settings_answer,
        events.GoAwayReceived: _ignore,
        events.FrameIgnored: _ignore,
        events.ConnectionFailed: _on_failure,
        events.NotHttp2: _on_foreign,
    }
    """What handles each event, except ``DataReceived``, which the reader passes to ``Calls.data``."""
