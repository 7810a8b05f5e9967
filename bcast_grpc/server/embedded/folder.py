"""The folder of a NATS server that this server starts: its configuration, its password and its data."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
import shutil
import stat
import tempfile
import time
import weakref
from contextlib import suppress
from pathlib import Path

from bcast_grpc.transport.address import CannotStart

logger = logging.getLogger(__name__)

USER = "bcast"

_PREFIX = f"bcast-nats-{os.getuid()}-"
_OWNER = "owner"
_PATIENCE_S = 5.0
_LOOK_S = 0.05
_NEW_S = 60.0
_LEAST_BYTES = 2**20


class Folder:
    """A folder that belongs to one server at a time, which has locked it.

    The lock also lasts while the NATS server runs, which inherits ``lock``: so one that has outlived its server is
    noticed.

    Args:
        path: where it is, made if it is not there; None for one that is removed at the end.

    Attributes:
        path: where it is.
        lasts: whether it outlives the server.
        lock: the descriptor that holds the lock.

    Raises:
        CannotStart: it cannot be used.
    """

    def __init__(self, path: Path | None) -> None:
        self.lasts = path is not None
        try:
            if path is None:
                _remove_leftovers()
                self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
            else:
                self.path = path.absolute()
                self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._check_own()
                if self.path.stat().st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH:
                    logger.warning(
                        "%s: other users may write there, and so change what NATS does: chmod o-w", self.path
                    )
            self.lock = os.open(self.path / _OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            # A server that was made and never started gives it up, too.
            self._give_up = weakref.finalize(self, _give_up, self.lock, None if self.lasts else self.path)
            self._give_up.atexit = False  # at the end of a process that was forked it would be too much
            self._take()
        except OSError as error:
            raise CannotStart(
                f"store=nats:embedded: the folder {path or tempfile.gettempdir()} cannot be used: {error.strerror}"
            ) from None

    @property
    def password(self) -> Path:
        """The file with the password of ``USER``."""
        return self.path / "password"

    @property
    def configuration(self) -> Path:
        """The file of the configuration."""
        return self.path / "nats.conf"

    @property
    def free_bytes(self) -> int:
        """How much room there is; 0 if nobody can say."""
        try:
            return shutil.disk_usage(self.path).free
        except OSError:
            return 0

    def write(self, port: int, max_payload: int) -> None:
        """Write a configuration with a new password, which only this user can read.

        Args:
            port: where NATS listens, on loopback only.
            max_payload: the largest record that it takes.

        Raises:
            CannotStart: it cannot be written.
        """
        password = secrets.token_urlsafe(32)
        data = json.dumps(str(self._data), ensure_ascii=False)
        sync = ", sync_interval: always" if self.lasts else ""  # what is acknowledged outlives a power failure
        try:
            _write_secret(self.password, f"{password}\n")
            _write_secret(
                self.configuration,
                f'server_name: "{USER}"\n'
                f'listen: "127.0.0.1:{port}"\n'
                f"max_payload: {max_payload}\n"
                "logtime: false\n"
                f'authorization {{ user: "{USER}", password: "{password}" }}\n'
                f"jetstream {{ store_dir: {data}, max_mem: 64MB, max_file: {self._most_bytes()}{sync} }}\n",
            )
        except OSError as error:
            raise CannotStart(f"store=nats:embedded: {self.path} cannot be written: {error.strerror}") from None

    @property
    def _data(self) -> Path:
        return self.path / "data"

    def _most_bytes(self) -> int:
        """Return how many bytes the log may take: what it takes, and most of what is free.

        Versions before 2.15 count what is there already as if it were to fit into what is free as well.
        """
        taken = sum(file.stat().st_size for file in self._data.rglob("*") if file.is_file())
        return taken + max(_LEAST_BYTES, self.free_bytes * 9 // 10)

    def close(self) -> None:
        """Give the folder up; one that does not last is removed. May be called again."""
        self._give_up()

    def _check_own(self) -> None:
        """Keep from filling a folder that was meant for something else."""
        if not (self.path / _OWNER).exists() and any(self.path.iterdir()):
            raise CannotStart(f"store=nats:embedded:{self.path}: must be a new or empty folder, or a store of before")

    def _take(self) -> None:
        """Lock the folder; wait a little for a server that is just ending."""
        until = time.monotonic() + _PATIENCE_S
        while not _try_lock(self.lock):
            if time.monotonic() > until:
                owner = os.pread(self.lock, 32, 0).decode(errors="replace").strip()
                raise CannotStart(
                    f"store=nats:embedded:{self.path}: another server uses this folder, process {owner or 'unknown'},"
                    " or a nats-server that it has left"
                )
            time.sleep(_LOOK_S)
        os.ftruncate(self.lock, 0)
        os.pwrite(self.lock, f"{os.getpid()}\n".encode(), 0)


def _give_up(lock: int, removed: Path | None) -> None:
    if removed:
        shutil.rmtree(removed, ignore_errors=True)
    os.close(lock)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_leftovers() -> None:
    """Remove folders of servers that were killed."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if left.lstat().st_uid != os.getuid():
                continue  # somebody else's, whatever is in it
            descriptor = os.open(left / _OWNER, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                found = os.fstat(descriptor)
                is_old = time.time() - found.st_mtime > _NEW_S  # one that is being made is not locked yet
                if is_old and found.st_uid == os.getuid() and _try_lock(descriptor):
                    shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(descriptor)


def _write_secret(file: Path, text: str) -> None:
    with suppress(FileNotFoundError):
        file.unlink()  # it may have other rights
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(text)
