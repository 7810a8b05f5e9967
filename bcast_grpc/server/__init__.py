"""The server: settings become objects, run, and drain. The only place that wires things together."""

from bcast_grpc.server.server import CannotStart, Server

__all__ = ["CannotStart", "Server"]
