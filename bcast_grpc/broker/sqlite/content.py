"""Detects that another program has overwritten the content of a store's file."""

from __future__ import annotations

import os
import sqlite3
import struct
import time

from bcast_grpc.broker.sqlite.faults import FileGone

_MAGIC = b"SQLite format 3\0"
_HEADER = struct.Struct(">16s24xI")  # the magic, and the schema's cookie at byte 40
_ATTEMPTS = 5
_PAUSE_S = 0.002


class Content:
    """Recognises the file by what no copy has and no checkpoint changes: the cookie of its schema, and its run.

    Args:
        descriptor: the descriptor of the file that is open anyway: closing another one would drop SQLite's locks.
        connection: a connection to the file.
    """

    def __init__(self, descriptor: int, connection: sqlite3.Connection) -> None:
        self._descriptor = descriptor
        self._cookies: set[int] = set(*connection.execute("PRAGMA schema_version"))
        ((run,),) = connection.execute("SELECT run FROM meta")
        ((page,),) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'meta'")
        ((self._page_size,),) = connection.execute("PRAGMA page_size")
        self._run = str(run).encode()
        self._at = (page - 1) * self._page_size

    def allow(self, cookie: int) -> None:
        """Accept another cookie, which SQLite made, as by a ``VACUUM`` of another program."""
        self._cookies.add(cookie)

    def check(self) -> None:
        """Check the file. Cost: some microseconds.

        Raises:
            FileGone: its content was overwritten.
        """
        for _ in range(_ATTEMPTS):  # a checkpoint may be writing at this moment
            if self._is_known():
                return
            time.sleep(_PAUSE_S)
        raise FileGone("its file was overwritten; restart the server to use what is there now")

    def _is_known(self) -> bool:
        header = os.pread(self._descriptor, _HEADER.size, 0)
        if len(header) < _HEADER.size:
            return False
        magic, cookie = _HEADER.unpack(header)
        if magic != _MAGIC or cookie not in self._cookies:
            return False
        return self._run in os.pread(self._descriptor, self._page_size, self._at)
