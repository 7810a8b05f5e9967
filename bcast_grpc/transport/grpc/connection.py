"""One connection: HTTP/2 on asyncio, and the calls on it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic
from typing import Any, ClassVar, Protocol, cast

from bcast_grpc.http2 import PREFACE, Limits, events
from bcast_grpc.http2 import Connection as Http2
from bcast_grpc.transport import tcp_info
from bcast_grpc.transport.door import Shared
from bcast_grpc.transport.grpc.calls import Calls
from bcast_grpc.transport.grpc.calls import Owner as OwnerOfCalls
from bcast_grpc.transport.grpc.deadlines import Deadlines
from bcast_grpc.transport.grpc.foreign import answer_to
from bcast_grpc.transport.grpc.hang_up import DRAIN_PING, HangUp
from bcast_grpc.transport.grpc.heartbeat import Heartbeat
from bcast_grpc.transport.grpc.reader import Reader
from bcast_grpc.transport.grpc.writer import Writer
from bcast_grpc.transport.liveness import Liveness
from bcast_grpc.transport.tls.plaintext import TLS_HANDSHAKE

logger = logging.getLogger(__name__)

_PING = b"keepaliv"


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
        "_calls",
        "_deadlines",
        "_h2",
        "_hang_up",
        "_heartbeat",
        "_liveness",
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
        self._h2 = Http2(limits, monotonic)
        self._heartbeat: Heartbeat | None = None
        self._liveness: Liveness | None = None
        self._transport: asyncio.Transport
        self._writer: Writer
        self._calls: Calls
        self._reader: Reader
        self._hang_up: HangUp
        self._deadlines: Deadlines

    # --- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the client to begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's class is no subclass of it
        h2, shared, transport = self._h2, self._shared, self._transport
        turns = shared.scheduler.turns
        writer = self._writer = Writer(h2, transport, shared.scheduler.writes, self._peer)
        calls = self._calls = Calls(h2, transport, writer, self._peer, self._owner, shared.connections, turns)
        reader = self._reader = Reader(h2, transport, writer, turns, calls.peer, calls.data, self._on_event)
        self._hang_up = HangUp(h2, transport, writer, reader, calls)
        calls.none_left, calls.send_away = self._hang_up.none_left, self._hang_up.announce
        self._deadlines = Deadlines(self._hang_up, shared.handshake_s, self._peer)
        self._owner.opened(self)
        self._liveness = shared.keepalive.watch(transport, self._ping)
        if not tcp_info.KNOWN:
            self._heartbeat = Heartbeat(shared.keepalive.interval_s, self._ping, self.abort)

    def data_received(self, data: bytes) -> None:
        """Read the data, or as much of it as there is time for."""
        if not (self._hang_up.greeted or self._hang_up.closing):
            self._greet(data)
        if self._heartbeat:
            self._heartbeat.heard()
        self._reader.receive(data)
        if (self._h2.in_header_block or self._deadlines.block) and not self._hang_up.closing:
            self._deadlines.look(in_block=self._h2.in_header_block)

    def _greet(self, data: bytes) -> None:
        """Begin HTTP/2 if the client does. A client of another protocol gets an answer that it can show."""
        self._hang_up.greeted = True
        if PREFACE.startswith(data[: len(PREFACE)]):
            self._h2.start()

    def connection_lost(self, error: Exception | None) -> None:
        """Drop the calls."""
        self._hang_up.closing = True
        self._reader.stop()
        if self._liveness:
            self._liveness.stop()
            self._liveness = None
        if self._heartbeat:
            self._heartbeat.stop()
        self._deadlines.stop()
        self._shared.connections.gone(self._peer)
        self._calls.drop_all(partial(self._owner.closed, self))

    def pause_writing(self) -> None:
        """Write nothing more for now."""
        self._writer.pause()

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
        if event.data == DRAIN_PING:
            self.go_away()
        elif self._liveness:
            self._liveness.answered()

    def _on_settings_answer(self, _: events.SettingsAcknowledged) -> None:
        self._deadlines.stop()

    def _on_failure(self, event: events.ConnectionFailed) -> None:
        logger.debug("%s broke the rules of HTTP/2: %s", self._peer, event.reason)
        self._calls.drop_all()
        self._hang_up.finish()

    def _on_foreign(self, event: events.NotHttp2) -> None:
        if event.first_bytes.startswith(TLS_HANDSHAKE):
            logger.info("%s speaks TLS to a port without it", self._peer)
        else:
            logger.debug("%s does not speak HTTP/2", self._peer)
        if answer := answer_to(event.first_bytes):
            self._transport.write(answer)
        self._hang_up.finish()

    def _ignore(self, _: events.Event) -> None:
        """Do nothing: the layer below has handled the event."""

    # --- its life

    def _ping(self) -> None:
        if self._hang_up.greeted and not self._hang_up.closing:
            self._h2.ping(_PING)
            self._writer.flush()

    def announce_drain(self) -> None:
        """Tell the client to make its next calls elsewhere."""
        self._hang_up.announce()

    def go_away(self) -> None:
        """Refuse new calls, and disconnect once there are none."""
        self._hang_up.go_away()

    def abort(self) -> None:
        """Disconnect at once."""
        self._hang_up.abort()

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
