"""The errors of a store, in plain words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bcast_grpc.broker.base import CannotOpen
from bcast_grpc.errors import CallError, ErrorCode


class InUse(CannotOpen):
    """A server uses the file."""


class Damaged(CannotOpen):
    """SQLite cannot read the file."""


class FileGone(Exception):
    """The name of the open file now leads to another file, or to none."""


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Name the file in errors.

    Raises:
        CannotOpen: in place of errors of SQLite and of the system.
    """
    try:
        yield
    except CannotOpen as error:
        raise type(error)(f"the store {path} cannot be used: {error}") from None
    except (sqlite3.Error, OSError) as error:
        kind = Damaged if _name(error).startswith("SQLITE_CORRUPT") else CannotOpen
        raise kind(f"the store {path} cannot be used: {plainly(error)}") from None


def plainly(error: BaseException) -> str:
    """Return what is wrong, and what would help."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    code = _name(error)
    if code.startswith("SQLITE_BUSY"):
        return "another program has locked it"
    if code.startswith("SQLITE_FULL"):
        return "the disk is full"
    if code.startswith("SQLITE_NOTADB"):
        return "it is not an SQLite database"
    if code.startswith("SQLITE_CORRUPT"):
        return "it is damaged; restore a backup, or move it away to start with an empty store"
    return str(error)


def _name(error: BaseException) -> str:
    return getattr(error, "sqlite_errorname", "") or ""


def unavailable(error: BaseException) -> CallError:
    """Return the error for a client, which may try again."""
    return CallError(ErrorCode.BROKER_UNAVAILABLE, f"the store cannot be used: {plainly(error)}")
