"""A server with a NATS server of its own: ``--store nats:embedded``."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import signal
import stat
from pathlib import Path

import pytest

from bcast_grpc import Settings
from bcast_grpc.server import CannotStart, Server
from tests import forked

from .conftest import Serve, Spawn
from .peers import eventually
from .test_workers import children, command, read_until

pytestmark = [pytest.mark.one_engine, pytest.mark.usefixtures("nats_in_path")]


async def test_what_was_said_is_there_again(spawn: Spawn, tmp_path: Path) -> None:
    """After a server that was killed, whose processes hold the folder for no longer than themselves."""
    store = f"nats:embedded:{tmp_path / 'store'}"
    server = await spawn("--store", store)
    ana = await server.connect("ana")
    await ana.say("hola", id="1")
    assert (await ana.answer("1")).ack.seq == 1
    server.signal(signal.SIGKILL)
    later = await spawn("--store", store, "--workers", "2")
    bob = await later.connect("bob", history="9")
    assert bob.epoch == ana.epoch
    assert (await bob.hear()).message == "ana: hola"
    later.signal(signal.SIGTERM)
    code, stderr = await later.exit()
    assert code == 0, stderr


async def test_settings_may_change_from_one_start_to_the_next(spawn: Spawn, tmp_path: Path) -> None:
    """Larger messages, and a longer history, than the log was made for: nobody else could change that."""
    store = ("--store", f"nats:embedded:{tmp_path / 'store'}")
    server = await spawn(*store)
    ana = await server.connect("ana")
    await ana.say("hola", id="1")
    assert (await ana.answer("1")).ack.seq == 1
    server.signal(signal.SIGTERM)
    await server.exit()
    more = ("--max-message-bytes", "2000000", "--queue-bytes", "4000000", "--history-age-s", "86400")
    later = await spawn(*store, *more, "--workers", "2")
    bob, eva = await later.connect("bob", history="9"), await later.connect("eva")
    assert (await bob.hear()).message == "ana: hola"
    await eva.say(data=b"." * 2_000_000, id="2")
    assert (await eva.answer("2")).ack.seq == 2
    assert len((await bob.hear()).data) == 2_000_000
    later.signal(signal.SIGTERM)
    code, stderr = await later.exit()
    assert (code, "WARNING" in stderr) == (0, False), stderr


async def test_nobody_else_gets_in(spawn: Spawn, tmp_path: Path) -> None:
    """Its password is in files that only this user reads, not in a command line; it listens on loopback only."""
    folder = tmp_path / "store"
    server = await spawn("--store", f"nats:embedded:{folder}")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    secret = (folder / "password").read_text().strip()
    configuration = (folder / "nats.conf").read_text()
    assert secret in configuration
    assert 'listen: "127.0.0.1:' in configuration
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in ("password", "nats.conf", "owner")} == {0o600}
    (nats,) = children(server.process.pid, "nats-server")
    assert secret not in command(nats) + command(server.process.pid)


async def test_a_nats_that_dies_is_started_again(spawn: Spawn) -> None:
    """What is said meanwhile waits, and is lost nowhere."""
    server = await spawn("--store", "nats:embedded")
    ana, bob = await server.connect("ana"), await server.connect("bob")
    (nats,) = children(server.process.pid, "nats-server")
    await ana.say("1", id="1")
    await ana.answer("1")
    os.kill(nats, signal.SIGKILL)
    await eventually(lambda: not command(nats))
    await ana.say("2", id="2")
    assert (await ana.answer("2")).ack.seq == 2
    assert [event.message for event in await bob.hear_some(2)] == ["ana: 1", "ana: 2"]
    log = await read_until(server, "nats-server serves again")
    assert log.count("nats-server was ended by SIGKILL") == 1


async def test_without_a_folder_nothing_is_left(spawn: Spawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the server has ended; what a killed one has left, a later one removes."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    server = await spawn("--store", "nats:embedded")
    (folder,) = await asyncio.to_thread(lambda: list(tmp_path.glob("bcast-nats-*")))
    (nats,) = children(server.process.pid, "nats-server")
    server.signal(signal.SIGKILL)
    await eventually(lambda: not command(nats))
    assert folder.exists()
    os.utime(folder / "owner", (0, 0))
    later = await spawn("--store", "nats:embedded")
    assert not folder.exists()
    later.signal(signal.SIGTERM)
    assert (await later.exit())[0] == 0
    assert not await asyncio.to_thread(lambda: list(tmp_path.glob("bcast-nats-*")))


@pytest.mark.parametrize("kind", ["nats:embedded:", "sqlite:"])
async def test_a_server_that_was_not_started_holds_nothing(kind: str, tmp_path: Path) -> None:
    """Neither one that could not be made, nor one that was thrown away: an application may try again."""
    store = f"{kind}{tmp_path}/store"
    for _ in range(2):
        with pytest.raises(CannotStart, match=r"token-keys /nowhere/key\.pem"):
            Server(Settings(port=0, store=store, token_keys=("/nowhere/key.pem",)))
    if kind == "nats:embedded:":
        Server(Settings(port=0, store=store))
        gc.collect()
    async with Server(Settings(port=0, store=store)) as server:
        assert server.urls


async def test_a_nats_that_hangs_does_not_outlive_a_server_that_is_killed(spawn: Spawn, tmp_path: Path) -> None:
    """The next server need not wait for anybody to end it."""
    store = ("--store", f"nats:embedded:{tmp_path / 'store'}")
    server = await spawn(*store)
    (nats,) = children(server.process.pid, "nats-server")
    os.kill(nats, signal.SIGSTOP)
    server.signal(signal.SIGKILL)
    await eventually(lambda: not command(nats))
    await (await spawn(*store)).connect("ana")


async def test_the_log_may_take_most_of_what_is_free(spawn: Spawn, tmp_path: Path) -> None:
    """Beside what it takes already, whatever NATS would think of that."""
    data = tmp_path / "store" / "data" / "old"
    data.mkdir(parents=True)
    (tmp_path / "store" / "owner").touch()
    with (data / "block").open("wb") as block:
        block.truncate(2**43)  # more than there is: only its size counts
    await spawn("--store", f"nats:embedded:{tmp_path / 'store'}")
    (found,) = re.findall(r"max_file: (\d+)", (tmp_path / "store" / "nats.conf").read_text())
    assert int(found) > 2**43


async def test_a_folder_that_others_may_change(spawn: Spawn, tmp_path: Path) -> None:
    """It is used, as containers have such ones; the log says what that means."""
    folder = tmp_path / "store"
    folder.mkdir()
    folder.chmod(0o777)
    server = await spawn("--store", f"nats:embedded:{folder}")
    server.signal(signal.SIGTERM)
    code, stderr = await server.exit()
    assert code == 0
    assert stderr.count(f"{folder}: other users may write there") == 1


async def test_a_folder_has_one_server(spawn: Spawn, tmp_path: Path) -> None:
    """A second one says which process has it."""
    store = ("--store", f"nats:embedded:{tmp_path}")
    first = await spawn(*store)
    code, stdout, stderr = forked.run("bcast_grpc.server", "--port", "0", *store)
    assert (code, stdout) == (2, "")
    assert f"another server uses this folder, process {first.process.pid}" in stderr


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    """It is left as it is."""
    (tmp_path / "photo.jpg").touch()
    code, _, stderr = forked.run("bcast_grpc.server", "--port", "0", "--store", f"nats:embedded:{tmp_path}")
    assert code == 2
    assert f"{tmp_path}: must be a new or empty folder" in stderr
    assert [file.name for file in tmp_path.iterdir()] == ["photo.jpg"]


@pytest.mark.parametrize(("version", "found"), [("", "there is none in PATH"), ("2.9.10", "is 2.9.10")])
def test_without_a_program(version: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says how to get one, also where workers need it."""
    if version:
        program = tmp_path / "nats-server"
        program.write_text(f"#!/bin/sh\necho nats-server: v{version}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin" if version else str(tmp_path))
    for settings in ("--store", "nats:embedded"), ("--workers", "2"):
        code, stdout, stderr = forked.run("bcast_grpc.server", "--port", "0", *settings)
        assert (code, stdout) == (2, "")
        assert stderr.startswith("store=nats:embedded needs nats-server 2.12.4 or later, and ")
        assert found in stderr
        assert len(stderr.splitlines()) == 1


def test_a_nats_that_cannot_start(tmp_path: Path) -> None:
    """Its own words say why."""
    (tmp_path / "owner").touch()
    (tmp_path / "data").write_text("this is no folder")
    code, _, stderr = forked.run("bcast_grpc.server", "--port", "0", "--store", f"nats:embedded:{tmp_path}")
    assert code == 2
    assert "nats-server ended with exit code 1: " in stderr
    assert "storage directory is not a directory" in stderr.splitlines()[-1]


async def test_a_server_in_an_application_may_have_one(serve: Serve, tmp_path: Path) -> None:
    """It ends with the server; a message may be as large as the settings say."""
    door = await serve(store=f"nats:embedded:{tmp_path}", max_message_bytes=2_000_000, queue_bytes=4_000_000)
    ana, bob = await door.connect("ana"), await door.connect("bob")
    await ana.say(data=b"." * 2_000_000, id="1")
    assert (await ana.answer("1")).ack.seq == 1
    assert len((await bob.hear()).data) == 2_000_000
    assert len(children(os.getpid(), str(tmp_path))) == 1
    await door.close()
    await door.server.stop()
    assert not children(os.getpid(), str(tmp_path))
    with pytest.raises(CannotStart, match="cannot be used: Not a directory"):
        Server(Settings(port=0, store=f"nats:embedded:{tmp_path}/owner/x"))
