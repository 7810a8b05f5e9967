"""A broker that keeps the order of each room in an SQLite file: what is acknowledged survives a crash."""

from bcast_grpc.broker.sqlite.broker import SqliteBroker

__all__ = ["SqliteBroker"]
