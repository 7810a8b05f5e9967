"""A log that nobody reads, and the lines on stdout: the server goes on, and ends well."""

from __future__ import annotations

import os
import pty
import signal
import sys
import termios
import tty
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.full_pipe import full_pipe
from tests.ports import free_port

from .conftest import Run
from .peers import Door, begun, within

pytestmark = pytest.mark.one_engine


class Stage:
    """Ends of pipes and terminals that nobody reads."""

    def __init__(self) -> None:
        self._fds: list[int] = []

    def full_pipe(self) -> int:
        """A pipe with no room in it."""
        ends = full_pipe()
        self._fds += ends
        return ends[1]

    def stopped_terminal(self) -> int:
        """A terminal after Ctrl-S."""
        controller, terminal = pty.openpty()
        self._fds += [controller, terminal]
        tty.setraw(terminal)
        termios.tcflow(terminal, termios.TCOOFF)
        return terminal

    def closed_pipe(self) -> int:
        """A pipe whose reader is gone."""
        read, write = os.pipe()
        os.close(read)
        self._fds.append(write)
        return write

    def full_disk(self) -> int:
        """A file that takes nothing."""
        self._fds.append(os.open("/dev/full", os.O_WRONLY))
        return self._fds[-1]

    def close(self) -> None:
        """Close them."""
        for fd in self._fds:
            os.close(fd)


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Ends that nobody reads."""
    stage = Stage()
    yield stage
    stage.close()


@pytest.fixture
def start(run: Run) -> Callable[..., Awaitable[Process]]:
    """Start servers with whatever stdout and stderr."""
    return partial(run, sys.executable, "-m", "bcast_grpc.server")


ENDS = [
    "full_pipe",
    "stopped_terminal",
    "closed_pipe",
    pytest.param("full_disk", marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has it")),
]


@pytest.mark.parametrize("end", ENDS)
async def test_a_log_that_nobody_reads(start: Callable[..., Awaitable[Process]], stage: Stage, end: str) -> None:
    """Health, messages and the drain go on, whatever there is to log, and the exit code is 0."""
    stuck = getattr(stage, end)()
    # Off loopback there is a warning at the start; each client that is too slow is one more line.
    settings = ("--port", "0", "--host", "0.0.0.0", "--open", "--log-level", "debug")
    server = await start(*settings, stdout=PIPE, stderr=stuck)
    assert server.stdout
    line = (await begun(server.stdout.readline())).decode()
    door = Door(f"127.0.0.1:{line.rstrip().rpartition(':')[2]}")
    ana, bob = await door.connect("ana"), await door.connect("bob")
    for _ in range(50):
        await door.open(pairs=[("bcast-colour", "red")]).end()
    await ana.say("hola")
    assert (await bob.hear()).message == "ana: hola"
    health: Any = health_pb2_grpc.HealthStub(door.channel())
    assert (await within(health.Check(health_pb2.HealthCheckRequest()))).status
    server.send_signal(signal.SIGTERM)
    assert (await ana.end()).reason == "SHUTTING_DOWN"
    assert await within(server.wait()) == 0
    await door.close()


@pytest.mark.parametrize("end", ENDS)
async def test_a_stdout_that_nobody_reads(start: Callable[..., Awaitable[Process]], stage: Stage, end: str) -> None:
    """The server serves and drains, though nobody hears where it listens."""
    port = free_port()
    server = await start("--port", f"{port}", stdout=getattr(stage, end)(), stderr=DEVNULL)
    door = Door(f"127.0.0.1:{port}")
    await begun(door.channel().channel_ready())
    await door.connect("ana")
    server.send_signal(signal.SIGTERM)
    assert await within(server.wait()) == 0
    await door.close()


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "1>&- 2>&-", "<&- 1>&- 2>&-"])
async def test_no_stdout_or_stderr_at_all(run: Run, closed: str) -> None:
    """What is not there is not written to, least of all a file or socket that has its number now."""
    port = free_port()
    command = f'exec {closed} "$0" -m bcast_grpc.server --port {port} --host 0.0.0.0 --open'
    server = await run("/bin/sh", "-c", command, sys.executable, stdout=None, stderr=None)
    door = Door(f"127.0.0.1:{port}")
    await begun(door.channel().channel_ready())
    await door.connect("ana")
    server.send_signal(signal.SIGTERM)
    assert await within(server.wait()) == 0
    await door.close()


async def test_what_was_not_read_is_reported_later(run: Run) -> None:
    """In one line, in its place, once somebody reads again; the last lines are written before the end."""
    program = (
        "import logging, sys; from bcast_grpc.server.logs import set_up; handler = set_up('debug', 'text')\n"
        "for n in range(40_000): logging.debug('%d', n)\n"
        "print('said', flush=True); sys.stdin.readline()\n"
        "while not handler.output.flush(1): pass\n"
        "logging.info('the end')"
    )
    process = await run(sys.executable, "-c", program, stdin=PIPE, limit=1024)
    assert process.stdout
    assert await begun(process.stdout.readline()) == b"said\n"
    _, stderr = await within(process.communicate(b"\n"))
    lines = [line.rpartition(": ")[2] for line in stderr.decode().splitlines()]
    kept = [int(line) for line in lines if line.isdigit()]
    assert kept == list(range(len(kept)))
    dropped = [line for line in stderr.decode().splitlines() if "were dropped" in line]
    assert [line.partition("bcast_grpc")[2] for line in dropped] == [
        f".server.logs: {40_000 - len(kept)} log lines were dropped: nobody read stderr"
    ]
    assert lines[-1] == "the end"


@pytest.mark.grpc_engine("grpcio", reason="native has no log of its own")
async def test_grpc_says_nothing_by_itself(run: Run) -> None:
    """Its core would write to stderr from its own threads, and wait for a reader; who wants its log can have it."""
    said = []
    for extra in ({}, {"GRPC_VERBOSITY": "DEBUG"}):
        environ = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"} | extra
        command = (sys.executable, "-m", "bcast_grpc.server", "--port", "0")
        server = await run(*command, env={**environ, "GRPC_TRACE": "http"})
        assert server.stdout
        door = Door((await begun(server.stdout.readline())).decode().strip().removeprefix("listening on grpc://"))
        await door.connect("ana")
        await door.close()
        server.send_signal(signal.SIGTERM)
        _, stderr = await within(server.communicate())
        said.append([line for line in stderr.decode().splitlines() if "chttp2" in line])
    assert not said[0]
    assert said[1]


async def test_the_settings_in_a_pipe_that_is_closed(run: Run) -> None:
    """``--print-config | head -1`` ends well, without a word on stderr."""
    command = '"$0" -m bcast_grpc.server --print-config | true; exit ${PIPESTATUS[0]}'
    process = await run("/bin/bash", "-c", command, sys.executable, stdout=None)
    _, stderr = await begun(process.communicate())
    assert (process.returncode, stderr) == (0, b"")
