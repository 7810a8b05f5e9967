"""``python -m bcast_grpc.store``: copies that end beside any load, and what is said of a store."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from bcast_grpc.broker.sqlite import SqliteBroker
from bcast_grpc.store.cli import run
from tests.broker.desk import Desk, kept
from tests.broker.kinds import KEEPING, ManualClock, Room, entries, wait


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where the store is."""
    return tmp_path / "chat.db"


@contextmanager
def served(store: Path, *texts: str) -> Iterator[Desk[SqliteBroker]]:
    """A store with messages in it that a server has open."""
    with closing(Desk(SqliteBroker(store, KEEPING, ManualClock()))) as broker:
        broker.open("lobby", Room())
        broker.publish("lobby", entries(*texts))
        wait(broker)
        yield broker


@contextmanager
def written(broker: Desk[SqliteBroker], at_once: int) -> Iterator[list[int]]:
    """Have a store written without a pause; what is given counts the messages."""
    ended, count = threading.Event(), [0]

    def write() -> None:
        while not ended.is_set():
            broker.publish("lobby", entries(*(f"{count[0] + n}" for n in range(at_once))))
            wait(broker)
            count[0] += at_once

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield count
    finally:
        ended.set()
        thread.join()


def texts_in(store: Path) -> list[str]:
    """What a server finds in a store."""
    with closing(Desk(SqliteBroker(store, KEEPING, ManualClock()))) as broker:
        return [event.message for event in kept(broker.open("lobby", Room()))]


# --- copy


@pytest.mark.parametrize("at_once", [1, 100])
def test_a_copy_ends_beside_any_load(store: Path, capsys: pytest.CaptureFixture[str], at_once: int) -> None:
    """It is the store of one moment: all that was acknowledged before it began, and no part of a transaction."""
    copy = store.with_name("copy.db")
    with served(store, *(f"before {n}" for n in range(500))) as broker, written(broker, at_once) as count:
        for turn in range(5):
            acknowledged = count[0]
            assert run(["copy", str(store), str(copy), *(["--overwrite"] if turn else [])]) == 0
            with closing(sqlite3.connect(copy)) as connection:
                ((head, messages),) = connection.execute("SELECT max(seq), count(*) FROM message")
            assert head >= 500 + acknowledged
            assert head % at_once == 0
            assert min(head, 1000) <= messages <= 1000 + 2 * at_once
    assert run(["check", str(copy)]) == 0
    assert "no damage" in capsys.readouterr().out


def test_a_copy_begins_new_epochs(store: Path) -> None:
    """Also where it takes the place of a store from which nothing is missing."""
    copy = store.with_name("copy.db")
    with served(store, "a", "b") as broker:
        epoch = broker.open("lobby", Room()).epoch
        assert run(["copy", f"sqlite:{store}", str(copy)]) == 0
    assert run(["copy", str(copy), str(store), "--overwrite"]) == 0
    with closing(Desk(SqliteBroker(store, KEEPING, ManualClock()))) as broker:
        order = broker.open("lobby", Room())
        assert (order.epoch == epoch, len(kept(order))) == (False, 2)


def test_a_copy_replaces_nothing_unless_it_is_told_to(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is there stays as it is, and nothing is left of the try."""
    copy = store.with_name("copy.db")
    copy.write_text("something else")
    with served(store, "a"):
        assert run(["copy", str(store), str(copy)]) == 2
        assert capsys.readouterr().err == f"{copy} exists already; --overwrite replaces it\n"
        assert copy.read_text() == "something else"
        assert run(["copy", str(store), str(copy), "--overwrite"]) == 0
    assert texts_in(copy) == ["ana: a"]
    assert not list(store.parent.glob(".*"))


def test_a_copy_over_a_store_removes_the_log_that_was_its(store: Path) -> None:
    """Else other programs would write that log into the copy."""
    copy = store.with_name("copy.db")
    Path(f"{copy}-wal").write_bytes(b"x")
    copy.touch()
    with served(store, "a"):
        assert run(["copy", str(store), str(copy), "--overwrite"]) == 0
    assert not Path(f"{copy}-wal").exists()


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ("none.db", "copy.db", "none.db cannot be used: there is no such file"),
        ("chat.db", "", "is a directory; name a file in it: "),
        ("chat.db", "no/copy.db", "cannot be written: the directory "),
        ("chat.db", "chat.db", "is the store itself"),
        ("chat.db", "other.db", "is used by a server; stop it first"),
        ("text", "copy.db", "it is not an SQLite database"),
        ("empty.db", "copy.db", "it is not a store"),
    ],
)
def test_copies_that_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, target: str, says: str
) -> None:
    """One line says why, with 2."""
    (tmp_path / "text").write_text("no database" * 1000)
    sqlite3.connect(tmp_path / "empty.db").close()
    (tmp_path / "empty.db").touch()
    with served(tmp_path / "chat.db", "a"), served(tmp_path / "other.db", "a"):
        assert run(["copy", str(tmp_path / source), f"{tmp_path}/{target}", "--overwrite"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


def test_a_copy_on_a_full_disk(store: Path, tmp_path: Path) -> None:
    """It ends with 1 and a line, and nothing of it is left; what was there before is."""
    copy = tmp_path / "to" / "copy.db"
    copy.parent.mkdir()
    copy.write_text("before")
    with served(store, *(f"{n} {'x' * 1000}" for n in range(200))):
        command = f'ulimit -f 20; trap "" XFSZ; exec "{sys.executable}" -m bcast_grpc.store copy "$0" "$1" --overwrite'
        outcome = subprocess.run(
            ["sh", "-c", command, str(store), str(copy)], capture_output=True, text=True, timeout=60, check=False
        )
    assert (outcome.returncode, outcome.stdout, len(outcome.stderr.splitlines())) == (1, "", 1)
    assert "cannot be written" in outcome.stderr
    assert [(file.name, file.read_text()) for file in copy.parent.iterdir()] == [("copy.db", "before")]


def test_a_copy_belongs_to_whom_the_store_belongs(store: Path) -> None:
    """Its mode is the store's, and so is its owner where the superuser makes it."""
    copy = store.with_name("copy.db")
    with served(store, "a"):
        pass
    store.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(store, 12345, 12345)
    assert run(["copy", str(store), str(copy)]) == 0
    found = copy.stat()
    assert (found.st_mode & 0o777, found.st_uid) == (0o600, store.stat().st_uid)


# --- info


@pytest.mark.parametrize("running", [False, True])
def test_info(store: Path, capsys: pytest.CaptureFixture[str], running: bool) -> None:
    """Rooms, counts, sizes, epochs and times: for people and for programs."""
    with served(store, "a", "b") as broker:
        epoch = broker.open("lobby", Room()).epoch
        broker.open("\x1b[2J", Room())
        broker.publish("\x1b[2J", entries("c"))
        wait(broker)
        if running:
            assert run(["info", str(store), "--json"]) == 0
            assert run(["info", str(store)]) == 0
    if not running:
        assert run(["info", str(store), "--json"]) == 0
        assert run(["info", str(store)]) == 0
    line, *text = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert (found["in_use"], found["messages"], found["ids"], len(found["rooms"])) == (running, 3, 3, 2)
    (lobby,) = [room for room in found["rooms"] if room["room"] == "lobby"]
    assert {name: lobby[name] for name in ("epoch", "head", "messages", "bytes", "ids")} == {
        "epoch": epoch,
        "head": 2,
        "messages": 2,
        "bytes": 14,
        "ids": 2,
    }
    assert lobby["oldest"] <= lobby["newest"]
    assert f"chat.db: 2 rooms, 3 messages, 3 ids; {found['bytes']} bytes" in text[0]
    assert ("a server uses it" in text[0], "no server uses it" in text[0]) == (running, not running)
    assert any(row.split()[:3] == ["lobby", epoch, "2"] for row in text)
    assert not any("\x1b" in row for row in text)


def test_info_into_a_pipe_that_is_closed(store: Path) -> None:
    """It ends quietly."""
    with served(store, "a"):
        command = '"$0" -m bcast_grpc.store info "$1" | true'
        outcome = subprocess.run(
            ["sh", "-c", command, sys.executable, str(store)], capture_output=True, text=True, timeout=60, check=False
        )
    assert outcome.stderr == ""


# --- check


@pytest.mark.parametrize("running", [False, True])
def test_a_store_that_is_whole(store: Path, capsys: pytest.CaptureFixture[str], running: bool) -> None:
    """That is said, with 0."""
    with served(store, "a", "b"):
        if running:
            assert run(["check", str(store)]) == 0
    if not running:
        assert run(["check", str(store)]) == 0
    assert capsys.readouterr().out == f"{store}: no damage\n"


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("DELETE FROM message WHERE seq = 2", "room lobby: of the messages 1 to 3, 1 are missing"),
        ("DELETE FROM message WHERE seq = 3", "room lobby: its last message is 2, but its head is 3"),
        ("UPDATE room SET head = 2", "room lobby: its last message is 3, but its head is 2"),
        ("DELETE FROM room", "room 'row 1': 3 messages without a room"),
        (
            "UPDATE known SET seq = 9 WHERE seq = 1",
            "room lobby: 1 ids of messages that the room does not have",
        ),
        ("UPDATE room SET epoch = 'a:b'", "room lobby: its epoch a:b or its head is invalid"),
        ("DELETE FROM meta", "the table meta must have exactly one row"),
    ],
)
def test_damage_is_named(store: Path, capsys: pytest.CaptureFixture[str], sql: str, says: str) -> None:
    """Each on a line, with 1."""
    with served(store, "a", "b", "c"):
        pass
    with closing(sqlite3.connect(store)) as connection:
        connection.execute(sql)
        connection.commit()
    assert run(["check", str(store)]) == 1
    assert f"{store}: {says}" in capsys.readouterr().out.splitlines()


def test_damage_of_the_file_is_named(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What SQLite finds."""
    with served(store, *(f"{n} {'x' * 500}" for n in range(300))):
        pass
    content = bytearray(store.read_bytes())
    for at in range(4096 * 5, len(content), 4096):
        content[at : at + 200] = b"\xff" * 200
    store.write_bytes(content)
    assert run(["check", str(store)]) == 1
    assert capsys.readouterr().out


def test_a_file_that_cannot_be_read_is_damage(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is left of a copy that was not finished."""
    with served(store, "a"):
        pass
    store.write_bytes(store.read_bytes()[:8000])
    assert run(["check", str(store)]) == 1
    assert "it is damaged" in capsys.readouterr().out
    assert run(["info", str(store)]) == 2


# --- new-epoch


def test_new_epochs(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the rooms that are named, or of all; what is in them stays."""
    with served(store, "a") as broker:
        before = [broker.open("lobby", Room()).epoch]
        other = broker.open("other", Room()).epoch
        broker.publish("other", entries("b"))
        wait(broker)
    for rooms in (["lobby"], []):
        assert run(["new-epoch", str(store), *rooms]) == 0
        told = dict(line.split(": ") for line in capsys.readouterr().out.splitlines())
        assert told["lobby"] not in before
        before.append(told["lobby"])
        assert ("other" in told) is not bool(rooms)
    with closing(Desk(SqliteBroker(store, KEEPING, ManualClock()))) as broker:
        assert broker.open("lobby", Room()).epoch == before[-1]
        assert broker.open("other", Room()).epoch == told["other"] != other
    assert texts_in(store) == ["ana: a"]


def test_no_new_epochs_below_a_server(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It has them in memory."""
    with served(store, "a"):
        assert run(["new-epoch", str(store)]) == 2
        assert run(["new-epoch", str(store), "nowhere"]) == 2
    in_use, unknown = capsys.readouterr().err.splitlines()
    assert "is used by a server; stop it first" in in_use
    assert "has no room 'nowhere'" in unknown


@pytest.mark.parametrize(
    ("store", "says"),
    [
        ("memory:", "is in its server alone"),
        ("nats:embedded", "must be nats://127.0.0.1:PORT"),
        ("nats:embedded:/var/lib/chat", "must be nats://127.0.0.1:PORT"),
        (".", "it is no file"),
        ("nowhere.db", "there is no such file"),
    ],
)
def test_what_is_no_file(capsys: pytest.CaptureFixture[str], store: str, says: str) -> None:
    """It is told from a file that is missing."""
    try:
        code = run(["info", store])
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("argv", [[], ["copy"], ["info"], ["check", ""], ["destroy", "chat.db"], ["info", "a", "b"]])
def test_usage(capsys: pytest.CaptureFixture[str], argv: list[str]) -> None:
    """It is said, with 2."""
    with pytest.raises(SystemExit) as ended:
        run(argv)
    assert ended.value.code == 2
    assert "usage: bcast-store" in capsys.readouterr().err
