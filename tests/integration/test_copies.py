"""A copy of a store that is put in its place begins new epochs; whatever else happens to a store does not."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing import Pipe
from pathlib import Path
from typing import NamedTuple

import pytest

from bcast_grpc.broker.sqlite import lineage
from bcast_grpc.broker.sqlite.claim import BESIDE
from tests.forked import fork

from .holder import hold as hold_store

FILES = ["", *BESIDE]


class Said(NamedTuple):
    """What a holder says of its order."""

    epoch: str
    head: int
    first: int


class Holder:
    """A process that holds a store.

    Attributes:
        epoch, head: as it found them.
    """

    def __init__(self, path: Path, stderr: Path) -> None:
        self._line, theirs = Pipe()
        self._process = fork(hold_store, str(path), theirs, str(stderr))
        theirs.close()
        self._stderr = stderr
        self.epoch, self.head, _ = self.publish(0)

    def publish(self, count: int) -> Said:
        """Have messages written."""
        self._line.send(count)
        return Said(*self._line.recv())

    def end(self, how: signal.Signals) -> list[str]:
        """End it, in peace (``SIGTERM``) or not; return what it wrote on stderr."""
        if how is signal.SIGKILL:
            self._process.kill()
        self._line.close()
        self._process.join(60)
        return self._stderr.read_text().splitlines()


Hold = Callable[[Path], Holder]
KILL, TERM = signal.SIGKILL, signal.SIGTERM


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Hold]:
    """Start holders; at the end none is left."""
    holders: list[Holder] = []

    def start(path: Path) -> Holder:
        holders.append(Holder(path, tmp_path / f"stderr {len(holders)}"))
        return holders[-1]

    yield start
    for holder in holders:
        holder.end(KILL)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where the store is."""
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "chat.db"


# --- ways to copy, and to put back


def backup(store: Path, copy: Path) -> None:
    """``sqlite3 chat.db ".backup copy"``."""
    with closing(sqlite3.connect(store)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def vacuum(store: Path, copy: Path) -> None:
    """``VACUUM INTO``."""
    with closing(sqlite3.connect(store)) as source:
        source.execute("VACUUM INTO ?", (str(copy),))


def cp_file(store: Path, copy: Path) -> None:
    """``cp`` of the file alone."""
    shutil.copyfile(store, copy)


def cp_logged(store: Path, copy: Path) -> None:
    """``cp`` of the file and its log."""
    for end in ("", "-wal", "-shm"):
        if Path(f"{store}{end}").exists():
            shutil.copyfile(f"{store}{end}", f"{copy}{end}")


def cp_all(store: Path, copy: Path) -> None:
    """``cp -a`` of all files."""
    for end in FILES:
        if Path(f"{store}{end}").exists():
            shutil.copy2(f"{store}{end}", f"{copy}{end}")


def over(copy: Path, store: Path) -> Path:
    """``cp`` over what is there."""
    for end in FILES:
        if Path(f"{copy}{end}").exists():
            shutil.copyfile(f"{copy}{end}", f"{store}{end}")
            shutil.copystat(f"{copy}{end}", f"{store}{end}")
    return store


def anew(copy: Path, store: Path) -> Path:
    """``rm`` of all files, then ``cp -a``."""
    for end in FILES:
        Path(f"{store}{end}").unlink(missing_ok=True)
    return over(copy, store)


def moved(copy: Path, store: Path) -> Path:
    """``mv`` over what is there."""
    for end in FILES:
        if Path(f"{copy}{end}").exists():
            Path(f"{copy}{end}").replace(f"{store}{end}")
    return store


def elsewhere(copy: Path, store: Path) -> Path:
    """Leave it where it is."""
    return copy


@pytest.mark.parametrize("how", [TERM, KILL])
@pytest.mark.parametrize("put", [over, anew, moved, elsewhere])
@pytest.mark.parametrize("make", [backup, vacuum])
def test_a_copy_that_was_made_while_a_server_ran(
    hold: Hold, store: Path, make: Callable[..., None], put: Callable[[Path, Path], Path], how: signal.Signals
) -> None:
    """It begins new epochs, once; it has what it had, and none of what came later, whatever log lies there."""
    copy = store.parent.parent / "copy.db"
    holder = hold(store)
    before = holder.publish(10)
    make(store, copy)
    assert holder.publish(10).head == 20
    holder.end(how)
    again = hold(put(copy, store))
    assert (again.head, again.epoch == before.epoch) == (10, False)
    assert again.publish(5).head == 15
    warnings = again.end(KILL)
    assert len([line for line in warnings if "is a copy" in line]) == 1
    third = hold(put(copy, store) if put is elsewhere else store)
    assert (third.epoch, third.head) == (again.epoch, 15)
    assert check(store) == "ok"


@pytest.mark.parametrize("how", [TERM, KILL])
@pytest.mark.parametrize("put", [over, anew, moved, elsewhere])
@pytest.mark.parametrize("make", [cp_file, cp_logged, cp_all])
def test_a_copy_of_a_stopped_servers_files(
    hold: Hold, store: Path, make: Callable[..., None], put: Callable[[Path, Path], Path], how: signal.Signals
) -> None:
    """The same. What is in a log that was copied too is there; what is in one that was not is lost."""
    copy = store.parent.parent / "copy.db"
    first = hold(store)
    before = first.publish(10)
    first.end(how)
    make(store, copy)
    second = hold(store)
    assert second.epoch == before.epoch
    assert second.publish(10).head == 20
    second.end(how)
    third = hold(put(copy, store))
    assert third.epoch != before.epoch
    assert third.head == (0 if make is cp_file and how is KILL else 10)
    expected = third.publish(5)
    third.end(how)
    fourth = hold(put(copy, store) if put is elsewhere else store)
    assert (fourth.epoch, fourth.head) == expected[:2]
    assert check(store) == "ok"


def check(path: Path) -> str:
    """Look whether a database is whole."""
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])


# --- what is no copy


def touch(store: Path) -> None:
    """Change owner, mode and times of all files."""
    for end in FILES:
        if Path(f"{store}{end}").exists():
            os.chmod(f"{store}{end}", 0o660)  # noqa: PTH101
            os.utime(f"{store}{end}", (1, 1))
            if os.geteuid() == 0:
                os.chown(f"{store}{end}", 12345, 12345)


def nothing(store: Path) -> None:
    """Leave all as it is."""


def move_directory(store: Path) -> None:
    """Move all files together, and back."""
    store.parent.rename(store.parent.with_name("moved")).rename(store.parent)


def lose_power(store: Path) -> None:
    """Lose what was not synced: how far the server got."""
    owner = Path(f"{store}-owner")
    token, _, _ = owner.read_text().split()
    said = f"{token} {1:020d}"
    owner.write_text(f"{said} {lineage._sum(said)}\n")


def forget_log(store: Path) -> None:
    """Open it with another program, which tidies up."""
    check(store)


@pytest.mark.parametrize("how", [TERM, KILL])
@pytest.mark.parametrize("do", [nothing, touch, move_directory, lose_power, forget_log])
def test_what_is_no_copy(hold: Hold, store: Path, do: Callable[[Path], None], how: signal.Signals) -> None:
    """A restart, a kill, other owners and modes, a directory that is moved: the epoch stays."""
    first = hold(store)
    before = first.publish(10)
    for count in (1, 2):
        first.end(how)
        do(store)
        first = hold(store)
        assert (first.epoch, first.head) == (before.epoch, 9 + count)
        first.publish(1)


@pytest.mark.parametrize("end", ["-owner", "-identity"])
def test_without_its_files_a_store_counts_as_a_copy(hold: Hold, store: Path, end: str) -> None:
    """Nothing shows that it is none, and to hear something twice is better than not to hear it."""
    first = hold(store)
    before = first.publish(10)
    first.end(TERM)
    Path(f"{store}{end}").unlink()
    second = hold(store)
    assert (second.epoch == before.epoch, second.head) == (False, 10)


def test_a_log_that_was_deleted(hold: Hold, store: Path) -> None:
    """What was acknowledged is gone: the epoch is another."""
    first = hold(store)
    before = first.publish(10)
    first.end(KILL)
    Path(f"{store}-wal").unlink()
    assert hold(store).epoch != before.epoch
