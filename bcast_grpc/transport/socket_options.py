"""Socket options: how the system watches a silent peer, and how much it queues for a slow one."""

from __future__ import annotations

import socket
import sys
from contextlib import suppress

UNSENT_BYTES = 32 * 1024
"""How much of what is written to a connection may be unsent before the writer has to wait."""

INHERITED = sys.platform == "linux"
"""Whether the connections that a socket accepts inherit its options."""

SLOWEST_BYTES_S = 8000
"""The slowest line on which a live peer must not be considered dead, in bytes a second."""

_MOST_UNSENT_BYTES = 128 * 1024
_PROBES = 3
_TCP_RTO_MAX_MS = 44  # of Linux since 6.15; Python does not name it


def watch_silence(watched: socket.socket, keepalive_s: float) -> None:
    """Make the system probe a silent peer, and drop the connection after twice this time without an answer."""
    idle_s = max(1, round(keepalive_s))
    watched.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", idle_s),
        ("TCP_KEEPINTVL", max(1, idle_s // _PROBES)),
        ("TCP_KEEPCNT", _PROBES),
        ("TCP_USER_TIMEOUT", round(2000 * max(1, keepalive_s))),  # likewise if something is unacknowledged
    ):
        if option := getattr(socket, name, None):  # macOS and Windows have some of them
            watched.setsockopt(socket.IPPROTO_TCP, option, value)
    if sys.platform == "linux":
        with suppress(OSError):  # an older Linux: the user timeout has to suffice
            watched.setsockopt(socket.IPPROTO_TCP, _TCP_RTO_MAX_MS, min(120_000, max(1000, 500 * idle_s)))


def limit_unsent(limited: socket.socket, size: int = UNSENT_BYTES) -> None:
    """Limit what the system queues, so that a finished write means that the peer has received most of it."""
    if option := getattr(socket, "TCP_NOTSENT_LOWAT", None):
        limited.setsockopt(socket.IPPROTO_TCP, option, size)


def let_pings_pass(listener: socket.socket, keepalive_s: float) -> None:
    """Limit what the system queues ahead of a ping, on all connections that a socket accepts from now on.

    grpcio writes as much as a client's window allows, which may be megabytes. On a slow line that would take longer
    than a ping may.
    """
    unsent = round(keepalive_s * SLOWEST_BYTES_S / 2)
    limit_unsent(listener, max(UNSENT_BYTES // 2, min(unsent, _MOST_UNSENT_BYTES)))
