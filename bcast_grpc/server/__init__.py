"""The server: turns settings into objects, runs them, and drains. The only place that wires things together.

``parts`` chooses the doors and the backend, ``server`` runs and drains them, ``sync`` gives them a thread of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bcast_grpc.server.server import Server
    from bcast_grpc.transport.address import CannotStart

__all__ = ["CannotStart", "Server"]


if not TYPE_CHECKING:  # otherwise a type checker would accept any name

    def __getattr__(name: str) -> object:
        # Imported when it is used: the program has to set things up before gRPC is loaded.
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from bcast_grpc.server import server
        from bcast_grpc.transport import address

        return server.Server if name == "Server" else address.CannotStart
