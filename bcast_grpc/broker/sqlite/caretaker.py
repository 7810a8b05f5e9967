"""Maintains the files beside a store while others write and read: keeps the log short and renews the identity."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from bcast_grpc.broker.sqlite.faults import FileGone, plainly
from bcast_grpc.broker.sqlite.file import StoreFile

logger = logging.getLogger(__name__)

LOOK_S = 1.0
RENEW_S = 60.0
LONG_BYTES = 4 * 1024 * 1024
"""A longer log is written into the file, as soon as nobody reads."""

MAX_BYTES = 16 * 1024 * 1024
"""A longer log is then truncated; a shorter one is overwritten, which is faster."""

_FEW_PAGES = 100
_PATIENCE_S = 0.2
_TRIES = 5


class Caretaker:
    """A thread with its own connection, which does what takes long; the writer does the rest between two jobs.

    Args:
        file: the store.
        ask_writer: calls a function in the writer's thread.
        readers_held: see ``Readers.held``.
    """

    def __init__(
        self,
        file: StoreFile,
        ask_writer: Callable[[Callable[[], None]], None],
        readers_held: Callable[[float], AbstractContextManager[bool]],
    ) -> None:
        self._readers_held = readers_held
        self._file = file
        self._ask_writer = ask_writer
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sqlite-caretaker", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        connection = self._file.connect()
        try:
            looks = 0
            while not self._ended.wait(LOOK_S):
                looks += 1
                self._look_at_log(connection)
                if looks * LOOK_S >= RENEW_S:
                    looks = 0
                    self._ask_writer(self._carefully(self._file.renew))
        finally:
            connection.close()

    def _look_at_log(self, connection: sqlite3.Connection) -> None:
        """Write a long log into the file while others go on, then restart the log."""
        try:
            size = self._file.log_bytes()
            if size < LONG_BYTES:
                return
            self._file.check()
            self._write_into_file(connection)
            with self._readers_held(_PATIENCE_S) as nobody:  # otherwise some reader might always be active
                if nobody and self._write_into_file(connection):
                    again = self._file.cut_log if size > MAX_BYTES else self._file.restart_log
                    done = threading.Event()
                    self._ask_writer(self._carefully(again))
                    self._ask_writer(done.set)
                    done.wait(_PATIENCE_S)
        except (sqlite3.Error, OSError, FileGone) as error:
            logger.debug("the log of the store cannot be checkpointed: %s", plainly(error))

    def _write_into_file(self, connection: sqlite3.Connection) -> bool:
        """Write the log into the file until little is left; return False if a reader is in the way."""
        before = -1
        for _ in range(_TRIES):  # more is written meanwhile
            ((_, pages, done),) = connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            if pages - done < _FEW_PAGES:
                break
            if done == before or self._ended.is_set():
                return False
            before = done
        return True  # if others write faster than this, the writer has to do the rest

    def _carefully(self, chore: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            try:
                chore()
            except (sqlite3.Error, OSError, FileGone) as error:
                logger.debug("the maintenance of the store failed: %s", plainly(error))

        return run
