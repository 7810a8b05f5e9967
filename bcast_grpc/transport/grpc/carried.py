"""Whether a connection serves a call, or is idle: what only waits to be let in may wait on an idle connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bcast_grpc.transport.connections import Connections

if TYPE_CHECKING:
    from bcast_grpc.transport.grpc.call import Call


class Carried:
    """The calls that a connection serves. One without any is closed when descriptors or memory are short.

    Args:
        connections: those of all doors.
        port: the client's.
    """

    __slots__ = ("_connections", "_count", "_port")

    def __init__(self, connections: Connections, port: int) -> None:
        self._connections = connections
        self._count = 0
        self._port = port

    def add(self, call: Call) -> None:
        """Note that a call is served from now on."""
        if not (call.carried or call.over):
            call.carried = True
            self._count += 1
            if self._count == 1:
                self._connections.begin_call(self._port)

    def ended(self, call: Call) -> None:
        """Note that a call has ended."""
        if not call.carried:
            self.refused()
        elif self._count == 1:
            self._connections.end_call(self._port)
        self._count -= call.carried

    def refused(self) -> None:
        """Note that something was just said to the client, which is to reach it."""
        if not self._count:
            with self._connections.carrying(self._port):
                pass
