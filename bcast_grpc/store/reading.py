"""Opens a store for reading, as it is at one moment, while a server may go on writing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from bcast_grpc.broker.base import CannotOpen
from bcast_grpc.broker.sqlite import log, schema
from bcast_grpc.broker.sqlite.faults import explained


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a store and begin a transaction that reads. No server is held up, however long it lasts.

    Raises:
        CannotOpen: there is no store, or it cannot be read.
    """
    real = Path(os.path.realpath(path))
    with explained(path):
        if not real.is_file():
            raise CannotOpen("it is no file" if real.exists() else "there is no such file")
        connection = log.without_log(real) if log.is_foreign(real) else log.read_only(real)
    with closing(connection):
        with explained(path):
            _check_store(connection)
            connection.execute("BEGIN")
            connection.execute("SELECT 1 FROM meta").fetchone()  # the transaction begins with the first look
        yield connection


def _check_store(connection: sqlite3.Connection) -> None:
    if schema.is_store(connection):
        return
    application, version = schema.identify(connection)
    if application != schema.APPLICATION_ID:
        raise CannotOpen("it is not a store")
    raise CannotOpen(
        f"its schema has version {version}; this program reads version {schema.VERSION} (a server upgrades older ones)"
    )
