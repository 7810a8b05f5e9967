"""Threads that read from the file, so that the loop need not wait for the disk."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Concatenate, ParamSpec, TypeVar

_THREADS = 4  # with several, a short query need not wait for a long one
_PAUSE_S = 0.001

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Readers:
    """A few threads with a connection each.

    All connections are opened at the start: later, the file's name may lead to another file or to none, and SQLite
    would write the log into that file, or delete the log.

    Args:
        connect: opens a connection to the file.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connections = [connect() for _ in range(_THREADS)]
        for connection in self._connections:
            connection.execute("SELECT 1 FROM sqlite_schema").fetchall()  # SQLite opens the log only now
        self._free = list(self._connections)
        self._own = threading.local()
        self._closing = False
        self._changed = threading.Condition()
        self._active = 0
        self._held = False
        self._threads = ThreadPoolExecutor(_THREADS, "sqlite-reader")

    def read(
        self, query: Callable[Concatenate[sqlite3.Connection, _P], _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> asyncio.Future[_T]:
        """Call ``query(connection, ...)`` in one of the threads, and return a future of its result."""
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._threads, lambda: self._do(lambda: query(self._connection(), *args, **kwargs)))

    @contextmanager
    def held(self, patience_s: float) -> Iterator[bool]:
        """Let no query begin. Yields whether all queries have ended within ``patience_s``. For one caller at a time."""
        with self._changed:
            self._held = True
            nobody = self._changed.wait_for(lambda: not self._active, patience_s)
        try:
            yield nobody
        finally:
            with self._changed:
                self._held = False
                self._changed.notify_all()

    def _do(self, query: Callable[[], _T]) -> _T:
        with self._changed:
            self._changed.wait_for(lambda: not self._held)
            self._active += 1
        try:
            return query()
        finally:
            with self._changed:
                self._active -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Stop all queries, and close the connections."""
        self._closing = True
        self._threads.shutdown(cancel_futures=True)
        for connection in self._connections:
            connection.close()

    def pause(self) -> None:
        """Give the other threads their turn. A query calls this after each slice of work.

        A Python thread that never waits makes the others wait for 5 ms at a time.

        Raises:
            sqlite3.Error: the file is being closed.
        """
        if self._closing:
            raise sqlite3.OperationalError("the store is being closed")
        time.sleep(_PAUSE_S)

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = self._free.pop()
        return connection
