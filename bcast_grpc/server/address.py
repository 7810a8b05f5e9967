"""Addresses to listen on: all of them, or a clear word on why not."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Sequence

_BACKLOG = 65_535
"""As many as the system allows: it takes less where `net.core.somaxconn` is less."""


class CannotStart(Exception):
    """A door could not be opened; nothing was started."""


def listen(host: str, port: int, setting: str) -> Sequence[socket.socket]:
    """Listen on all addresses that a host name has, on the same port.

    Of several addresses, as ``localhost`` may have, one that this machine does not have may be missing.

    Args:
        host: an address or a name.
        port: 0 takes a free one.
        setting: what the port is called, for the error's text.

    Raises:
        CannotStart: it can not.
    """
    listening: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            one = socket.socket(family, kind, protocol)
            try:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                taken = listening[0].getsockname()[1] if listening else port
                one.bind((address[0], taken, *address[2:]))
                one.listen(_BACKLOG)
                listening.append(one)
            except OSError as error:
                one.close()
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                missing = error
        if missing and not listening:
            raise missing
    except OSError as error:
        for one in listening:
            one.close()
        reason = error.strerror or error
        raise CannotStart(
            f"cannot listen on {join_host_port(host, port)}: {reason}; choose another --{setting} or --host"
        ) from None
    return listening


def join_host_port(host: str, port: int) -> str:
    """Return an address as it is written in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
