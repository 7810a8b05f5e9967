"""What the system knows about the other end of a TCP connection."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from contextlib import suppress
from typing import NamedTuple

_TCP_INFO = getattr(socket, "TCP_INFO", None) if sys.platform == "linux" else None
_TCP_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)
_INFO = struct.Struct("=3xB4x 16xI24xII44x 16xQQ 8xI")
"""Fields of ``struct tcp_info`` in linux/tcp.h: probes sent, segments not acknowledged, milliseconds since the last
data and since the last acknowledgement, bytes acknowledged, bytes received, and bytes not sent (since Linux 4.6)."""

KNOWN = _TCP_INFO is not None
"""Whether the system reports what it has heard from a peer. If not, a door has to ping the peer itself."""


class Heard(NamedTuple):
    """What the system has heard from the other end of a socket.

    Attributes:
        data_s: seconds since the peer sent something.
        ack_s: seconds since the peer's system acknowledged something, or answered a probe.
        acked: how many bytes the peer has acknowledged.
        received: how many bytes the peer has sent.
        unread: whether some of what was written to the system is unacknowledged.
        asked: whether the peer has to answer something: bytes, or a probe of a closed window.
    """

    data_s: float
    ack_s: float
    acked: int
    received: int
    unread: bool
    asked: bool


def ask_system(transport: asyncio.BaseTransport) -> Heard | None:
    """Return what the system has heard from a peer; None if it does not report that, or the connection is closed."""
    if _TCP_INFO is None:
        return None
    try:
        with _borrow(transport) as plain:
            info = plain.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _INFO.size)
        probes, unacked, data_ms, ack_ms, acked, received, unsent = _INFO.unpack(info)
    except (OSError, struct.error):
        return None
    return Heard(data_ms / 1000, ack_ms / 1000, acked, received, bool(unacked or unsent), bool(probes or unacked))


def acked(transport: asyncio.BaseTransport) -> int:
    """Return how many bytes the peer has acknowledged; 0 if that is unknown."""
    heard = ask_system(transport)
    return heard.acked if heard else 0


def all_taken(transport: asyncio.WriteTransport) -> bool:
    """Return whether the peer has acknowledged everything that was written, or the connection is closed."""
    if transport.is_closing():
        return True
    heard = ask_system(transport)
    return not (transport.get_write_buffer_size() or (heard and heard.unread))


def set_user_timeout(transport: asyncio.BaseTransport, seconds: float) -> None:
    """Set how long the system waits for an acknowledgement before it drops the connection."""
    if _TCP_USER_TIMEOUT is not None:
        with suppress(OSError), _borrow(transport) as plain:
            plain.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, round(1000 * seconds))


class _Borrowed(socket.socket):
    """A connection's descriptor as a plain socket, for a ``with`` statement, which does not close it.

    The sockets of uvloop's transports duplicate the descriptor for each option, which is slow. A plain socket is made
    for each use: one that was kept might close the descriptor, or use another connection that got the same number.
    """

    __slots__ = ()

    def __exit__(self, *_: object) -> None:
        self.detach()


def _borrow(transport: asyncio.BaseTransport) -> _Borrowed:
    if transport.is_closing():
        raise OSError("the connection is closed; its descriptor may belong to another one")
    descriptor = transport.get_extra_info("socket").fileno()
    return _Borrowed(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, descriptor)  # so that it looks nothing up
