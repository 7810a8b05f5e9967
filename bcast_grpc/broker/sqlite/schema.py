"""The tables of a store, and the versions of its schema."""

from __future__ import annotations

import secrets
import sqlite3

from bcast_grpc.broker.base import CannotOpen

APPLICATION_ID = 0x62636173
VERSION = 2

# This is the first table, and SQLite puts no index before it: so its page is the same in all copies that SQLite makes.
_META = """
CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    commits INTEGER NOT NULL,   -- how many transactions there were
    run TEXT NOT NULL,          -- what the log beside the file must say too, to belong to it
    cookie INTEGER NOT NULL,    -- the file's schema_version, which SQLite's own copies change
    identity TEXT NOT NULL,     -- the file beside it that a copy would not have
    coming TEXT NOT NULL,       -- the next such file, while it takes its place
    wall_ns INTEGER NOT NULL,   -- the time line: the same moment on the wall's clock,
    line_ns INTEGER NOT NULL,   -- on the store's, which never goes back,
    boot_ns INTEGER NOT NULL,   -- and since the machine was started,
    boot TEXT NOT NULL          -- which has this name
);
INSERT INTO meta VALUES (1, 0, '', 0, '', '', 0, 0, 0, '');
"""
_INDEX = "CREATE INDEX known_by_time ON known (at_ns);"
_SCHEMA = f"""
PRAGMA auto_vacuum = INCREMENTAL;
BEGIN IMMEDIATE;
{_META}
CREATE TABLE room (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    epoch TEXT NOT NULL,
    head INTEGER NOT NULL
);
CREATE TABLE message (
    room INTEGER NOT NULL REFERENCES room,
    seq INTEGER NOT NULL,
    time_ns INTEGER NOT NULL,   -- by the wall's clock, to be shown
    session TEXT NOT NULL,
    name TEXT NOT NULL,
    key TEXT NOT NULL,
    message TEXT NOT NULL,
    data BLOB NOT NULL,
    at_ns INTEGER NOT NULL DEFAULT 0,   -- on the store's time line, for its age
    PRIMARY KEY (room, seq)
) WITHOUT ROWID;
CREATE TABLE known (
    room INTEGER NOT NULL REFERENCES room,
    key TEXT NOT NULL,
    id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    time_ns INTEGER NOT NULL,
    at_ns INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (room, key, id)
) WITHOUT ROWID;
{_INDEX}
"""
_FROM_VERSION_1 = f"""
BEGIN IMMEDIATE;
DROP INDEX known_by_time;
{_META}
ALTER TABLE message ADD COLUMN at_ns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE known ADD COLUMN at_ns INTEGER NOT NULL DEFAULT 0;
UPDATE message SET at_ns = time_ns;
UPDATE known SET at_ns = time_ns;
{_INDEX}
"""


def prepare(connection: sqlite3.Connection) -> None:
    """Create the tables if there are none, and upgrade those of an earlier version.

    Raises:
        CannotOpen: the file belongs to another program, or to a later version.
    """
    application, version = identify(connection)
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_schema")
    if not tables and not application:
        _change(connection, _SCHEMA)
    elif application != APPLICATION_ID:
        raise CannotOpen("it is a database of another program; name another file")
    elif version == 1:
        # Without a log: a crash must not leave a file with old tables beside a log with new ones.
        connection.execute("PRAGMA journal_mode = DELETE").fetchall()
        _change(connection, _FROM_VERSION_1)
    elif version != VERSION:
        raise CannotOpen(f"its schema has version {version}; this server supports versions up to {VERSION}")


def identify(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the id of the program that a file belongs to, and the version of its tables."""
    ((application,),) = connection.execute("PRAGMA application_id")
    ((version,),) = connection.execute("PRAGMA user_version")
    return application, version


def is_store(connection: sqlite3.Connection) -> bool:
    """Whether the file has the tables of this version."""
    return identify(connection) == (APPLICATION_ID, VERSION)


def _change(connection: sqlite3.Connection, sql: str) -> None:
    cookie = secrets.randbelow(1 << 30) + (1 << 16)
    try:
        connection.executescript(
            f"{sql} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
            f" PRAGMA schema_version = {cookie}; COMMIT;"
        )
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
