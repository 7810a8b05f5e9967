"""The server: settings become objects, run, and drain. The only place that wires things together."""

from bcast_grpc.server.address import CannotStart
from bcast_grpc.server.server import Server

__all__ = ["CannotStart", "Server"]
