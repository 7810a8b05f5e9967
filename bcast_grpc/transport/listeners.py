"""The listening sockets of a door, and TLS on what they accept."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import cast

from bcast_grpc.transport.address import BACKLOG, Address
from bcast_grpc.transport.arrivals import Arrivals, Make
from bcast_grpc.transport.door import Shared
from bcast_grpc.transport.tls.certificates import ALPN
from bcast_grpc.transport.tls.handshake import Handshakes
from bcast_grpc.transport.turns import Turns


class Listeners:
    """Accepts connections, unless there is no room for more, and puts TLS on them if the server has certificates.

    Args:
        shared: what all doors share.
        address: where to listen.
    """

    def __init__(self, shared: Shared, address: Address) -> None:
        self._shared = shared
        self._address = address
        self._servers: list[asyncio.Server] = []
        self._handshakes: Handshakes | None = None
        self._arrivals: Arrivals | None = None

    async def open(self, scheme: str, connection: Make) -> str:
        """Listen.

        Args:
            scheme: the scheme of the URL; with TLS an ``s`` is added.
            connection: makes the protocol of a connection.

        Returns:
            The URL that clients connect to.

        Raises:
            CannotStart: the address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        connections = self._shared.connections
        handshakes = self._handshakes = self._tls(scheme)
        make = partial(handshakes.begin, connection) if handshakes else connection
        arrivals = self._arrivals = Arrivals(connections, self._shared.handshake_s, make)

        def accept() -> asyncio.Protocol:
            return _Refused() if connections.crowded() else arrivals.begin()

        sockets = self._address.listen()
        for one in sockets:
            self._shared.keepalive.prepare(one)
        self._servers = [await loop.create_server(accept, sock=one, backlog=BACKLOG) for one in sockets]
        port: int = sockets[0].getsockname()[1]
        connections.ports.add(port)
        return self._address.url(f"{scheme}s" if handshakes else scheme, port)

    def _tls(self, scheme: str) -> Handshakes | None:
        shared = self._shared
        if not shared.certificates:
            return None
        turns = Turns(asyncio.get_running_loop())  # apart from those of connected clients: handshakes take long
        return Handshakes(
            shared.certificates,
            ALPN[scheme],
            shared.handshake_s,
            turns,
            shared.scheduler.turns,
            shared.connections.gone,
        )

    def close(self) -> None:
        """Accept no more connections."""
        while self._servers:
            self._servers.pop().close()
        if self._arrivals:
            self._arrivals.close()
        if self._handshakes:
            self._handshakes.close()


class _Refused(asyncio.Protocol):
    """A connection for which there is no room."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hang up."""
        cast("asyncio.Transport", transport).abort()  # uvloop's class is no subclass of it
