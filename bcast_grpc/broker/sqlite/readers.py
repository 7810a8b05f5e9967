"""Threads that read in the file while the loop goes on."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Concatenate, ParamSpec, TypeVar

_THREADS = 4  # so that whoever reads little does not wait for whoever reads much
_PAUSE_S = 0.001

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Readers:
    """A few threads with a connection each.

    Args:
        connect: opens a connection to the file.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._connections: list[sqlite3.Connection] = []
        self._own = threading.local()
        self._closing = False
        self._threads = ThreadPoolExecutor(_THREADS, "sqlite-reader")

    def read(
        self, query: Callable[Concatenate[sqlite3.Connection, _P], _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> asyncio.Future[_T]:
        """Have one of the threads do ``query(connection, ...)``; what is returned may be awaited."""
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._threads, lambda: query(self._connection(), *args, **kwargs))

    def close(self) -> None:
        """End what is being read, and close the connections."""
        self._closing = True
        self._threads.shutdown(cancel_futures=True)
        for connection in self._connections:
            connection.close()

    def pause(self) -> None:
        """Let the other threads have their turn. To be called in a query after each slice of work.

        A thread of Python's that never waits makes the others wait for 5 ms at a time.

        Raises:
            sqlite3.Error: the file is being closed.
        """
        if self._closing:
            raise sqlite3.OperationalError("the store is being closed")
        time.sleep(_PAUSE_S)

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = self._connect()
            self._connections.append(connection)
        return connection
