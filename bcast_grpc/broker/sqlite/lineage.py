"""Recognises whether a store is the file that the last server wrote, or a copy of it."""

from __future__ import annotations

import logging
import os
import re
import secrets
import sqlite3
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from bcast_grpc.broker.sqlite.birth import born
from bcast_grpc.broker.sqlite.claim import give_away

logger = logging.getLogger(__name__)

NEW_EPOCHS = "UPDATE room SET epoch = lower(hex(randomblob(4)))"
"""Gives every room a new epoch, and keeps its messages."""

_PROGRESS = re.compile(r"(?P<said>(?P<token>\w+) (?P<commits>\d+)) (?P<sum>\w+)\n")


class Mark(NamedTuple):
    """What identifies an identity file. A copy of the file has the same token, but not the rest.

    Attributes:
        token: the file's content.
        inode: its number in the file system.
        born: when it was created. Owner, mode and other times may change; this does not.
    """

    token: str = ""
    inode: str = ""
    born: str = ""

    @classmethod
    def read(cls, text: str) -> Mark:
        """Read back what ``str`` has written."""
        return cls(*text.split()[:3])

    @classmethod
    def of(cls, path: Path) -> Mark:
        """Return the mark of a file; an empty one, which matches nothing, if there is no file."""
        try:
            return cls(path.read_text().strip(), str(path.stat().st_ino), born(path))
        except (OSError, ValueError):
            return cls()

    def __str__(self) -> str:
        return " ".join(self)


class Lineage:
    """Recognises a copy of the store by two files beside it.

    ``PATH-identity`` is created anew at each start, and the store says which file it is. So a copy from an earlier
    start has the wrong one or none, however it was made, even if the identity file was copied too. ``PATH-owner``
    contains the number of the store's transactions: a copy from the same start has fewer. It is written after each
    commit without a sync, so after a power failure it may be behind the store, but never ahead.

    Args:
        path: the store's path.
        owner: the descriptor of ``PATH-owner``.
        transaction: begins a transaction in the store.
    """

    def __init__(
        self, path: Path, owner: int, transaction: Callable[[], AbstractContextManager[sqlite3.Connection]]
    ) -> None:
        self._path = path
        self._identity = Path(f"{path}-identity")
        self._owner_name = f"{path.name}-owner"
        self._owner = owner
        self._transaction = transaction
        self._token = ""
        self._trouble = ""

    def doubt(self, connection: sqlite3.Connection) -> str:
        """Return why the store must be a copy; an empty text if it is not."""
        known, coming, commits = connection.execute("SELECT identity, coming, commits FROM meta").fetchone()
        if not known:
            return ""  # no server has written it yet
        marks = [Mark.read(text) for text in (known, coming) if text]
        found = Mark.of(self._identity)
        if found != marks[0] and found[:2] not in [mark[:2] for mark in marks[1:]]:
            return f"{self._identity.name} is not the file that the last server wrote"
        token, noted = self._read_progress()
        if token not in [mark.token for mark in marks]:
            return f"{self._identity.name.replace('-identity', '-owner')} is not what the last server wrote"
        return f"{noted - commits} of {noted} transactions are missing from it" if noted > commits else ""

    def begin_epochs(self) -> int:
        """Give every room a new epoch, and keep its messages; return how many rooms there are."""
        with self._transaction() as connection:
            return connection.execute(NEW_EPOCHS).rowcount

    def renew(self, commits: int) -> None:
        """Replace the identity file by a new one.

        Wherever a crash interrupts this, the store knows the file that is there.

        Args:
            commits: how many transactions are on the disk.

        Raises:
            OSError: the file cannot be created.
            sqlite3.Error: the store cannot be written.
        """
        made = Path(f"{self._identity}-new")
        made.unlink(missing_ok=True)
        with made.open("x") as file:
            file.write(f"{secrets.token_hex(8)}\n")
            file.flush()
            give_away(file.fileno(), self._path)
            os.fsync(file.fileno())
        with self._transaction() as connection:
            connection.execute("UPDATE meta SET coming = ?", (str(Mark.of(made)),))
        made.replace(self._identity)
        sync_directory(self._identity.parent)
        mark = Mark.of(self._identity)
        self._token = mark.token
        self.note(commits)
        os.fsync(self._owner)
        with self._transaction() as connection:
            connection.execute("UPDATE meta SET identity = ?, coming = ''", (str(mark),))

    def note(self, commits: int) -> None:
        """Note how many transactions are on the disk. A failure is logged, and harmless unless a copy is restored."""
        if not self._token:
            return
        said = f"{self._token} {commits:020d}"
        try:
            os.pwrite(self._owner, f"{said} {_sum(said)}\n".encode(), 0)
            self._trouble = ""
        except OSError as error:
            if self._trouble != str(error):
                self._trouble = str(error)
                logger.warning(
                    "%s cannot be written (%s): if an older copy replaces the store, the next start may not notice",
                    self._owner_name,
                    error.strerror,
                )

    def _read_progress(self) -> tuple[str, int]:
        found = _PROGRESS.fullmatch(os.pread(self._owner, 200, 0).decode(errors="replace"))
        if not found or found["sum"] != _sum(found["said"]):
            return "", 0
        return found["token"], int(found["commits"])


def sync_directory(path: Path) -> None:
    """Sync a directory, so that creating, moving or deleting a file in it survives a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"
