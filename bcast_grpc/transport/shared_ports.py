"""Ports on which several processes listen, each with sockets of its own: the system divides new connections."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from bcast_grpc.transport.address import Address, bind_all


class SharedPort:
    """Keeps a port for this server, and binds it again for each process that is to listen on it.

    Args:
        where: the address; port 0 picks a free one.

    Attributes:
        port: the port that was picked.

    Raises:
        CannotStart: the address cannot be bound, or somebody else listens on it.
    """

    def __init__(self, where: Address) -> None:
        self._kept = bind_all(where, _keep)
        self.port: int = self._kept[0].getsockname()[1]

    def bind(self) -> Sequence[socket.socket]:
        """Return sockets for one process; it may listen on them."""
        return [_bound_as(one) for one in self._kept]

    def close(self) -> None:
        """Give the port up, apart from what processes have."""
        for one in self._kept:
            one.close()


def _keep(one: socket.socket, address: Any) -> None:
    """Bind a socket that does not listen, so that nobody else gets the port.

    The system lets any program of this user join a port that is shared; so first, it is bound as one that is not.
    """
    if address[1]:
        with socket.socket(one.family, one.type) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of before may be closing
            probe.bind(address)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    one.bind(address)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)


def _bound_as(kept: socket.socket) -> socket.socket:
    one = socket.socket(kept.family, kept.type)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(kept.getsockname())
    except OSError:
        one.close()
        raise
    return one
