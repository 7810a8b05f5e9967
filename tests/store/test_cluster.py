"""``python -m bcast_grpc.store`` on a log in NATS: what is shown, what is found, and where epochs begin anew."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bcast_grpc.broker.nats.cluster import Cluster
from bcast_grpc.broker.nats.connection.target import Target
from bcast_grpc.broker.nats.log.record import Record
from bcast_grpc.broker.nats.names import Names
from bcast_grpc.store.cli import run
from bcast_grpc.store.cluster import check as check_module
from bcast_grpc.store.cluster.log import Log
from tests.nats_server import NatsServer, running

from .logs import call, chain, item, write

DAY_NS = 86_400_000_000_000


# --- info


def test_info(shared_nats: NatsServer, cluster: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Rooms, epochs, heads, sizes and times: for people and for programs."""
    write(shared_nats, cluster, chain("a", "b"))
    write(shared_nats, cluster, chain("c", epoch="e2"), room="\x1b[2J")
    assert call("info", shared_nats, cluster, "--json") == 0
    assert call("info", shared_nats, cluster) == 0
    line, *text = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert (found["stream"], found["records"], found["wanted_replicas"]) == (f"BCAST_{cluster}", 5, 1)
    rooms = {room["room"]: room for room in found["rooms"]}
    assert {name: rooms["lobby"][name] for name in ("epoch", "head", "records")} == {
        "epoch": "e1",
        "head": 2,
        "records": 3,
    }
    assert rooms["\x1b[2J"]["head"] == 1
    assert found["oldest"] <= found["newest"]
    assert f"BCAST_{cluster} on 127.0.0.1:{shared_nats.port}: 2 rooms, 5 records, {found['bytes']} bytes" in text[0]
    assert any(row.split()[:4] == ["lobby", "e1", "2", "3"] for row in text)
    assert not any("\x1b" in row for row in text)


def test_a_room_of_a_newer_version_is_shown_without_its_head(
    shared_nats: NatsServer, cluster: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is guessed."""
    write(shared_nats, cluster, [b"\x08\x02"])
    assert call("info", shared_nats, cluster) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["lobby", "-", "-", "1", "-"]


# --- check


def test_a_log_that_is_sound(shared_nats: NatsServer, cluster: str, capsys: pytest.CaptureFixture[str]) -> None:
    """That is said, with 0; also where the oldest records have expired, and where a new epoch has begun."""
    older = chain("z", "a")[2:]
    write(shared_nats, cluster, [*older, *chain("a", "b", epoch="e2")])
    assert call("check", shared_nats, cluster) == 0
    assert capsys.readouterr().out == f"{shared_nats.url}: no damage\n"


@pytest.mark.parametrize("offline", [1, 2])
def test_a_log_most_of_whose_keepers_are_away(
    shared_nats: NatsServer,
    cluster: str,
    offline: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It may look sound to the one that is left, which does not know what the others have."""
    write(shared_nats, cluster, chain("a"))
    really = Log.info

    async def info(log: Log, **which: object) -> dict[str, Any]:
        found = await really(log, **which)
        found["config"]["num_replicas"] = 3
        replicas = [{"name": f"n{n}", "current": True, "active": 1, "offline": n < offline} for n in range(2)]
        return found | {"cluster": {"leader": "n2", "replicas": replicas}}

    monkeypatch.setattr(Log, "info", info)
    assert call("check", shared_nats, cluster) == (offline == 2)
    told = capsys.readouterr().out
    assert told.startswith("2 of the 3 NATS servers that keep it are away") == (offline == 2), told


def with_a_hole() -> list[Record | bytes]:
    """One record is missing."""
    begin, one, _, three = chain("a", "b", "c")
    return [begin, one, three]


def with_another_past() -> list[Record | bytes]:
    """One record follows another one than the one that is there."""
    begin, one, two = chain("a", "b")
    return [begin, one, two._replace(previous="another")]


def with_an_old_epoch() -> list[Record | bytes]:
    """A server goes on in an epoch that is over."""
    old = chain("a", "b")
    return [*old[:2], *chain("c", epoch="e2"), old[2]]


def with_a_repeat() -> list[Record | bytes]:
    """An id is in the log twice."""
    begin, one, two = chain("a", "b")
    return [begin, one, two._replace(items=[item("again", id_="a")])]


def with_a_double() -> list[Record | bytes]:
    """A message is in the log twice."""
    begin, one, two = chain("a", "b")
    return [begin, one, two._replace(items=[one.items[0]])]


@pytest.mark.parametrize(
    ("records", "says"),
    [
        (with_a_hole, "begins with seq 3, while the one before it ends with 1; servers skip it"),
        (with_another_past, "follows record another, while the one before it is "),
        (with_an_old_epoch, "is of epoch e1, while the room is in epoch e2"),
        (with_a_repeat, "has id a as seq 2, which its author gave to seq 1 already"),
        (with_a_double, "as seq 2, which is seq 1 already"),
        (lambda: [*chain("a"), b"what is this?"], "cannot be read; servers skip it"),
        (lambda: [*chain("a"), b"\x08\x09", b"\x08\x09"], "is of version 9, which only a newer program can read"),
    ],
)
def test_damage_is_named(
    shared_nats: NatsServer,
    cluster: str,
    capsys: pytest.CaptureFixture[str],
    records: Callable[[], list[Record | bytes]],
    says: str,
) -> None:
    """Each on a line with the room and the record, with 1."""
    write(shared_nats, cluster, records())
    assert call("check", shared_nats, cluster) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("room lobby: record ")
    assert says in line


def test_an_id_that_has_been_forgotten_may_come_again(
    shared_nats: NatsServer, cluster: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """After ``dedup-s`` no server knows it."""
    begin, one, two = chain("a", "b", ago_ns=DAY_NS)
    write(shared_nats, cluster, [begin, one, two._replace(time_ns=time.time_ns(), items=[item("again", id_="a")])])
    assert call("check", shared_nats, cluster) == 0, capsys.readouterr().out


def test_no_more_than_a_hundred_lines(
    shared_nats: NatsServer, cluster: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much is damaged."""
    monkeypatch.setattr(check_module, "MAX_LINES", 3)
    write(shared_nats, cluster, [*chain("a"), *(bytes([255, n]) for n in range(9))])
    assert call("check", shared_nats, cluster) == 1
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_log_of_many_batches(
    shared_nats: NatsServer, cluster: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are read, in order."""
    monkeypatch.setattr("bcast_grpc.store.cluster.log._BATCH", 3)
    records = chain(*map(str, range(20)))
    write(shared_nats, cluster, [*records[:15], *records[16:]])
    assert call("check", shared_nats, cluster) == 1
    assert len(capsys.readouterr().out.splitlines()) == 5


# --- new-epoch


def test_new_epochs_keep_what_servers_would(
    shared_nats: NatsServer, cluster: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last messages, and those whose ids are remembered."""
    monkeypatch.setenv("BCAST_HISTORY_MESSAGES", "2")
    write(shared_nats, cluster, chain("a", "b", "c", ago_ns=600_000_000_000), room="old")
    write(shared_nats, cluster, chain("a", "b", "c"), room="new")
    write(shared_nats, cluster, chain("a", ago_ns=DAY_NS), room="yesterday")
    assert call("new-epoch", shared_nats, cluster) == 0
    said = dict(line.split(": ") for line in capsys.readouterr().out.splitlines())
    assert {room: text.partition(", ")[2] for room, text in said.items()} == {
        "old": "with 2 messages",
        "new": "with 3 messages",
        "yesterday": "with 0 messages",
    }
    assert call("new-epoch", shared_nats, cluster, "old") == 0
    assert call("new-epoch", shared_nats, cluster, "none") == 2
    captured = capsys.readouterr()
    assert captured.out.startswith("old: ")
    assert "has no room 'none'" in captured.err
    assert call("check", shared_nats, cluster) == 0


# --- who may, and where


def test_settings_come_from_where_the_servers_do(
    nats_program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flags, variables, and the server's file."""
    password, config = tmp_path / "password", tmp_path / "bcast.toml"
    password.write_text("secret\n")
    config.write_text(f'store_user = "bcast"\nstore_password_file = "{password}"\nstore = "nats://elsewhere"\n')
    with running(nats_program, tmp_path / "nats", 'authorization { user: bcast, password: "secret" }') as nats:
        assert run(["info", nats.url]) == 2
        assert "Authorization Violation" in capsys.readouterr().err
        login = ["--store-user", "bcast", "--store-password-file", str(password)]
        for given in (login, ["--config", str(config)], ["--config", str(config), "--cluster", "other"]):
            assert run(["info", nats.url, *given]) == 2
            assert f"there is no stream BCAST_{given[-1] if 'other' in given else 'bcast'}" in capsys.readouterr().err
        monkeypatch.setenv("BCAST_STORE_USER", "bcast")
        assert run(["check", nats.url]) == 2
        assert capsys.readouterr().err.startswith("store_password_file=")


def test_a_file_needs_no_login(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says so."""
    assert run(["info", str(tmp_path / "chat.db"), "--store-user", "ana"]) == 2
    assert capsys.readouterr().err == "--store-user is for a log in NATS (nats://HOST:PORT), not for a file\n"


def test_names() -> None:
    """A subject is of one room."""
    names, log = Names("c"), Log(Cluster(Target([]), "c"))
    for room in ("lobby", "sala ñ", "\x1b", "x" * 128):
        assert log.room_of(names.log(room)) == room
