"""The TCP door: JSON objects over a plain socket."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from bcast_grpc.transport.address import Address
from bcast_grpc.transport.door import Door, Shared
from bcast_grpc.transport.listeners import Listeners
from bcast_grpc.transport.serving import Serving
from bcast_grpc.transport.tcp_connection import Connection


class TcpDoor(Door):
    """Serves TCP connections. Each is in the room ``lobby`` from the accept on, without a name.

    Args:
        shared: what all doors share.
        address: where to listen.
    """

    def __init__(self, shared: Shared, address: Address) -> None:
        self._shared = shared
        self._listeners = Listeners(shared, address)
        self._serving = Serving()

    async def open(self) -> Sequence[str]:
        """Listen."""
        return [await self._listeners.open("tcp", partial(Connection, self._shared, self._serving))]

    async def stop(self, grace_s: float) -> None:
        """Accept no more clients, and disconnect those that are still connected after ``grace_s``."""
        self._listeners.close()
        await self._serving.end(grace_s)
