"""How the server starts, as the one who runs it sees it: addresses, exit codes, what is printed."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import suppress

import pytest
from grpc import StatusCode

from bcast_grpc import __version__
from tests.ports import free_port

from .conftest import ServerProcess, Spawn


def has_ipv6() -> bool:
    """Whether one can listen on the IPv6 loopback."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("localhost", "localhost"), ("::1", "[::1]")])
async def test_it_says_where_it_listens(spawn: Spawn, host: str, shown: str) -> None:
    """One line on stdout tells the address, once the server is ready for clients and signals."""
    if host == "::1" and not has_ipv6():
        pytest.skip("no IPv6 here")
    server = await spawn("--host", host)
    [line] = server.said
    address, _, port = line.removeprefix("listening on grpc://").rpartition(":")
    assert address == shown
    assert 0 < int(port) < 65536
    await server.connect()
    server.signal(signal.SIGTERM)
    code, _ = await server.exit()
    assert code == 0
    assert server.said == [line]


async def test_two_servers(spawn: Spawn) -> None:
    """Where a port is in use a second server says so in one line, prints no address, and exits with 2."""
    first = await spawn()
    port = first.address.rpartition(":")[2]
    second = await spawn("--port", port)
    code, stderr = await second.exit()
    assert (code, second.said) == (2, [])
    assert len(stderr.splitlines()) == 1
    assert first.address in stderr
    ana, bob = await first.connect(), await first.connect()
    await ana.say("hola")
    assert (await bob.hear()).message == "hola"


async def test_a_port_of_another_program(spawn: Spawn) -> None:
    """The same where another kind of program has the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = await spawn("--port", str(port))
        code, stderr = await server.exit()
    assert (code, server.said) == (2, [])
    assert len(stderr.splitlines()) == 1
    assert f"127.0.0.1:{port}" in stderr


async def test_an_address_of_another_machine(spawn: Spawn) -> None:
    """An address that is not this machine's is refused in the same way."""
    server = await spawn("--host", "192.0.2.1", "--open")
    code, stderr = await server.exit()
    assert (code, server.said, len(stderr.splitlines())) == (2, [], 1)
    assert "192.0.2.1" in stderr


@pytest.mark.parametrize(
    ("arguments", "code", "on_stdout", "on_stderr"),
    [
        (["--help"], 0, "--drain-s", ""),
        (["--version"], 0, __version__, ""),
        (["--print-config"], 0, "drain_s = 10", ""),
        (["--colour", "red"], 2, "", "--colour"),
        (["--drain-s", "soon"], 2, "", "--drain-s soon"),
        (["--queue-messages", "0"], 2, "", "--queue-messages 0"),
    ],
)
async def test_usage(spawn: Spawn, arguments: list[str], code: int, on_stdout: str, on_stderr: str) -> None:
    """Questions are answered on stdout, with 0; what does not fit is named on stderr, with 2; nothing is started."""
    server = await spawn(*arguments)
    exit_code, stderr = await server.exit()
    stdout = "\n".join(server.said)
    assert exit_code == code
    assert on_stdout in stdout
    assert on_stderr in stderr
    assert bool(stdout) is bool(on_stdout)
    assert bool(stderr) is bool(on_stderr)
    assert "listening" not in stdout


async def test_a_warning_off_loopback(spawn: Spawn) -> None:
    """A server that others can reach, with neither TLS nor tokens, as asked for by ``--open``, warns at the start."""
    server = await spawn("--host", "0.0.0.0", "--open")
    server.signal(signal.SIGTERM)
    code, stderr = await server.exit()
    assert code == 0
    assert "WARNING" in stderr


async def test_a_restart(spawn: Spawn) -> None:
    """When a server is killed its clients see UNAVAILABLE; another can have the port at once, with a new epoch."""
    port = f"{free_port()}"
    first = await spawn("--port", port)
    ana = await first.connect()
    first.signal(signal.SIGKILL)
    assert (await ana.end()).code == StatusCode.UNAVAILABLE
    await first.exit()
    second = await spawn("--port", port)
    again = await second.connect()
    assert second.address == first.address
    assert again.epoch != ana.epoch


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="only Linux has it")
@pytest.mark.grpc_engine("grpcio", reason="native has no thread that polls")
async def test_the_loop_is_not_interrupted(server: ServerProcess) -> None:
    """The poller of gRPC waits for its turn; the loop, in the process's first thread, is a thread like any other."""
    pid = server.process.pid
    policies = {}
    for name in await asyncio.to_thread(os.listdir, f"/proc/{pid}/task"):
        with suppress(ProcessLookupError):  # a thread may have ended meanwhile
            policies[int(name)] = os.sched_getscheduler(int(name))
    assert policies[pid] == os.SCHED_OTHER
    assert os.SCHED_BATCH in policies.values()
