"""SQLite's log beside a store (``PATH-wal``), and whether it belongs to the store."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from bcast_grpc.broker.sqlite.lineage import sync_directory

logger = logging.getLogger(__name__)


class _Signature(NamedTuple):
    """What a file and its log must have in common."""

    run: str
    cookie: int


def set_aside_foreign(path: Path) -> None:
    """Set aside a log that belongs to another file.

    A killed server leaves a log. If the store is then replaced by a copy, SQLite would write that log into the copy and
    damage it. Call this before SQLite opens the file.
    """
    if not is_foreign(path):
        return
    log = Path(f"{path}-wal")
    aside = log.replace(f"{log}-aside")
    Path(f"{path}-shm").unlink(missing_ok=True)
    sync_directory(path.parent)
    logger.warning("%s belongs to the store that was at %s before; it is kept as %s", log.name, path.name, aside)


def is_foreign(path: Path) -> bool:
    """Whether the log beside a file certainly belongs to another file."""
    log = Path(f"{path}-wal")
    if not log.exists() or not log.stat().st_size or not path.exists() or not path.stat().st_size:
        return False
    try:
        with closing(without_log(path)) as file, closing(read_only(path)) as both:
            (cookie,) = file.execute("PRAGMA schema_version").fetchone()
            if not _has_meta(both):
                return False
            (run,) = file.execute("SELECT run FROM meta").fetchone() if _has_meta(file) else ("",)
            logged = _Signature(*both.execute("SELECT run, cookie FROM meta").fetchone())
            return logged != (run, cookie) and file.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
    except sqlite3.Error:
        return False  # opening the file will report what is wrong


def read_only(path: Path) -> sqlite3.Connection:
    """Open a file for reading, with its log."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)


def without_log(path: Path) -> sqlite3.Connection:
    """Open a file for reading as it is, without its log."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True, isolation_level=None)


def _has_meta(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").fetchone() is not None
