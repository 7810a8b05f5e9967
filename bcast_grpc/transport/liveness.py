"""Detects dead peers.

Received bytes are a sign of life, and so are TCP acknowledgements: a slow peer answers a ping only when it has read
what was sent before. A peer that has stopped reading counts as alive as long as its system answers; it is disconnected
when its queue is full.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import defaultdict
from collections.abc import Callable
from math import ceil, floor, inf

from bcast_grpc.transport.socket_options import (
    INHERITED,
    SLOWEST_BYTES_S,
    UNSENT_BYTES,
    limit_unsent,
    watch_silence,
)
from bcast_grpc.transport.tcp_info import Heard, ask_system, set_user_timeout

logger = logging.getLogger(__name__)

_SILENCE = 1.5  # times the keepalive, where something is unacknowledged; at least one probe is sent in a keepalive
_ANSWER = 0.7  # the same: the least time to answer
_PASSED_ON = 1.7  # the same, after the last acknowledgement
_TICKS = 64  # in a keepalive
_LEAST_TICK_S = 0.002
_LOOKS_AT_ONCE = 32


class Keepalive:
    """Watches connections, and aborts a connection within twice ``interval_s`` after its peer has died.

    All connections share one timer. An idle connection is checked once or twice in an interval, and not later where
    the loop is busy: a peer's system is given so much time by the clock.

    Args:
        interval_s: how long a connection may be silent before it is pinged.
    """

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self._tick_s = max(_LEAST_TICK_S, interval_s / _TICKS)
        self._next = 0  # the tick to come, of the loop's clock; it is old while nothing is watched
        self._due: defaultdict[int, set[Liveness]] = defaultdict(set)
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None

    def prepare(self, listener: socket.socket) -> None:
        """Set the options that the connections of a listening socket need; on some systems they inherit them."""
        watch_silence(listener, self.interval_s)
        limit_unsent(listener)

    def watch(self, transport: asyncio.WriteTransport, ping: Callable[[], None] | None = None) -> Liveness:
        """Watch a connection of a prepared listening socket, until ``Liveness.stop()``.

        Args:
            transport: the connection's transport.
            ping: sends a ping, if the protocol has one; otherwise the system sends probes.
        """
        if not transport.is_closing():  # the connection may be lost already, and uvloop would raise
            if not INHERITED:
                self.prepare(transport.get_extra_info("socket"))
            transport.set_write_buffer_limits(high=UNSENT_BYTES)
        liveness = Liveness(self, transport, ping, asyncio.get_running_loop().time())
        self.look_later(liveness, self.interval_s)
        return liveness

    def look_later(self, liveness: Liveness, delay_s: float) -> None:
        """Check a connection after ``delay_s``, or a tick or two later."""
        loop = asyncio.get_running_loop()
        due = liveness.due = ceil((loop.time() + delay_s) / self._tick_s)
        self._due[due].add(liveness)
        if not self._timer:
            self._next = self._current()
            self._timer = loop.call_later(self._tick_s, self._look)

    def forget(self, liveness: Liveness) -> None:
        """Stop checking a connection."""
        if due := self._due.get(liveness.due):
            due.discard(liveness)

    def _current(self) -> int:
        return floor(asyncio.get_running_loop().time() / self._tick_s)

    def _look(self) -> None:
        """Check the connections that are due, a few in each pass of the loop."""
        loop = asyncio.get_running_loop()
        current, looks = self._current(), _LOOKS_AT_ONCE
        try:
            while self._next <= current and looks:
                if due := self._due.get(self._next):
                    looks -= 1
                    due.pop().look(loop.time())
                else:
                    self._due.pop(self._next, None)
                    self._next += 1
        finally:
            if self._next <= current:
                self._timer = loop.call_soon(self._look)
            else:
                self._timer = loop.call_later(self._tick_s, self._look) if self._due else None


class Liveness:
    """A connection that is watched.

    Attributes:
        due: the tick at which it is checked; set by its ``Keepalive``.
    """

    __slots__ = (
        "_acked",
        "_began",
        "_busy",
        "_keepalive",
        "_looked",
        "_passed_on_s",
        "_ping",
        "_pinged",
        "_received",
        "_since",
        "_transport",
        "due",
    )

    def __init__(
        self, keepalive: Keepalive, transport: asyncio.WriteTransport, ping: Callable[[], None] | None, now: float
    ) -> None:
        self._keepalive = keepalive
        self._transport = transport
        self._ping = ping
        self._pinged: float | None = None
        self._received = 0  # bytes received before the ping
        self._passed_on_s = 0.0  # how long a proxy may need for what it had acknowledged before the ping
        self._began: float | None = None  # since when something has been unacknowledged
        self._busy = -inf  # when something was last unacknowledged
        self._since = 0.0  # when the peer last acknowledged something, or had nothing to answer, since _began
        self._acked = 0
        self._looked = now
        self.due = 0

    def stop(self) -> None:
        """Stop watching."""
        self._keepalive.forget(self)
        self._ping = None  # it refers to the connection, which refers to this

    def answered(self) -> None:
        """Note that the peer has answered a ping: it is not checked again before the next ping is due."""
        if self._pinged is not None and self._ping is not None:
            self._pinged = None
            self._keepalive.forget(self)
            self._keepalive.look_later(self, self._keepalive.interval_s)

    def look(self, now: float) -> None:
        """Check whether the peer is alive, and schedule the next check."""
        heard = ask_system(self._transport)
        if heard is None:
            return
        if heard.unread or self._transport.get_write_buffer_size():
            again_s = self._look_at_reader(heard, now)
        else:
            again_s = self._look_at_idler(heard, now)
        self._looked = now
        if again_s > 0:
            self._keepalive.look_later(self, again_s)
        else:
            logger.debug("%s is disconnected: it does not answer", self._transport.get_extra_info("peername"))
            self._transport.abort()

    def _look_at_reader(self, heard: Heard, now: float) -> float:
        """Check a peer that has not acknowledged everything; return the delay of the next check, 0 if it is dead.

        If its window is closed, or smaller than a segment, the system probes it more and more rarely, but once before
        the user timeout ends. That timeout counts from the first probe on, even if bytes are acknowledged since, so it
        is extended as long as there are answers.
        """
        keepalive_s = self._keepalive.interval_s
        if self._began is None:
            self._began = self._looked
            self._since = now if self._pinged is None else self._pinged
        self._pinged = None
        self._busy = now
        if heard.acked != self._acked or not heard.asked:
            self._since, self._acked = now, heard.acked
        set_user_timeout(self._transport, now - self._began + keepalive_s)
        silent = min(heard.ack_s, heard.data_s) >= _SILENCE * keepalive_s
        return 0 if silent and now - self._since >= _ANSWER * keepalive_s else keepalive_s / 8

    def _look_at_idler(self, heard: Heard, now: float) -> float:
        """Check a peer that has acknowledged everything; return the delay of the next check, 0 if it is dead.

        A proxy may acknowledge bytes that it has yet to pass on, and the ping waits behind them.
        """
        keepalive_s = self._keepalive.interval_s
        if self._began is not None:
            self._began = None
            set_user_timeout(self._transport, 2 * keepalive_s)
        if self._ping is None:
            return keepalive_s
        if heard.received != self._received:
            self._pinged = None
        if heard.data_s < keepalive_s:
            self._acked = heard.acked
            return keepalive_s - heard.data_s
        if self._pinged is None:
            self._pinged = now
            self._passed_on_s = min(keepalive_s, (heard.acked - self._acked) / SLOWEST_BYTES_S)
            self._acked, self._received = heard.acked, heard.received
            self._ping()
        until = max(self._pinged + _ANSWER * keepalive_s + self._passed_on_s, self._busy + _PASSED_ON * keepalive_s)
        return min(until - now, _ANSWER * keepalive_s)
