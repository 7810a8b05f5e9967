"""The server: turns settings into objects, runs them, and drains. The only place that wires things together.

``parts`` chooses doors and backend, ``server`` runs and drains them, ``sync`` gives them a thread of their own::

    __main__, arguments, running        the program
    signals, logs, output               what it hears, and what it says
    server, sync, chores, parts         a server, and its parts
    addresses, access, reload           where it listens, who may come in, and files that change
    shared_store, nats_keys, embedded/  rooms that are shared over NATS, and a NATS server of its own
    workers/, share, processes          one server in several processes
    machine/                            memory and file descriptors
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
