"""A server of several processes on one port."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path
from secrets import token_hex

import pytest

from bcast_grpc import Settings, connect
from bcast_grpc.server import CannotStart, Server
from bcast_grpc.server.signals import SAME_S
from tests import forked
from tests.nats_server import NatsServer

from .conftest import ServerProcess, Spawn
from .peers import PATIENCE_S, Peer, eventually, within

pytestmark = pytest.mark.usefixtures("nats_in_path")

WORKER = "bcast_grpc.server.workers.worker"

CLIENTS = 12
"""Enough that each of two processes gets some: all but once in two thousand times, and then there are more."""


def children(pid: int, of: str = WORKER) -> set[int]:
    """Return the processes that one has started, by what stands in their command lines."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(child) for child in listed if of in command(int(child))}


def first_worker(server: ServerProcess) -> int:
    """Return the process of worker 1, whose number may be the larger one: numbers begin anew now and then."""
    (found,) = children(server.process.pid, f"{WORKER} 1 ")
    return found


def command(pid: int) -> str:
    """Return the command line of a process; nothing if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def served_by(pid: int, at: int | None = None) -> int:
    """Return how many connections a process has that it did not open itself: all, or those at one of its ports."""
    ports = {port for _, port, _, state in _sockets(pid) if state == "0A" and at in (None, int(port, 16))}
    return sum(port in ports and state == "01" for _, port, _, state in _sockets(pid))


def _sockets(pid: int) -> list[tuple[str, str, str, str]]:
    try:
        links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return []
    own = {link.removeprefix("socket:[").rstrip("]") for link in links if link.startswith("socket:")}
    tables = [Path(f"/proc/{pid}/net/{kind}").read_text() for kind in ("tcp", "tcp6")]  # gRPC's are of the second kind
    lines = [line.split() for table in tables for line in table.splitlines()[1:]]
    return [(line[1], line[1].partition(":")[2], line[2], line[3]) for line in lines if line[9] in own]


async def fill(server: ServerProcess) -> list[Peer]:
    """Connect clients until each worker has some."""
    workers = children(server.process.pid)
    peers: list[Peer] = []
    while len(peers) < CLIENTS or not all(map(served_by, workers)):
        peers.append(await server.connect(f"c{len(peers)}"))
        assert len(peers) < 10 * CLIENTS
    return peers


async def test_clients_of_all_workers_hear_each_other(spawn: Spawn) -> None:
    """There is one line for each door, one order, and one end, of which each worker says its part."""
    server = await spawn("--workers", "2", "--http-port", "0", "--tcp-port", "0")
    peers = await fill(server)
    for n, peer in enumerate(peers):
        await peer.say(f"{n}", id="1")
        assert (await peer.answer("1")).ack.seq == n + 1
    for n, peer in enumerate(peers):
        said = [f"c{m}: {m}" for m in range(len(peers)) if m != n]
        await eventually_heard(peer, said)
    server.signal(signal.SIGTERM)
    for peer in peers:
        assert "shutting down" in (await peer.end()).text
    code, stderr = await server.exit()
    assert code == 0, stderr
    assert [line.partition(":")[0] for line in server.said] == [
        f"listening on {kind}" for kind in ("grpc", "http", "tcp")
    ]
    assert set(re.findall(r"worker (\d) .*: draining, clients: \d+", stderr)) == {"1", "2"}


async def read_until(server: ServerProcess, text: str) -> str:
    """Read the log up to the line with this text, and return it."""
    log = ""
    assert server.process.stderr
    while text not in log:
        line = (await within(server.process.stderr.readline())).decode()
        assert line, log
        log += line
    return log


async def eventually_heard(peer: Peer, messages: list[str]) -> None:
    """Listen until all of these have come, in this order."""
    while [event.message for event in peer.heard if event.message in messages] != messages:
        await peer.hear()


async def test_a_worker_that_dies_is_started_again(spawn: Spawn) -> None:
    """Its clients go on at the others meanwhile, miss nothing, and the log tells it once."""
    server = await spawn("--workers", "2")
    first = children(server.process.pid)
    heard: list[list[str]] = []

    async def listen(said: list[str]) -> None:
        async with connect(server.address, name="ear") as chat:
            ready.put_nowait(None)
            async for event in chat:
                said += [event.message] if event.seq else []

    ready: asyncio.Queue[None] = asyncio.Queue()
    tasks: list[asyncio.Task[None]] = []
    while len(tasks) < CLIENTS or not all(map(served_by, first)):
        heard.append([])
        tasks.append(asyncio.create_task(listen(heard[-1])))
        await within(ready.get())
        assert len(tasks) < 10 * CLIENTS
    async with connect(server.address, name="ana", events=()) as ana:
        for n in range(10):
            await within(ana.send(f"{n}"))
            if n == 4:
                os.kill(min(first), signal.SIGKILL)
    await eventually(lambda: all(len(said) == 10 for said in heard))
    assert all(said == [f"ana: {n}" for n in range(10)] for said in heard)
    await eventually(lambda: len(children(server.process.pid) - first) == 1)
    (new,) = children(server.process.pid) - first
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    log = await read_until(server, f"serves again: process {new}")
    server.signal(signal.SIGTERM)
    code, stderr = await server.exit()
    assert code == 0, stderr
    assert (log + stderr).count("was ended by SIGKILL") == 1


async def test_one_worker_is_replaced(spawn: Spawn) -> None:
    """SIGTERM drains it alone; that is no fault."""
    server = await spawn("--workers", "2")
    os.kill(min(children(server.process.pid)), signal.SIGTERM)
    log = await read_until(server, "serves again")
    assert "ended with exit code 0; it is started again" in log
    assert "ERROR" not in log
    assert len(children(server.process.pid)) == 2


async def test_all_end_with_the_supervisor(spawn: Spawn) -> None:
    """However it ends: its port, its folder and its processes are free."""
    server = await spawn("--workers", "2")
    workers, nats = children(server.process.pid), children(server.process.pid, "nats-server")
    assert (len(workers), len(nats)) == (2, 1)
    server.signal(signal.SIGKILL)
    await eventually(lambda: not any(map(command, workers | nats)))


async def test_a_reload_reaches_all_workers(spawn: Spawn, tmp_path: Path) -> None:
    """Who may do nothing any more is out, at whichever worker."""
    rights = tmp_path / "rights.toml"
    rights.write_text('[anonymous]\n"*" = ["join"]\n')
    server = await spawn("--workers", "2", "--rights", str(rights))
    peers = await fill(server)
    rights.write_text("[anonymous]\n")
    server.signal(signal.SIGHUP)
    for peer in peers:
        await peer.end()
    server.signal(signal.SIGTERM)
    code, stderr = await server.exit()
    assert code == 0
    assert set(re.findall(r"worker (\d) .*reloaded:", stderr)) == {"1", "2"}


async def test_sighup_drains_where_there_is_nothing_to_reload(spawn: Spawn) -> None:
    """As without workers."""
    server = await spawn("--workers", "2")
    server.signal(signal.SIGHUP)
    code, stderr = await server.exit()
    assert code == 0, stderr


async def test_a_second_signal_ends_all_at_once(spawn: Spawn) -> None:
    """With 1; no worker stays for those who do not read."""
    server = await spawn("--workers", "2", "--drain-s", "600", "--queue-bytes", "67108864")
    workers = children(server.process.pid)
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)  # these do not end by themselves
    server.signal(signal.SIGTERM)
    await asyncio.sleep(1.1 * SAME_S)  # sooner it would be the same wish
    server.signal(signal.SIGTERM)
    assert await within(server.process.wait()) == 1
    for pid in workers:
        os.kill(pid, signal.SIGCONT)
    assert "ending at once" in (await server.exit())[1]
    await eventually(lambda: not any(map(command, workers)))


async def test_workers_on_a_nats_that_is_given(spawn: Spawn, shared_nats: NatsServer) -> None:
    """They are servers of one cluster, with others."""
    store = ("--store", shared_nats.url, "--cluster", token_hex(4))
    server, other = await spawn("--workers", "2", *store), await spawn(*store)
    assert not children(server.process.pid, "nats-server")
    peers = [await server.connect("ana"), await server.connect("bob"), await other.connect("eva")]
    for n, peer in enumerate(peers):
        await peer.say("hola", id="1")
        assert (await peer.answer("1")).ack.seq == n + 1


@pytest.mark.one_engine
def test_what_is_wrong_is_told_once() -> None:
    """Not by each worker; nothing is started, and the exit code is 2."""
    missing = ("--token-keys", "/nowhere/keys.pem")
    code, stdout, stderr = forked.run("bcast_grpc.server", "--port", "0", "--workers", "3", *missing)
    assert (code, stdout) == (2, "")
    assert len(re.findall("/nowhere/keys.pem", stderr)) == 1


@pytest.mark.one_engine
async def test_nobody_else_gets_the_port(spawn: Spawn) -> None:
    """Neither a server of one process nor one of several, though the system would let the latter join."""
    server = await spawn("--workers", "2")
    port = server.address.rpartition(":")[2]
    for workers in "1", "2":
        code, stdout, stderr = forked.run("bcast_grpc.server", "--port", port, "--workers", workers)
        assert (code, stdout) == (2, "")
        assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in stderr


@pytest.mark.one_engine
def test_a_file_has_one_worker() -> None:
    """Which is said before anything is started."""
    code, _, stderr = forked.run("bcast_grpc.server", "--workers", "2", "--store", "sqlite:chat.db")
    assert code == 2
    assert stderr.startswith("--workers 2: must be 1 with store sqlite:chat.db")


@pytest.mark.one_engine
def test_a_server_in_an_application_is_one_process() -> None:
    """It says what would be right."""
    with pytest.raises(CannotStart, match="a Server in an application is one process"):
        Server(Settings(workers=2))


@pytest.mark.one_engine
async def test_workers_that_cannot_be_started_again(spawn: Spawn, tmp_path: Path) -> None:
    """If that is so of all, the server gives up, and says why."""
    rights = tmp_path / "rights.toml"
    rights.write_text("[anonymous]\n")
    server = await spawn("--workers", "2", "--rights", str(rights))
    rights.write_text("this is no TOML")
    for pid in children(server.process.pid):
        os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(4 * PATIENCE_S):  # each of them is started several times
        code = await server.process.wait()
    stderr = (await server.exit())[1]
    assert code == 1
    assert "no worker can be started: giving up" in stderr
    assert stderr.count("is not TOML") == 2  # once for each
