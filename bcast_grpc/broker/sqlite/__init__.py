"""The order of each room in an SQLite file: what is acknowledged is written, and survives a kill."""

from bcast_grpc.broker.sqlite.broker import SqliteBroker

__all__ = ["SqliteBroker"]
