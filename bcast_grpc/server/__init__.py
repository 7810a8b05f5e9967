"""The server: settings become objects, run, and drain. The only place that wires things together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bcast_grpc.server.server import Server
    from bcast_grpc.transport.address import CannotStart

__all__ = ["CannotStart", "Server"]


if not TYPE_CHECKING:  # else a type checker would believe in any name

    def __getattr__(name: str) -> object:
        # Found when it is used: the program has things to do before gRPC is loaded.
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from bcast_grpc.server import server
        from bcast_grpc.transport import address

        return server.Server if name == "Server" else address.CannotStart
