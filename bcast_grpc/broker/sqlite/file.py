"""An open store: the connection that writes, and transactions that are on the disk when they return."""

from __future__ import annotations

import ctypes
import logging
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bcast_grpc.broker.base import CannotOpen
from bcast_grpc.broker.clock import Clock
from bcast_grpc.broker.sqlite import log, schema
from bcast_grpc.broker.sqlite.claim import Claim
from bcast_grpc.broker.sqlite.content import Content
from bcast_grpc.broker.sqlite.faults import FileGone, explained
from bcast_grpc.broker.sqlite.lineage import Lineage
from bcast_grpc.broker.sqlite.timeline import Moment, TimeLine

_READ_META = "SELECT commits, wall_ns, line_ns, boot_ns, boot FROM meta"
_SIGN = "UPDATE meta SET commits = ?, cookie = ?, wall_ns = ?, line_ns = ?, boot_ns = ?, boot = ? WHERE commits = ?"

logger = logging.getLogger(__name__)

_BUSY_S = 1.0
_CHECK_S = 5.0
_STEPS = 100_000  # of SQLite's virtual machine, between two looks at the clock


class StoreFile:
    """A store's file, from opening to closing.

    Attributes:
        path: the real path of the file.
        line: the time line that measures the ages of what is in the file.
        writer: the connection that writes, from one thread, within ``transaction``.

    Raises:
        CannotOpen: the file is not a store, is damaged, cannot be read or written, or is used by another server.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        with ExitStack() as undo, explained(path):
            self._claim = Claim(path)
            undo.callback(self._claim.close)
            self.path = self._claim.path
            log.set_aside_foreign(self.path)
            self.writer = connect(self.path)
            undo.callback(self.writer.close)
            schema.prepare(self.writer)
            _check_whole(self.writer)
            self.writer.execute("PRAGMA journal_mode = WAL").fetchall()
            self._renewed = -1
            self._content: Content | None = None
            self._commits, *last = self.writer.execute(_READ_META).fetchone()
            self.line = TimeLine(clock, Moment(*last))
            self._lineage = Lineage(self.path, self._claim.owner, self.transaction)
            self._begin()
            self._claim.watch()
            self._content = Content(self._claim.descriptor, self.writer)
            undo.pop_all()

    def _begin(self) -> None:
        """Begin new epochs if the file is a copy, then mark it as used by this server."""
        if doubt := self._lineage.doubt(self.writer):
            rooms = self._lineage.begin_epochs()
            logger.warning(
                "the store %s is a copy (%s): each room in it, %d in all, begins a new epoch", self.path, doubt, rooms
            )
        self.renew()
        if self.cut_log():  # from here on, the log belongs to the file as it is now
            with self.transaction() as connection:
                connection.execute("UPDATE meta SET run = ?", (secrets.token_hex(8),))
            self.cut_log()

    def renew(self) -> None:
        """Renew the identity, if anything was written since the last time. Call this in the writer's thread.

        Raises:
            OSError, sqlite3.Error, FileGone: the identity could not be renewed.
        """
        if self._commits != self._renewed:
            self._lineage.renew(self._commits)
            self._renewed = self._commits

    def check(self) -> None:
        """Check that the file is still in its place and has its content.

        Raises:
            FileGone: it is not. Nothing must be written into it then.
        """
        self._claim.check()
        if self._content:
            self._content.check()

    def log_bytes(self) -> int:
        """Return the length of the log."""
        return Path(f"{self.path}-wal").stat().st_size

    def cut_log(self) -> bool:
        """Empty the log and free its space, unless somebody reads it; return whether it was done."""
        return self._checkpoint("TRUNCATE")

    def restart_log(self) -> bool:
        """Write the log from its beginning again, unless somebody reads it; return whether it was done."""
        return self._checkpoint("RESTART")

    def _checkpoint(self, how: str) -> bool:
        """Write the rest of the log into the file, without waiting for readers. Called in the writer's thread."""
        self.check()
        self.writer.execute("PRAGMA busy_timeout = 0")
        try:
            ((busy, *_),) = self.writer.execute(f"PRAGMA wal_checkpoint({how})")
        finally:
            self.writer.execute(f"PRAGMA busy_timeout = {round(_BUSY_S * 1000)}")
        return not busy

    def connect(self) -> sqlite3.Connection:
        """Open another connection to the file."""
        return connect(self.path)

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Commit everything that is done with the connection, or nothing.

        Args:
            durable: whether it is on the disk when this returns; if not, the next durable transaction puts it there.

        Raises:
            FileGone: the file was replaced, so the next start would not find what is written.
            sqlite3.Error: the file cannot be written.
        """
        writer = self.writer
        if not durable:
            writer.execute("PRAGMA synchronous = NORMAL")
        try:
            writer.execute("BEGIN IMMEDIATE")
            yield writer
            self._sign(writer)
            self.check()
            self._commit()
        except BaseException as error:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                self.check()  # the error may mean that the file was replaced
            raise
        finally:
            if not durable:
                writer.execute("PRAGMA synchronous = FULL")
        self._commits += 1
        if durable:
            self._lineage.note(self._commits)

    def _sign(self, writer: sqlite3.Connection) -> None:
        ((cookie,),) = writer.execute("PRAGMA schema_version")
        if self._content:
            self._content.allow(cookie)
        now = self.line.moment()
        values = (self._commits + 1, cookie, now.wall_ns, now.line_ns, now.boot_ns, now.boot, self._commits)
        if writer.execute(_SIGN, values).rowcount != 1:  # as after ``.restore``
            raise FileGone("another program has replaced its content; restart the server to use what is there now")

    def _commit(self) -> None:
        """Commit. An error may come after everything has been written, so the file decides whether it was."""
        try:
            self.writer.execute("COMMIT")
        except sqlite3.Error:
            if self.writer.in_transaction:
                raise
            ((commits,),) = self.writer.execute("SELECT commits FROM meta")
            if commits != self._commits + 1:
                raise

    def close(self) -> None:
        """Close the file."""
        try:
            self.check()
        except FileGone:
            # On closing, SQLite would write its log into the file that is there now, and delete the log beside it.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.writer))
            return
        self.writer.close()
        self._claim.close()


def connect(path: Path) -> sqlite3.Connection:
    """Open a connection whose commits are on the disk when they return."""
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 0").fetchall()  # the caretaker does that
    return connection


def _check_whole(connection: sqlite3.Connection) -> None:
    """Check for damage, for a few seconds at most, so that a large file does not delay the start.

    Raises:
        CannotOpen: the file is damaged.
    """
    until = time.monotonic() + _CHECK_S
    connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
    try:
        ((found,),) = connection.execute("PRAGMA quick_check(1)")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        logger.info("the store is too large to check for damage at start; run bcast-store check")
        return
    finally:
        connection.set_progress_handler(None, 0)
    if found != "ok":
        raise CannotOpen(f"it is damaged ({found}); restore a backup, or move it away to start with an empty store")
