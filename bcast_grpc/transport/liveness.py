"""Whether the other end of a socket is still there.

Received bytes are a sign of life, and so are TCP acknowledgements: a slow peer answers a ping only when it has read
what was sent before. A peer that has stopped reading is alive as long as its system answers; its queue has a limit.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from fcntl import ioctl
from math import inf
from typing import Any, NamedTuple

logger = logging.getLogger(__name__)

_SILENCE = 1.5  # times the keepalive, where something is unacknowledged; at least one probe is sent in a keepalive
_ANSWER = 0.7  # the same: the least time to answer
_PASSED_ON = 1.7  # the same, after the last acknowledgement
_PROBES = 3
_TCP_INFO = getattr(socket, "TCP_INFO", None) if sys.platform == "linux" else None
_TCP_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)
_TCP_RTO_MAX_MS = 44  # of Linux since 6.15; Python does not name it
_UNSENT_BYTES = 32 * 1024
_MOST_UNSENT_BYTES = 128 * 1024
_SLOWEST_BYTES_S = 8000  # the slowest line on which a live peer must not be taken for dead
_SIOCOUTQ = 0x5411
_INFO = struct.Struct("=8B24I4Q")  # struct tcp_info of linux/tcp.h, which only ever grew
_PROBES_OUT, _UNACKED, _LAST_DATA_RECEIVED, _LAST_ACK_RECEIVED, _BYTES_ACKED = 3, 8 + 4, 8 + 11, 8 + 12, 8 + 24 + 2

KNOWN = _TCP_INFO is not None
"""Whether the system reports what it has heard from a peer. Elsewhere a door has to ping the peer itself."""


class Heard(NamedTuple):
    """What the system has heard from the other end of a socket.

    Attributes:
        data_s: seconds since it sent something.
        ack_s: seconds since its system acknowledged something, or answered a probe.
        acked: how many bytes it has acknowledged.
        unread: how many bytes handed to the system it has not acknowledged.
        asked: whether it has to answer something: bytes, or a probe of a closed window.
    """

    data_s: float
    ack_s: float
    acked: int
    unread: int
    asked: bool


def ask_system(connection: socket.socket) -> Heard | None:
    """Ask what the system has heard from a peer; None if the system does not report it, or the socket is closed."""
    if _TCP_INFO is None:
        return None
    try:
        info = _INFO.unpack(connection.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _INFO.size))
        (unread,) = struct.unpack("i", ioctl(connection.fileno(), _SIOCOUTQ, bytes(4)))
    except (OSError, ValueError, struct.error):
        return None
    asked = bool(info[_PROBES_OUT] or info[_UNACKED])
    return Heard(info[_LAST_DATA_RECEIVED] / 1000, info[_LAST_ACK_RECEIVED] / 1000, info[_BYTES_ACKED], unread, asked)


def acked(transport: asyncio.WriteTransport) -> int:
    """Return how many bytes the peer has acknowledged; 0 if that is unknown."""
    heard = ask_system(transport.get_extra_info("socket"))
    return heard.acked if heard else 0


def untaken(transport: asyncio.WriteTransport) -> int:
    """Return how many written bytes the peer has not acknowledged; 0 if it is gone."""
    if transport.is_closing():
        return 0
    heard = ask_system(transport.get_extra_info("socket"))
    return transport.get_write_buffer_size() + (heard.unread if heard else 0)


def keep_little_unsent(transport: asyncio.WriteTransport) -> None:
    """Limit what the system queues, so that a finished write means that the peer has received most of it."""
    transport.set_write_buffer_limits(high=_UNSENT_BYTES)
    if option := getattr(socket, "TCP_NOTSENT_LOWAT", None):
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, option, _UNSENT_BYTES)


def let_pings_pass(listener: socket.socket, keepalive_s: float) -> None:
    """Limit what the system queues ahead of a ping, on all connections that a socket accepts from now on.

    gRPC hands the system all that a client's window allows, which may be megabytes. A slow line would take longer for
    that than a ping has time.
    """
    if option := getattr(socket, "TCP_NOTSENT_LOWAT", None):
        unsent = round(keepalive_s * _SLOWEST_BYTES_S / 2)
        listener.setsockopt(socket.IPPROTO_TCP, option, max(_UNSENT_BYTES // 2, min(unsent, _MOST_UNSENT_BYTES)))


def set_keepalive(connection: socket.socket, keepalive_s: float) -> None:
    """Have the system probe a silent peer, and drop the connection after twice this time without an answer."""
    idle_s = max(1, round(keepalive_s))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", idle_s),
        ("TCP_KEEPINTVL", max(1, idle_s // _PROBES)),
        ("TCP_KEEPCNT", _PROBES),
        ("TCP_USER_TIMEOUT", 2000 * idle_s),  # the same where something is under way to it
    ):
        if option := getattr(socket, name, None):  # macOS and Windows have some of them
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
    if sys.platform == "linux":
        with suppress(OSError):  # an older Linux: the user timeout has to suffice
            connection.setsockopt(socket.IPPROTO_TCP, _TCP_RTO_MAX_MS, min(120_000, max(1000, 500 * idle_s)))


class Liveness:
    """Watches a connection until ``stop()``, and aborts it within twice ``keepalive_s`` once the peer is gone.

    Args:
        transport: of the connection.
        keepalive_s: how long it may be silent before it is pinged.
        ping: sends a ping, if the protocol has one; otherwise the system probes.
    """

    __slots__ = (
        "_acked",
        "_began",
        "_busy",
        "_keepalive_s",
        "_loop",
        "_ping",
        "_pinged",
        "_since",
        "_socket",
        "_timer",
        "_transport",
    )

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        keepalive_s: float,
        ping: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        self._transport = transport
        self._socket: socket.socket = transport.get_extra_info("socket")
        self._keepalive_s = keepalive_s
        self._ping = ping
        self._pinged: float | None = None
        self._began: float | None = None  # since when not all has been acknowledged
        self._busy = -inf  # when that was last so
        self._since = 0.0  # when it was last seen to acknowledge something, or had nothing to answer, meanwhile
        self._acked = 0
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        set_keepalive(self._socket, keepalive_s)
        keep_little_unsent(transport)
        self._look()

    def stop(self) -> None:
        """Stop watching."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._ping = None

    def _look(self) -> None:
        if self._transport.is_closing():
            return
        heard = ask_system(self._socket)
        if heard is None:
            return
        now = self._loop.time()
        if heard.unread or self._transport.get_write_buffer_size():
            again_s = self._look_at_reader(heard, now)
        else:
            again_s = self._look_at_idler(heard, now)
        if again_s > 0:
            self._timer = self._loop.call_later(again_s, self._look)
        else:
            logger.debug("%s is gone: it does not answer", self._transport.get_extra_info("peername"))
            self._transport.abort()

    def _look_at_reader(self, heard: Heard, now: float) -> float:
        """Look at a peer that has not acknowledged all; return when to look again, 0 if it is dead.

        Where its window is shut, or smaller than a segment, the system asks it more and more seldom, but once before
        the user timeout is over. That counts from the first such probe on, though bytes are acknowledged meanwhile, so
        it is moved on as long as there are answers.
        """
        self._pinged = None
        self._busy = now
        if self._began is None:
            self._began = now - self._keepalive_s / 4  # it was looked at no longer ago
        if heard.acked != self._acked or not heard.asked:
            self._since, self._acked = now, heard.acked
        self._set_user_timeout(now - self._began + self._keepalive_s)
        silent = min(heard.ack_s, heard.data_s) >= _SILENCE * self._keepalive_s
        return 0 if silent and now - self._since >= _ANSWER * self._keepalive_s else self._keepalive_s / 8

    def _look_at_idler(self, heard: Heard, now: float) -> float:
        """Look at a peer that has acknowledged everything; return when to look again, 0 if it is dead."""
        if self._began is not None:
            self._began = None
            self._set_user_timeout(2 * self._keepalive_s)
        often_s = self._keepalive_s / 4
        if self._ping is None:
            return often_s
        if heard.data_s < self._keepalive_s:
            self._pinged = None
            return min(often_s, self._keepalive_s - heard.data_s + 0.001)
        if self._pinged is None:
            self._pinged = now
            self._loop.create_task(self._send_ping(self._ping))
        # A proxy may acknowledge what it still has to pass on, and the ping waits behind that.
        until = max(self._pinged + _ANSWER * self._keepalive_s, self._busy + _PASSED_ON * self._keepalive_s)
        left_s = until - now
        return min(often_s, left_s) if left_s > 0 else 0

    async def _send_ping(self, ping: Callable[[], Coroutine[Any, Any, None]]) -> None:
        with suppress(OSError):
            await ping()

    def _set_user_timeout(self, seconds: float) -> None:
        if _TCP_USER_TIMEOUT:
            with suppress(OSError):  # it is closed
                self._socket.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, round(1000 * seconds))
