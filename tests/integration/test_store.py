"""Which file a store is, whatever leads to it, and what becomes of it while a server runs: real processes."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from grpc import StatusCode

from bcast_grpc.broker.clock import Clock
from bcast_grpc.broker.sqlite.file import StoreFile
from bcast_grpc.v1 import chat_pb2 as pb
from tests.promises.stepped import step

from .conftest import Spawn
from .peers import Door, Peer
from .test_history import again, read, say_all, texts

# --- one server for a file


def linked(file: Path) -> str:
    """A symbolic link to the file."""
    link = file.with_name("link.db")
    link.symlink_to(file.name)
    return str(link)


def linked_twice(file: Path) -> str:
    """A symbolic link to a symbolic link, in another directory."""
    link = file.parent / "elsewhere" / "chat.db"
    link.parent.mkdir()
    link.symlink_to(linked(file))
    return str(link)


def in_linked_directory(file: Path) -> str:
    """A directory that is a symbolic link."""
    link = file.parent.with_name("linked")
    link.symlink_to(file.parent)
    return str(link / file.name)


def hard_linked(file: Path) -> str:
    """A hard link, in another directory."""
    link = file.parent / "hard" / "other.db"
    link.parent.mkdir()
    os.link(file, link)
    return str(link)


def by_detour(file: Path) -> str:
    """A path that goes up and down."""
    return f"{file.parent}/../{file.parent.name}/./{file.name}"


def relative(file: Path) -> str:
    """A path from the working directory."""
    return os.path.relpath(file)


@pytest.mark.parametrize("lead", [linked, linked_twice, in_linked_directory, hard_linked, by_detour, relative])
async def test_one_server_for_a_file_whatever_leads_to_it(
    spawn: Spawn, tmp_path: Path, lead: Callable[[Path], str]
) -> None:
    """A second server exits with 2, and what the first one acknowledged stays."""
    file = tmp_path / "store" / "chat.db"
    file.parent.mkdir()
    first = await spawn(f"--store=sqlite:{file}")
    ana = await first.connect("ana")
    await say_all(ana, "1")
    second = await spawn(f"--store=sqlite:{lead(file)}")
    code, stderr = await second.exit()
    assert (code, second.said, len(stderr.splitlines())) == (2, [], 1)
    assert "another server uses it" in stderr
    assert await say_all(ana, "2") == [2]


async def test_one_server_for_a_file_that_is_mounted_twice(spawn: Spawn, tmp_path: Path) -> None:
    """A bind mount of the file is the file."""
    file, other = tmp_path / "chat.db", tmp_path / "other.db"
    other.touch()
    await spawn(f"--store=sqlite:{file}")
    mounted = ["unshare", "-m", "sh", "-c", 'mount --bind "$0" "$1" && shift && exec "$@"', str(file), str(other)]
    if "CI" not in os.environ and (refusal := run([*mounted, "true"]).stderr):
        pytest.skip(f"nothing can be mounted here: {refusal}")
    second = run([*mounted, sys.executable, "-m", "bcast_grpc.server", "--port=0", f"--store=sqlite:{other}"])
    assert (second.returncode, second.stdout) == (2, "")
    assert "another server uses it" in second.stderr


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


async def test_a_link_leads_to_the_same_store(spawn: Spawn, tmp_path: Path) -> None:
    """What was written last is found after a kill, whatever led to the file then and now."""
    file = tmp_path / "chat.db"
    server = await spawn(f"--store=sqlite:{linked(file)}")
    await say_all(await server.connect("ana"), "1")
    door = await again(server, spawn, f"--store=sqlite:{file}")
    bob = await door.connect(history="9")
    await bob.hear_until("ana: 1")


async def test_a_file_with_two_names(spawn: Spawn, tmp_path: Path) -> None:
    """It is refused: what was written last before a kill is beside one of them only."""
    file = tmp_path / "chat.db"
    server = await spawn(f"--store=sqlite:{file}")
    await say_all(await server.connect("ana"), "1")
    server.signal(signal.SIGKILL)
    await server.exit()
    for path in (hard_linked(file), file):
        second = await spawn(f"--store=sqlite:{path}")
        code, stderr = await second.exit()
        assert code == 2
        assert "2 names (hard links)" in stderr


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "it is a directory; name a file in it: sqlite:"),
        ("pipe", "it is a device, a pipe or a socket; name a regular file"),
        ("chat.db-wal", "names ending in -wal are reserved for the files beside a store"),
        ("x" * 300, "File name too long"),
        ("no/chat.db", "No such file or directory; its directory must exist and be writable"),
    ],
)
async def test_what_is_no_file(spawn: Spawn, tmp_path: Path, name: str, says: str) -> None:
    """It is said at start, in one line."""
    os.mkfifo(tmp_path / "pipe")
    server = await spawn(f"--store=sqlite:{tmp_path / name}")
    code, stderr = await server.exit()
    assert (code, server.said, len(stderr.splitlines())) == (2, [], 1)
    assert says in stderr


async def test_a_name_is_taken_literally(spawn: Spawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite does not read it in its own way."""
    monkeypatch.chdir(tmp_path)
    for name in (":memory:", "file:chat.db?mode=memory", "~", "a%20b"):
        server = await spawn(f"--store=sqlite:./{name}")
        await say_all(await server.connect("ana"), "1")
        door = await again(server, spawn, f"--store=sqlite:./{name}")
        assert await say_all(await door.connect("ana"), "2") == [2]
        assert (tmp_path / name).stat().st_size


# --- a file that goes away while a server runs


def restore(file: Path, aside: Path) -> None:
    """Put back what was moved away."""
    aside.rename(file)


def put_a_copy(file: Path, aside: Path) -> None:
    """Put a copy in its place."""
    shutil.copy2(aside, file)


def move_away(file: Path) -> Path:
    """Move a file away."""
    return file.rename(file.with_name("aside"))


def turn(link: Path, file: Path) -> None:
    """Let a link lead to a file, which may have to be made."""
    file.touch()
    link.unlink()
    link.symlink_to(file)


def put_nothing(file: Path, aside: Path) -> None:
    """Leave it."""


def with_nothing(file: Path) -> None:
    """Empty it."""
    file.write_bytes(b"")


def with_noise(file: Path) -> None:
    """Write something else into it."""
    file.write_bytes(b"no database" * 10_000)


def with_another_store(file: Path) -> None:
    """Write the store of another server into it."""
    other = file.with_name("other.db")
    StoreFile(other, Clock()).close()
    shutil.copyfile(other, file)


def with_its_backup(file: Path) -> None:
    """Write a copy of itself into it."""
    shutil.copyfile(file.with_name("backup.db"), file)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("overwrite", [with_nothing, with_noise, with_another_store, with_its_backup])
async def test_a_file_that_is_overwritten(
    spawn: Spawn, tmp_path: Path, overwrite: Callable[[Path], None], how: signal.Signals
) -> None:
    """Nothing is acknowledged any more, and what was put there stays as it is, and is used at the next start."""
    file = tmp_path / "chat.db"
    server = await spawn(f"--store=sqlite:{file}")
    ana = await server.connect("ana")
    await say_all(ana, "1")
    back_up(file, tmp_path / "backup.db")
    await say_all(ana, "not in the backup")
    overwrite(file)
    put = read(file)
    await refuse(server, ana, "2")
    server.signal(how)
    _, stderr = await server.exit()
    assert len([line for line in stderr.splitlines() if "ERROR" in line]) == 1
    assert read(file) == put
    next_one = await spawn(f"--store=sqlite:{file}")
    if overwrite is with_noise:
        assert "not an SQLite database" in (await next_one.exit())[1]
    else:
        door = await next_one.connect("ana", history="9")
        assert door.epoch != ana.epoch
        assert await say_all(door, "2") == [2 if overwrite is with_its_backup else 1]


@pytest.mark.parametrize("end", ["", "-wal", "-shm"])
@pytest.mark.parametrize("put", [restore, put_a_copy, put_nothing])
async def test_a_file_that_goes_away(spawn: Spawn, tmp_path: Path, end: str, put: Callable[[Path, Path], None]) -> None:
    """While it is not there, or not the one that is open, nothing is acknowledged; when it is back, all goes on."""
    file = tmp_path / "chat.db"
    server = await spawn(f"--store=sqlite:{file}")
    ana, bob = await server.connect("ana"), await server.connect()
    await say_all(ana, "1")
    gone = Path(f"{file}{end}")
    aside = move_away(gone)
    await refuse(server, ana, "2")
    put(gone, aside)
    if put is restore:
        assert await say_all(ana, "2", "3") == [2, 3]
        await bob.hear_until("ana: 3")
        assert texts(bob) == ["ana: 1", "ana: 2", "ana: 3"]
    else:
        await refuse(server, ana, "3")
    server.signal(signal.SIGTERM)
    _, stderr = await server.exit()
    lines = [line for line in stderr.splitlines() if str(gone) in line]
    assert len(lines) == (2 if put is put_a_copy else 1), lines
    assert "removed or moved away" in lines[0]


async def test_a_link_that_is_turned_elsewhere(spawn: Spawn, tmp_path: Path) -> None:
    """What would not be found at the next start is not acknowledged."""
    file, other = tmp_path / "chat.db", tmp_path / "other.db"
    link = Path(linked(file))
    server = await spawn(f"--store=sqlite:{link}")
    ana = await server.connect("ana")
    await say_all(ana, "1")
    turn(link, other)
    await refuse(server, ana, "2")
    turn(link, file)
    assert await say_all(ana, "2") == [2]


async def refuse(server: Door, peer: Peer, text: str) -> None:
    """Say something, which is refused."""
    await peer.say(text, id=text)
    error = (await peer.answer(text)).error
    assert (error.code, error.retryable) == (pb.ERROR_CODE_BROKER_UNAVAILABLE, True)
    ending = await server.publish_in_vain(text)
    assert (ending.code, ending.reason) == (StatusCode.UNAVAILABLE, "BROKER_UNAVAILABLE")


# --- a clock that is set


@pytest.mark.parametrize("step_s", [3700, -3700])
async def test_a_clock_that_is_set(spawn: Spawn, tmp_path: Path, step_s: float) -> None:
    """While the server runs, and between a kill and the next start: history and ids are kept as long as they are to."""
    clock = tmp_path / "clock"
    step(clock, 0)
    store, program = f"--store=sqlite:{tmp_path / 'chat.db'}", ("tests.promises.stepped", str(clock))
    server = await spawn(store, program=program)
    ana = await server.connect("ana", client="a")
    assert await say_all(ana, "1", "2") == [1, 2]
    step(clock, step_s)
    assert await say_all(ana, "2", "3") == [2, 3]
    server.signal(signal.SIGKILL)
    await server.exit()
    step(clock, step_s)
    later = await spawn(store, program=program)
    back = await later.connect("ana", client="a", after=f"{ana.epoch}:1", events="welcome", echo="1")
    assert (await back.hear()).welcome.resumed
    assert [event.seq for event in await back.hear_some(2)] == [2, 3]
    assert await say_all(back, "1", "2", "3", "4") == [1, 2, 3, 4]


# --- an older copy that is put in its place


@pytest.mark.parametrize("later", [0, 15])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_a_backup_that_is_put_back(spawn: Spawn, tmp_path: Path, how: signal.Signals, later: int) -> None:
    """A client that has received more than is in it gets a new epoch and all that is kept; nobody misses anything."""
    file, copy = tmp_path / "chat.db", tmp_path / "copy.db"
    server = await spawn(f"--store=sqlite:{file}")
    ana = await server.connect("ana", client="a")
    await say_all(ana, *(f"{n}" for n in range(1, 11)))
    back_up(file, copy)
    assert await say_all(ana, *(f"{n}" for n in range(11, 21))) == list(range(11, 21))
    server.signal(how)
    await server.exit()
    put_a_copy(file, copy)
    restored = await spawn(f"--store=sqlite:{file}")
    bob = await restored.connect("bob")
    places = await say_all(bob, *(f"new {n}" for n in range(later)))
    assert places == list(range(11, 11 + later))
    back = await restored.connect(after=f"{ana.epoch}:20", events="welcome")
    welcome, gap, *kept = await back.hear_some(2 + 10 + later)
    assert (welcome.welcome.resumed, welcome.welcome.epoch == ana.epoch) == (False, False)
    assert gap.gap == pb.Gap(reason=pb.GAP_REASON_NEW_EPOCH)
    assert [event.seq for event in kept] == list(range(1, 11 + later))
    restored.signal(signal.SIGKILL)
    _, stderr = await restored.exit()
    assert len([line for line in stderr.splitlines() if "WARNING" in line and "begins a new epoch" in line]) == 1
    door = await spawn(f"--store=sqlite:{file}")
    resumed = await door.connect(after=f"{back.epoch}:{10 + later}", events="welcome")
    assert (await resumed.hear()).welcome.resumed


def back_up(file: Path, copy: Path) -> None:
    """Do what ``sqlite3 chat.db ".backup copy.db"`` does."""
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
