"""Programs of a server that hang, cannot be started, or cannot write: that is noticed, told once, and mended."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from bcast_grpc import connect
from tests import forked
from tests.forked import Forked

from .conftest import ServerProcess, Spawn, end_process
from .peers import PATIENCE_S, eventually, within
from .test_workers import children, command, fill, first_worker, read_until

pytestmark = pytest.mark.usefixtures("nats_in_path")

IMPATIENT = ("tests.integration.impatient_server",)

REAL = """#!/bin/sh
[ "$1" = --version ] && exec {program} --version
echo x >> {folder}/attempts
[ -e {folder}/sound ] && exec {program} "$@"
{otherwise}
"""


def replace_nats(program: Path, folder: Path, otherwise: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put something in the place of NATS that does something else while there is no file ``sound``."""
    fake = folder / "nats-server"
    fake.write_text(REAL.format(program=program, folder=folder, otherwise=otherwise))
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


async def log_until(server: ServerProcess, text: str) -> str:
    """Read the log up to the line with this text, which may take as long as a program may hang."""
    async with asyncio.timeout(4 * PATIENCE_S):
        return await read_until(server, text)


async def test_a_worker_that_hangs_is_replaced(spawn: Spawn) -> None:
    """Its clients go on at the others, or at the new one; the log says it once."""
    server = await spawn("--workers", "2", program=IMPATIENT)
    peers = await fill(server)
    hangs = first_worker(server)
    os.kill(hangs, signal.SIGSTOP)
    log = await log_until(server, "worker 1 serves again")
    assert not command(hangs)
    assert len(children(server.process.pid)) == 2
    assert log.count(f"process {hangs} gave no sign of life for 4 s, and was killed") == 1
    async with connect(server.address, name="ana") as ana:
        await within(ana.send("hola"))
    for peer in peers:
        peer.cancel()
    server.signal(signal.SIGTERM)
    code, stderr = await server.exit()
    assert (code, "ERROR" in stderr) == (0, False), stderr


async def test_a_worker_that_hangs_at_the_end(spawn: Spawn) -> None:
    """Nobody waits for it longer than for any other; the exit code tells of it."""
    server = await spawn("--workers", "2", "--drain-s", "600", program=IMPATIENT)
    hangs = first_worker(server)
    os.kill(hangs, signal.SIGSTOP)
    server.signal(signal.SIGTERM)
    code, stderr = await server.exit()
    assert code == 1
    assert stderr.count(f"process {hangs} gave no sign of life for 4 s, and was killed") == 1


@pytest.mark.one_engine
async def test_a_supervisor_that_stood_still_blames_nobody(spawn: Spawn) -> None:
    """What the workers said meanwhile is still to be read."""
    server = await spawn("--workers", "2", program=IMPATIENT)
    before = children(server.process.pid)
    server.signal(signal.SIGSTOP)
    await asyncio.sleep(6)  # longer than a worker may say nothing
    server.signal(signal.SIGCONT)
    await asyncio.sleep(2)  # by then it would have blamed them
    assert children(server.process.pid) == before


@pytest.mark.one_engine
async def test_a_nats_that_hangs_is_replaced(spawn: Spawn) -> None:
    """What is said meanwhile waits, and is lost nowhere."""
    server = await spawn("--store", "nats:embedded", program=IMPATIENT)
    ana = await server.connect("ana")
    (nats,) = children(server.process.pid, "nats-server")
    os.kill(nats, signal.SIGSTOP)
    await ana.say("1", id="1")
    log = await log_until(server, "nats-server serves again")
    assert log.count("nats-server was ended by SIGKILL: it has not answered for 4 s") == 1
    assert (await ana.answer("1")).ack.seq == 1


@pytest.mark.one_engine
@pytest.mark.parametrize("more", [(), ("--workers", "2")])
async def test_a_signal_ends_a_start(
    more: tuple[str, ...], nats_program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long that would have taken: here NATS never answers."""
    replace_nats(nats_program, tmp_path, "exec sleep 600", monkeypatch)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process = await Forked.run("bcast_grpc.server", "--port", "0", "--store", "nats:embedded", *more)
    try:
        await eventually(lambda: (tmp_path / "attempts").exists())
        nats = children(process.pid, "sleep")
        process.send_signal(signal.SIGTERM)
        stdout, _ = await within(process.communicate())
        assert (process.returncode, stdout) == (0, b"")
        assert not any(map(command, nats))
        assert not await asyncio.to_thread(lambda: list(tmp_path.glob("bcast-nats-*")))
    finally:
        await end_process(process)


@pytest.mark.one_engine
async def test_a_nats_that_cannot_be_started_again(
    spawn: Spawn, nats_program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again and again, and told once; it serves as soon as the fault is mended."""
    replace_nats(nats_program, tmp_path, "echo '[7] [FTL] the disk is on fire' >&2; exit 1", monkeypatch)
    (tmp_path / "sound").touch()
    server = await spawn("--store", "nats:embedded")
    (tmp_path / "sound").unlink()
    (nats,) = children(server.process.pid, "nats-server")
    os.kill(nats, signal.SIGKILL)
    await eventually(lambda: len((tmp_path / "attempts").read_text().splitlines()) >= 5)
    (tmp_path / "sound").touch()
    log = await log_until(server, "nats-server serves again")
    assert log.count("nats-server ended with exit code 1: the disk is on fire; it is started again") == 1
    assert log.count("the disk is on fire") == 2  # in NATS's own words, and in those of the server


@pytest.mark.one_engine
async def test_a_nats_that_could_not_write_is_started_again(
    spawn: Spawn, nats_program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would never write again, whatever room there is; nothing that was acknowledged is lost."""
    limited = f'trap "" XFSZ; ulimit -f 200; exec {nats_program} "$@"'
    replace_nats(nats_program, tmp_path, limited, monkeypatch)
    server = await spawn("--store", f"nats:embedded:{tmp_path}/store", "--broker-patience-s", "60")
    ana = await server.connect("ana")
    for number in range(1, 11):
        await ana.say(data=bytes(20_000), id=f"{number}")
    log = await log_until(server, "nats-server serves again")
    assert "it could not write to its disk, and there is room again" in log
    (tmp_path / "sound").touch()
    async with asyncio.timeout(4 * PATIENCE_S):
        for number in range(1, 11):
            assert (await ana.answer(f"{number}")).ack.seq == number


@pytest.mark.one_engine
def test_a_program_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited for, and the line says what it is not."""
    fake = tmp_path / "nats-server"
    fake.write_text("#!/bin/sh\nexec sleep 600\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    code, _, stderr = forked.run("bcast_grpc.server", "--port", "0", "--store", "nats:embedded")
    assert code == 2
    assert f"{fake} is no NATS server" in stderr
