"""Whether a store's file still has in it what SQLite thinks: somebody may write into it beside SQLite."""

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
        descriptor: of the file. It must be the one that is open anyway: closing another one would drop SQLite's locks.
        connection: to the file.
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
        """Take note of a cookie that SQLite has made: a ``VACUUM`` beside the server, say."""
        self._cookies.add(cookie)

    def check(self) -> None:
        """Look at the file. Cost: some microseconds.

        Raises:
            FileGone: it is not what it was.
        """
        for _ in range(_ATTEMPTS):  # a checkpoint may be writing just now
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
