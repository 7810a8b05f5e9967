"""The listening sockets of a door."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from bcast_grpc.transport.address import BACKLOG, Address
from bcast_grpc.transport.door import Shared


class Listeners:
    """Accepts connections, unless there is no room for more.

    Args:
        shared: what all doors share.
        address: where to listen.
    """

    def __init__(self, shared: Shared, address: Address) -> None:
        self._shared = shared
        self._address = address
        self._servers: list[asyncio.Server] = []

    async def open(self, scheme: str, connection: Callable[[], asyncio.Protocol]) -> str:
        """Listen.

        Args:
            scheme: of the URL.
            connection: makes the protocol of a connection.

        Returns:
            The URL that clients connect to.

        Raises:
            CannotStart: the address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        connections = self._shared.connections

        def accept() -> asyncio.Protocol:
            return _Refused() if connections.crowded() else connection()

        sockets = self._address.listen()
        for one in sockets:
            self._shared.keepalive.prepare(one)
        self._servers = [await loop.create_server(accept, sock=one, backlog=BACKLOG) for one in sockets]
        port: int = sockets[0].getsockname()[1]
        connections.ports.add(port)
        return self._address.url(scheme, port)

    def close(self) -> None:
        """Accept nobody more."""
        while self._servers:
            self._servers.pop().close()


class _Refused(asyncio.Protocol):
    """A connection that there is no room for."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hang up."""
        cast("asyncio.Transport", transport).abort()  # uvloop's is one, but not by its class
