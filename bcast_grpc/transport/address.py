"""Listening on all addresses of a host name."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Sequence
from typing import NamedTuple

BACKLOG = 65_535
"""How many connections may wait to be accepted: as many as the system allows (`net.core.somaxconn`)."""


class CannotStart(Exception):
    """The server cannot start: an address, a file or the store cannot be used. Nothing was started."""


class Address(NamedTuple):
    """Where a door listens.

    Attributes:
        host: an address or a name.
        port: the port; 0 picks a free one.
        setting: the name of the port's setting, for error texts.
    """

    host: str
    port: int
    setting: str

    def listen(self) -> Sequence[socket.socket]:
        """Listen on this address; see ``listen``."""
        return listen(*self)

    def at(self, port: int) -> str:
        """Return ``HOST:PORT`` with the port that was picked."""
        return join_host_port(self.host, port)

    def url(self, scheme: str, port: int) -> str:
        """Return the URL with the port that was picked."""
        return f"{scheme}://{self.at(port)}"


def listen(host: str, port: int, setting: str) -> Sequence[socket.socket]:
    """Listen on all addresses that a host name has, on the same port.

    A name such as ``localhost`` may have several addresses. Those that this machine does not have are skipped, unless
    there is no other.

    Args:
        host: an address or a name.
        port: the port; 0 picks a free one.
        setting: the name of the port's setting, for error texts.

    Raises:
        CannotStart: the address cannot be bound.
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
                one.listen(BACKLOG)
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
    """Whether a host can only be reached from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
