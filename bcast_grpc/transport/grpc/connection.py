"""One connection: HTTP/2 on asyncio, and the calls on it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from time import monotonic, perf_counter
from typing import Any, ClassVar, Protocol, cast

from bcast_grpc.http2 import PREFACE, ErrorCode, Limits, events
from bcast_grpc.http2 import Connection as Http2
from bcast_grpc.transport.door import Shared
from bcast_grpc.transport.grpc.calls import Calls
from bcast_grpc.transport.grpc.calls import Owner as OwnerOfCalls
from bcast_grpc.transport.grpc.foreign import answer_to
from bcast_grpc.transport.grpc.writer import Writer
from bcast_grpc.transport.liveness import Liveness

logger = logging.getLogger(__name__)

LARGEST_STREAM_ID = 2**31 - 1

HANDSHAKE_S = 10.0
"""How long a client may take to begin to speak HTTP/2, and to acknowledge the server's settings."""

LAST_WORDS_S = 1.0
"""How long a connection that the server closes stays open for the client to read what was written last."""

_PING = b"keepaliv"
_DRAIN_PING = b"draining"
_SHUTTING_DOWN = b"the server is shutting down"


class Owner(OwnerOfCalls, Protocol):
    """What a door does for its connections."""

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
        limits: what its peer may do.
        owner: the door, which makes its calls.
    """

    __slots__ = (
        "_announced",
        "_calls",
        "_closing",
        "_draining",
        "_full",
        "_greeted",
        "_h2",
        "_handshake",
        "_liveness",
        "_loop",
        "_owner",
        "_shared",
        "_transport",
        "_waits",
        "_writer",
    )

    def __init__(self, shared: Shared, limits: Limits, owner: Owner) -> None:
        self._shared = shared
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._h2 = Http2(limits, monotonic)
        self._announced = False
        self._handshake: asyncio.TimerHandle | None = None
        self._liveness: Liveness | None = None
        self._closing = False  # nothing more is read
        self._waits = False  # for a turn to read
        self._greeted = False
        self._full = False  # too much waits to be sent for more to be read
        self._draining = False
        self._transport: asyncio.Transport
        self._writer: Writer
        self._calls: Calls

    # --- what the loop says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the client to begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one, but not by its class
        shared, writer = self._shared, Writer(self._h2, self._transport)
        self._writer = writer
        self._calls = Calls(
            self._h2, self._transport, writer, _address(transport), self._owner, shared.connections, self._none_left
        )
        self._owner.opened(self)
        self._handshake = self._loop.call_later(HANDSHAKE_S, self._refuse_late)
        self._liveness = Liveness(self._transport, self._shared.keepalive_s, self._ping)

    def data_received(self, data: bytes) -> None:
        """Read what came, or as much of it as there is time for."""
        if self._closing:
            return
        if not self._greeted:
            self._greet(data)
        self._h2.receive(data)
        if self._waits or self._full:
            return
        if self._shared.scheduler.turns.scarce:
            self._wait_for_turn()
        else:
            self._read()

    def _greet(self, data: bytes) -> None:
        """Begin to speak HTTP/2, where the client does: any other is answered in its own way."""
        self._greeted = True
        if PREFACE.startswith(data[: len(PREFACE)]):
            self._h2.start()

    def connection_lost(self, error: Exception | None) -> None:
        """Drop the calls."""
        self._closing = True
        self._owner.closed(self)
        if self._liveness:
            self._liveness.stop()
            self._liveness = None
        self._stop_handshake()
        self._calls.drop_all()

    def pause_writing(self) -> None:
        """Write nothing more for now."""
        self._writer.paused = True

    def resume_writing(self) -> None:
        """Write on, and read on where that waited for it."""
        self._writer.paused = False
        self._writer.flush()
        self._writer.pump()
        if self._full and not self._writer.full:
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
        while not self._closing:
            self._full = self._writer.full
            if self._full:
                break
            event = self._h2.next_event()
            if event is None:
                break
            took = True
            if type(event) is events.DataReceived:
                turns.worked(perf_counter() - began)  # what is done with it counts by itself
                self._calls.data(event)
                began = perf_counter()
            else:
                self._HANDLERS[type(event)](self, event)
                now = perf_counter()
                turns.worked(now - began)
                began = now
            if turns.used_up:
                self._wait_for_turn()
                break
        self._writer.flush()
        self._writer.pump()
        if not self._transport.is_closing():
            if self._waits or self._full:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()
        return took

    def _on_ping_answer(self, event: events.PingAcknowledged) -> None:
        if event.data == _DRAIN_PING:
            self.go_away()

    def _on_settings_answer(self, _: events.SettingsAcknowledged) -> None:
        self._stop_handshake()

    def _on_failure(self, event: events.ConnectionFailed) -> None:
        logger.debug("%s broke the rules of HTTP/2: %s", self._calls.peer, event.reason)
        self._calls.drop_all()
        self._hang_up()

    def _on_foreign(self, event: events.NotHttp2) -> None:
        logger.debug("%s does not speak HTTP/2", self._calls.peer)
        if answer := answer_to(event.first_bytes):
            self._transport.write(answer)
        self._hang_up()

    def _ignore(self, _: events.Event) -> None:
        """Do nothing: it was dealt with below."""

    # --- its life

    async def _ping(self) -> None:
        self._h2.ping(_PING)
        self._writer.flush()

    def announce_drain(self) -> None:
        """Tell the client to go elsewhere. Calls that are on their way are served, until it has heard that."""
        if not (self._announced or self._closing):
            self._announced = True
            self._h2.go_away(ErrorCode.NO_ERROR, last_stream_id=LARGEST_STREAM_ID, debug=_SHUTTING_DOWN)
            self._h2.ping(_DRAIN_PING)
            self._writer.flush()

    def go_away(self) -> None:
        """Take no more calls, and hang up once there are none."""
        if not (self._draining or self._closing):
            self._draining = True
            self._h2.go_away(ErrorCode.NO_ERROR, debug=_SHUTTING_DOWN)
            self._writer.flush()
            self._hang_up_if_idle()

    def _none_left(self) -> None:
        if self._draining:
            self._loop.call_soon(self._hang_up_if_idle)

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
        self._writer.paused = False
        self._writer.flush()
        if self._transport.is_closing():
            return
        self._transport.write_eof()
        self._loop.call_later(LAST_WORDS_S, self._transport.abort)

    def _refuse_late(self) -> None:
        self._handshake = None
        logger.debug("%s did not finish the handshake in time", self._calls.peer)
        self._h2.go_away(ErrorCode.SETTINGS_TIMEOUT)
        self._calls.drop_all()
        self._hang_up()

    def _stop_handshake(self) -> None:
        if self._handshake:
            self._handshake.cancel()
            self._handshake = None

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
    """What each event does; data are dealt with apart."""


def _address(transport: asyncio.BaseTransport) -> str:
    """Return the other end's address as gRPC writes it."""
    host, port, *_ = transport.get_extra_info("peername") or ("", "")
    return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"
