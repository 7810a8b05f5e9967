"""The file of a durable store: its tables, whether it is one of ours and whole, and what is wrong with it, in words."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

if sys.platform != "win32":
    import fcntl

_APPLICATION_ID = 0x62636173
_VERSION = 1
_SCHEMA = """
PRAGMA auto_vacuum = INCREMENTAL;
BEGIN IMMEDIATE;
CREATE TABLE room (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    epoch TEXT NOT NULL,
    head INTEGER NOT NULL
);
CREATE TABLE message (
    room INTEGER NOT NULL REFERENCES room,
    seq INTEGER NOT NULL,
    time_ns INTEGER NOT NULL,
    session TEXT NOT NULL,
    name TEXT NOT NULL,
    key TEXT NOT NULL,
    message TEXT NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (room, seq)
) WITHOUT ROWID;
CREATE TABLE known (
    room INTEGER NOT NULL REFERENCES room,
    key TEXT NOT NULL,
    id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    time_ns INTEGER NOT NULL,
    PRIMARY KEY (room, key, id)
) WITHOUT ROWID;
CREATE INDEX known_by_time ON known (time_ns);
"""
_BUSY_S = 1.0


class CannotOpen(Exception):
    """The file cannot be used; the text says why, and what would help."""


def connect(path: Path) -> sqlite3.Connection:
    """Open the file, so that a commit is on the disk when it is done."""
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def prepare(connection: sqlite3.Connection) -> None:
    """Make the tables where there are none, and look whether the file is one of ours and whole.

    Raises:
        CannotOpen: it is not.
    """
    ((application,),) = connection.execute("PRAGMA application_id")
    ((version,),) = connection.execute("PRAGMA user_version")
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_schema")
    if not tables and not application:
        connection.executescript(
            f"{_SCHEMA} PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {_VERSION}; COMMIT;"
        )
    elif application != _APPLICATION_ID:
        raise CannotOpen("it is a database of another program; give a file of its own")
    elif version != _VERSION:
        raise CannotOpen(f"it is of version {version}, and this server knows version {_VERSION}")
    for (found,) in connection.execute("PRAGMA quick_check(1)"):
        if found != "ok":
            raise CannotOpen(f"it is damaged ({found}); restore it, or move it away to begin anew")
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.execute("BEGIN IMMEDIATE")  # whether it can be written shows now
    connection.execute("ROLLBACK")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Say of which file it is that something is wrong.

    Raises:
        CannotOpen: instead of SQLite's own errors.
    """
    try:
        yield
    except CannotOpen as error:
        raise CannotOpen(f"the store {path} cannot be used: {error}") from None
    except sqlite3.Error as error:
        raise CannotOpen(f"the store {path} cannot be used: {plainly(error)}") from None


def own(path: Path) -> IO[bytes]:
    """Keep other servers off the file, until this process ends or closes what is returned.

    Raises:
        CannotOpen: another server uses it, or its directory cannot be written.
    """
    try:
        owner = Path(f"{path}-owner").open("ab")  # noqa: SIM115  # held open
    except OSError as error:
        raise CannotOpen(
            f"the store {path} cannot be used: {error.strerror}; its directory must be there, and writable"
        ) from None
    if sys.platform != "win32":
        try:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner.close()
            raise CannotOpen(f"the store {path} cannot be used: another server uses it") from None
    return owner


def plainly(error: Exception) -> str:
    """Say what is wrong in words that do not need SQLite's manual."""
    code = getattr(error, "sqlite_errorname", "") or ""
    if code.startswith("SQLITE_BUSY"):
        return "another program holds it locked"
    if code.startswith("SQLITE_FULL"):
        return "the disk is full"
    if code.startswith("SQLITE_NOTADB"):
        return "it is no SQLite database"
    if code.startswith("SQLITE_CORRUPT"):
        return "it is damaged; restore it, or move it away to begin anew"
    return str(error)
