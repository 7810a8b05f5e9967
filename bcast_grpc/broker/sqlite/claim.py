"""Makes sure that only one server uses a file, by whatever name, and that the name still leads to the file."""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
from pathlib import Path
from typing import TypeAlias

from bcast_grpc.broker.base import CannotOpen
from bcast_grpc.broker.sqlite.faults import FileGone, InUse

if sys.platform != "win32":
    import fcntl

_FileId: TypeAlias = tuple[int, int]

BESIDE = ("-wal", "-shm", "-journal", "-owner", "-identity")
"""The suffixes of the names of the files beside a store."""

_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
_PATIENCE_S = 0.2
_IN_USE = "another server uses it"
_claimed: set[_FileId] = set()
_claiming = threading.Lock()


class Claim:
    """Excludes all other servers from a file, until it is closed.

    It holds two locks: one on ``PATH-owner``, because SQLite finds its log by the file's name, and one on the file
    itself, because other names (hard links, bind mounts) may lead to it.

    SQLite's own locks on a file are lost as soon as any descriptor of it is closed in the same process. So the
    descriptor that holds the lock is opened before SQLite opens the file, and closed after SQLite has closed it.

    Args:
        path: the path as it was given; symbolic links are followed.

    Attributes:
        path: the real path of the file.
        owner: a descriptor of ``PATH-owner``.
        descriptor: a descriptor of the file itself.

    Raises:
        CannotOpen: another server uses the file, or the path is not that of a usable file.
    """

    def __init__(self, path: Path) -> None:
        self._given = path.absolute()
        self.path = Path(os.path.realpath(path))
        _check_name(self.path)
        self.owner = _open_owner(self.path)
        try:
            self.descriptor, self._id = _lock_file(self.path)
        except BaseException:
            os.close(self.owner)
            raise
        self._files: dict[Path, _FileId] = {}

    def watch(self) -> None:
        """Note which files SQLite has opened, for ``check``."""
        logs = [Path(f"{self.path}{end}") for end in ("-wal", "-shm")]
        self._files = {self._given: self._id, self.path: self._id, **{log: _id_of(log.stat()) for log in logs}}

    def check(self) -> None:
        """Check that the next start would find what is written now. Cost: some microseconds.

        Raises:
            FileGone: it would not, because a name leads to another file or to none.
        """
        for name, known in self._files.items():
            try:
                found = _id_of(name.stat())
            except OSError:
                raise FileGone(f"{name} was removed or moved away; put it back, or restart the server") from None
            if found != known:
                raise FileGone(f"{name} was replaced; put the old file back, or restart the server to use the new one")

    def close(self) -> None:
        """Let other servers use the file. Call this when SQLite has closed it."""
        with _claiming:
            _claimed.discard(self._id)
            os.close(self.descriptor)
        os.close(self.owner)


def is_in_use(path: Path) -> bool:
    """Whether a server uses a file."""
    for name in (path, Path(f"{path}-owner")):
        if name.exists():
            descriptor = os.open(name, os.O_RDONLY)
            try:
                if not _lock(descriptor, patience_s=0):
                    return True
            finally:
                os.close(descriptor)
    return False


def _check_name(path: Path) -> None:
    if path.is_dir():
        raise CannotOpen(f"it is a directory; name a file in it: sqlite:{path / 'chat.db'}")
    if path.exists() and not path.is_file():
        raise CannotOpen("it is a device, a pipe or a socket; name a regular file")
    for end in BESIDE:
        if path.name.endswith(end):
            raise CannotOpen(f"names ending in {end} are reserved for the files beside a store; choose another name")


def _open_owner(path: Path) -> int:
    try:
        owner = os.open(f"{path}-owner", _FLAGS, 0o644)
        give_away(owner, path)
    except OSError as error:
        raise CannotOpen(f"{error.strerror}; its directory must exist and be writable") from None
    if not _lock(owner):
        os.close(owner)
        raise InUse(_IN_USE)
    return owner


def _lock_file(path: Path) -> tuple[int, _FileId]:
    """Open the file, or create it, and lock it."""
    with _claiming:
        if path.exists() and _id_of(path.stat()) in _claimed:
            raise InUse(_IN_USE)
        descriptor = os.open(path, _FLAGS, 0o644)
        try:
            # Elsewhere than on Linux this would be the same lock as SQLite's own.
            if sys.platform == "linux" and not _lock(descriptor):
                raise InUse(_IN_USE)
            found = os.fstat(descriptor)
            _check_links(found)
        except BaseException:
            os.close(descriptor)
            raise
        _claimed.add(_id_of(found))
    return descriptor, _id_of(found)


def _check_links(found: os.stat_result) -> None:
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
        raise CannotOpen(
            f"it has {found.st_nlink} names (hard links), and the newest messages are in a log beside one of them;"
            " keep that name and remove the others"
        )


def give_away(descriptor: int, path: Path) -> None:
    """Give a file beside a store to the store's owner, if the superuser created it."""
    if sys.platform != "win32" and os.geteuid() == 0 and path.exists():
        found = path.stat()
        os.fchown(descriptor, found.st_uid, found.st_gid)


def _lock(descriptor: int, patience_s: float = _PATIENCE_S) -> bool:
    """Lock a file; return False if another process holds the lock for longer than ``is_in_use`` would."""
    until = time.monotonic() + patience_s
    while sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(_PATIENCE_S / 10)
    return True


def _id_of(found: os.stat_result) -> _FileId:
    return found.st_dev, found.st_ino
