"""The interface of a door: a way for clients to connect, over one protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bcast_grpc.core.hub import Hub
from bcast_grpc.transport.connections import Connections
from bcast_grpc.transport.liveness import Keepalive
from bcast_grpc.transport.scheduler import LoopScheduler
from bcast_grpc.transport.tls.certificates import Certificates


class Door(Protocol):
    """Serves clients over one protocol, from ``open()`` to ``stop()``.

    For each client it awaits ``admit``, makes a ``Stream`` from the admission, and reads and writes for the stream.
    """

    async def open(self) -> Sequence[str]:
        """Listen, and serve clients.

        Returns:
            The URLs that clients connect to.

        Raises:
            CannotStart: the address cannot be bound; nothing is left open.
        """
        ...

    async def drain(self) -> None:
        """Announce that the server is about to close, if the protocol allows that. Clients are still served."""
        return

    async def stop(self, grace_s: float) -> None:
        """Accept no more clients, give those that are connected ``grace_s`` to finish, and disconnect the rest.

        Does nothing if the door was never opened.
        """
        ...


@dataclass(frozen=True, slots=True)
class Shared:
    """What all doors of a server share.

    Attributes:
        hub: admits clients and knows their rooms.
        scheduler: the event loop, as the core sees it.
        connections: counts the connections that serve a client, so that idle ones can be closed if need be.
        keepalive: finds the connections whose peers are gone.
        handshake_s: how long a client may take to begin: with TLS, HTTP/2, or the headers of an HTTP request.
        certificates: with which every door speaks TLS; None for none.
    """

    hub: Hub
    scheduler: LoopScheduler
    connections: Connections
    keepalive: Keepalive
    handshake_s: float = 10.0
    certificates: Certificates | None = None
