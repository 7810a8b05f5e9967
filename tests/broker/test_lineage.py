"""Where a store comes from: what the next start makes of one that was cut off, copied or made by an earlier version."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from bcast_grpc.broker.base import CannotOpen
from bcast_grpc.broker.sqlite import SqliteBroker
from bcast_grpc.broker.sqlite.claim import BESIDE
from bcast_grpc.broker.sqlite.file import StoreFile
from bcast_grpc.broker.sqlite.lineage import Lineage

from .desk import Desk, kept
from .kinds import KEEPING, ManualClock, Room, entries, wait

VERSION_1 = """
PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;
CREATE TABLE room (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, epoch TEXT NOT NULL, head INTEGER NOT NULL);
CREATE TABLE message (
    room INTEGER NOT NULL REFERENCES room, seq INTEGER NOT NULL, time_ns INTEGER NOT NULL, session TEXT NOT NULL,
    name TEXT NOT NULL, key TEXT NOT NULL, message TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY (room, seq)
) WITHOUT ROWID;
CREATE TABLE known (
    room INTEGER NOT NULL REFERENCES room, key TEXT NOT NULL, id TEXT NOT NULL, seq INTEGER NOT NULL,
    time_ns INTEGER NOT NULL, PRIMARY KEY (room, key, id)
) WITHOUT ROWID;
CREATE INDEX known_by_time ON known (time_ns);
PRAGMA application_id = 1650680179; PRAGMA user_version = 1;
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where the store is."""
    return tmp_path / "chat.db"


def write(store: Path, *texts: str) -> str:
    """Write messages; return the epoch."""
    with closing(Desk(SqliteBroker(store, KEEPING, ManualClock()))) as broker:
        order = broker.open("lobby", Room())
        broker.publish("lobby", entries(*texts))
        wait(broker)
        return order.epoch


def cut(nth: int, original: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    """Make a function that fails from a call on."""
    calls = 0

    def call(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > nth:
            raise error
        return original(*arguments, **options)

    return call


@pytest.mark.parametrize("nth", range(5))
@pytest.mark.parametrize(
    ("owner", "name", "error"),
    [
        (os, "fsync", OSError("cut off")),
        (Path, "replace", OSError("cut off")),
        (StoreFile, "_commit", sqlite3.OperationalError("cut off")),
        (Lineage, "note", OSError("cut off")),
    ],
)
def test_a_start_that_is_cut_off(
    store: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, error: Exception, nth: int
) -> None:
    """Wherever that is, the next start goes on with the same epoch."""
    epoch = write(store, "a", "b")
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, cut(nth, getattr(owner, name), error))
        with suppress(CannotOpen):
            Desk(SqliteBroker(store, KEEPING, ManualClock())).close()
    with closing(Desk(SqliteBroker(store, KEEPING, ManualClock()))) as broker:
        order = broker.open("lobby", Room())
        assert (order.epoch, len(kept(order))) == (epoch, 2)


def test_a_copy_of_a_running_servers_files_put_back_over_them(store: Path) -> None:
    """It is found out once the server has renewed the identity, as it does each minute while something is written."""
    files = [Path(f"{store}{end}") for end in ("", *BESIDE) if end != "-journal"]
    with closing(Desk(SqliteBroker(store, KEEPING, ManualClock()))) as broker:
        order = broker.open("lobby", Room())
        broker.publish("lobby", entries("a"))
        wait(broker)
        for file in files:
            shutil.copy2(file, f"{file}.copy")
        broker.publish("lobby", entries("b"))
        broker.broker._writer.add(broker.broker._file.renew)
        wait(broker)
    for file in files:
        shutil.copyfile(f"{file}.copy", file)
    with closing(Desk(SqliteBroker(store, KEEPING, ManualClock()))) as broker:
        again = broker.open("lobby", Room())
        assert (again.epoch == order.epoch, len(kept(again))) == (False, 1)


def test_where_it_cannot_be_noted_how_far_the_store_has_come(
    store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is written is acknowledged all the same, and one line says what may follow."""
    with closing(Desk(SqliteBroker(store, KEEPING, ManualClock()))) as broker:
        room = Room()
        broker.open("lobby", room)
        monkeypatch.setattr(os, "pwrite", cut(0, os.pwrite, OSError(28, "No space left on device")))
        for text in "ab":
            broker.publish("lobby", entries(text))
            wait(broker)
    assert [event.seq for event in room.events] == [1, 2]
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line.startswith("chat.db-owner cannot be written (No space left on device)")


def test_a_backup_that_is_restored_into_a_store_that_is_used(store: Path) -> None:
    """As by ``sqlite3 chat.db ".restore backup.db"``: nothing is acknowledged on top of it, and epochs are new then."""
    with closing(Desk(SqliteBroker(store, KEEPING, ManualClock()))) as broker:
        room = Room()
        order = broker.open("lobby", room)
        broker.publish("lobby", entries("a"))
        wait(broker)
        with closing(sqlite3.connect(store)) as live, closing(sqlite3.connect(f"{store}.backup")) as backup:
            live.backup(backup)
            broker.publish("lobby", entries("b"))
            wait(broker)
            backup.backup(live)
        broker.publish("lobby", entries("c"))
        wait(broker)
        assert [entry.id for entry, _ in room.refused_entries] == ["id c"]
    with closing(Desk(SqliteBroker(store, KEEPING, ManualClock()))) as broker:
        again = broker.open("lobby", Room())
        assert (again.epoch == order.epoch, [event.message for event in kept(again)]) == (False, ["ana: a"])


@pytest.mark.parametrize("killed", [False, True])
def test_a_store_of_version_1(store: Path, killed: bool) -> None:
    """It is brought up to the version of today, with all that it has, and is no copy."""
    clock = ManualClock()
    now_ns = clock.wall_ns()
    old = sqlite3.connect(store, isolation_level=None)
    old.executescript(VERSION_1)
    old.execute("INSERT INTO room VALUES (1, 'lobby', 'old', 2)")
    for seq in (1, 2):
        message = (1, seq, now_ns - 10**9, "session", "ana", "key", f"ana: {seq}", b"")
        old.execute("INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?)", message)
    old.execute("INSERT INTO known VALUES (1, 'key', 'id 2', 2, ?)", (now_ns - 10**9,))
    if killed:
        for end in ("", "-wal"):
            shutil.copyfile(f"{store}{end}", f"{store}2{end}")
        store = Path(f"{store}2")
    old.close()
    for _ in range(2):
        with closing(Desk(SqliteBroker(store, KEEPING, clock))) as broker:
            room = Room()
            order = broker.open("lobby", room)
            broker.publish("lobby", entries("2"))
            wait(broker)
            assert (order.epoch, [event.message for event in kept(order)]) == ("old", ["ana: 1", "ana: 2"])
            assert [place.seq for _, place in room.repeated_entries] == [2]
