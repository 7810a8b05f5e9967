"""Copy a store, even while a server writes to it."""

from __future__ import annotations

import os
import secrets
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from bcast_grpc.broker.base import CannotOpen
from bcast_grpc.broker.sqlite.claim import is_in_use
from bcast_grpc.broker.sqlite.faults import plainly
from bcast_grpc.broker.sqlite.lineage import sync_directory
from bcast_grpc.store.reading import reading

_LOGS = ("-wal", "-shm", "-journal")


class CannotWrite(Exception):
    """The copy could not be written; nothing of it is left."""


def copy(source: Path, target: Path, *, overwrite: bool = False) -> int:
    """Copy a store as it is at one moment; return the size of the copy in bytes.

    The copy is one step, so that it ends however often the store is written. It gets its name when it is complete,
    checked and on the disk. A server that starts with it begins new epochs.

    Raises:
        CannotOpen: there is no store to copy, or ``target`` may not be replaced.
        CannotWrite: the copy cannot be written, for example because the disk is full.
    """
    target = Path(os.path.realpath(target))
    _check_target(source, target, overwrite=overwrite)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    with reading(source) as connection:
        try:
            _write(connection, partial)
            _let_belong(partial, target if target.exists() else source)
            return _put(partial, target, overwrite=overwrite)
        except FileExistsError:
            raise CannotOpen(_there(target)) from None
        except (sqlite3.Error, OSError) as error:
            raise CannotWrite(f"{target} cannot be written: {plainly(error)}") from None
        finally:
            for end in ("", *_LOGS):
                Path(f"{partial}{end}").unlink(missing_ok=True)


def _check_target(source: Path, target: Path, *, overwrite: bool) -> None:
    if target.is_dir():
        raise CannotOpen(f"{target} is a directory; name a file in it: {target / source.name}")
    if not target.parent.is_dir():
        raise CannotOpen(f"{target} cannot be written: the directory {target.parent} does not exist")
    if not target.exists():
        return
    if source.exists() and target.samefile(source):
        raise CannotOpen(f"{target} is the store itself; name another file")
    if not overwrite:
        raise CannotOpen(_there(target))
    if is_in_use(target):
        raise CannotOpen(f"{target} is used by a server; stop it first")


def _there(target: Path) -> str:
    return f"{target} exists already; --overwrite replaces it"


def _write(connection: sqlite3.Connection, partial: Path) -> None:
    with closing(sqlite3.connect(partial, isolation_level=None)) as made:
        made.execute("PRAGMA synchronous = OFF")  # all of it is synced at the end
        connection.backup(made, pages=-1)
        made.execute("PRAGMA journal_mode = DELETE").fetchall()
        made.execute("UPDATE meta SET identity = 'copy', coming = ''")
        ((found,),) = made.execute("PRAGMA quick_check(1)")
        if found != "ok":
            raise sqlite3.DatabaseError(f"the store is damaged ({found})")
    with partial.open("rb+") as file:
        os.fsync(file.fileno())


def _let_belong(partial: Path, like: Path) -> None:
    """Give a file the mode of another one, and its owner where that is possible."""
    found = like.stat()
    partial.chmod(found.st_mode & 0o777)
    if sys.platform != "win32" and os.geteuid() == 0:
        os.chown(partial, found.st_uid, found.st_gid)


def _put(partial: Path, target: Path, *, overwrite: bool) -> int:
    size = partial.stat().st_size
    if overwrite:
        partial.replace(target)
        for end in _LOGS:  # they belonged to the replaced file
            Path(f"{target}{end}").unlink(missing_ok=True)
    else:
        target.hardlink_to(partial)  # unlike a rename it replaces nothing
    sync_directory(target.parent)
    return size
