"""Listening on all addresses of a host name."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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
        given: sockets that are bound already, to one port of the host; none if they are to be made.
    """

    host: str
    port: int
    setting: str
    given: Sequence[socket.socket] = ()

    def listen(self) -> Sequence[socket.socket]:
        """Listen on this address; see ``listen``."""
        for one in self.given:
            one.listen(BACKLOG)
        return self.given or listen(self.host, self.port, self.setting)

    def at(self, port: int) -> str:
        """Return ``HOST:PORT`` with the port that was picked."""
        return join_host_port(self.host, port)

    def url(self, scheme: str, port: int) -> str:
        """Return the URL with the port that was picked."""
        return f"{scheme}://{self.at(port)}"


def listen(host: str, port: int, setting: str) -> Sequence[socket.socket]:
    """Listen on all addresses that a host name has, on the same port; see ``bind_all``."""

    def bind(one: socket.socket, address: Any) -> None:
        one.bind(address)
        one.listen(BACKLOG)

    return bind_all(Address(host, port, setting), bind)


def bind_all(where: Address, bind: Callable[[socket.socket, Any], None]) -> Sequence[socket.socket]:
    """Bind a socket to each address that a host name has, on the same port.

    A name such as ``localhost`` may have several addresses. Those that this machine does not have are skipped, unless
    there is no other.

    Args:
        where: the host and the port.
        bind: binds a socket to an address of the host; ``SO_REUSEADDR`` is set.

    Raises:
        CannotStart: the address cannot be bound.
    """
    host, port, setting, _ = where
    bound: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            one = socket.socket(family, kind, protocol)
            try:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                taken = bound[0].getsockname()[1] if bound else port
                bind(one, (address[0], taken, *address[2:]))
                bound.append(one)
            except OSError as error:
                one.close()
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                missing = error
        if missing and not bound:
            raise missing
    except OSError as error:
        for one in bound:
            one.close()
        reason = error.strerror or error
        raise CannotStart(
            f"cannot listen on {join_host_port(host, port)}: {reason}; choose another --{setting} or --host"
        ) from None
    return bound


def join_host_port(host: str, port: int) -> str:
    """Return an address as it is written in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether a host can only be reached from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
