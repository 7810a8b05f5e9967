"""What ends the server from outside: one wish, however many tell of it; a second one is in earnest."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE

import grpc
import pytest

from tests.authority import Authority
from tests.full_pipe import full_pipe

from .conftest import Run, ServerProcess, Spawn
from .endings import check_closing, stop_reading
from .peers import Peer, begun, within

SAME_S = 1.0


async def end_of(server: ServerProcess, peer: Peer) -> tuple[int, str]:
    """Wait for the server's end, which it told its client of."""
    check_closing(await peer.end())
    return await server.exit()


async def test_a_terminal_that_is_closed(spawn: Spawn) -> None:
    """SIGHUP drains: every client gets its last words."""
    server = await spawn()
    ana = await server.connect("ana")
    server.signal(signal.SIGHUP)
    assert (await end_of(server, ana))[0] == 0


async def test_files_to_read_again(spawn: Spawn, authority: Authority) -> None:
    """SIGHUP ends nothing then; the log says what is in force."""
    server = await spawn(*authority.sign("server").flags)
    server.credentials = grpc.ssl_channel_credentials(authority.pem)
    ana, bob = await server.connect("ana"), await server.connect("bob")
    server.signal(signal.SIGHUP)
    assert server.process.stderr
    while b"reloaded: TLS with a certificate for localhost, 127.0.0.1" not in await within(
        server.process.stderr.readline()
    ):
        pass
    await ana.say("hola")
    await bob.hear_until("ana: hola")
    server.signal(signal.SIGTERM)
    assert (await end_of(server, ana))[0] == 0


IN_A_TERMINAL = """
import os, pty, sys
said = os.dup(1)
pid, terminal = pty.fork()
if pid == 0:
    os.dup2(said, 1)
    os.execv(sys.executable, [sys.executable, "-m", "bcast_grpc.server", *sys.argv[1:]])
sys.stdin.readline()
os.close(terminal)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


async def test_a_terminal_that_is_closed_though_there_are_files(run: Run, authority: Authority) -> None:
    """The server ends as any program does that was started there, and drains before it."""
    flags = authority.sign("server").flags
    process = await run(sys.executable, "-c", IN_A_TERMINAL, "--port", "0", *flags, stdin=PIPE, stderr=None)
    assert process.stdout
    server = ServerProcess(process, [(await begun(process.stdout.readline())).decode().strip()])
    server.credentials = grpc.ssl_channel_credentials(authority.pem)
    ana = await server.connect("ana")
    assert process.stdin
    process.stdin.write(b"\n")
    check_closing(await ana.end())
    assert await within(process.wait()) == 0
    await server.close()


async def test_nohup(run: Run) -> None:
    """A process that was started to ignore SIGHUP does."""
    process = await run("/bin/sh", "-c", 'trap "" HUP; exec "$0" -m bcast_grpc.server --port 0', sys.executable)
    assert process.stdout
    server = ServerProcess(process, [(await begun(process.stdout.readline())).decode().strip()])
    ana, bob = await server.connect("ana"), await server.connect()
    server.signal(signal.SIGHUP)
    await ana.say("hola")
    assert (await bob.hear()).message == "ana: hola"
    server.signal(signal.SIGTERM)
    code, stderr = await end_of(server, ana)
    await server.close()
    assert code == 0
    assert "SIGHUP" not in stderr


@pytest.mark.parametrize(
    "numbers",
    [
        (signal.SIGINT, signal.SIGINT),
        (signal.SIGINT, signal.SIGTERM),
        (signal.SIGTERM, signal.SIGHUP, signal.SIGINT),
        (signal.SIGHUP, signal.SIGTERM, signal.SIGTERM),
    ],
)
async def test_a_terminal_and_a_supervisor_at_once(spawn: Spawn, numbers: tuple[signal.Signals, ...]) -> None:
    """Signals within a second are one wish: the drain is not skipped."""
    server = await spawn("--drain-s", "600", "--queue-bytes", "67108864")
    slow, ana = await stop_reading(server), await server.connect("ana")
    for number in numbers:
        server.signal(number)
    check_closing(await ana.end())
    check_closing(await slow.end())  # it got all that was queued for it
    code, stderr = await server.exit()
    assert code == 0
    assert "again" not in stderr


async def test_a_loop_that_was_busy_between_them(spawn: Spawn) -> None:
    """What counts is when a signal came, not when somebody had the time for it."""
    server = await spawn()
    ana = await server.connect("ana")
    server.signal(signal.SIGSTOP)
    server.signal(signal.SIGINT)
    server.signal(signal.SIGTERM)
    await asyncio.sleep(2 * SAME_S)  # signals further apart would be two wishes
    server.signal(signal.SIGCONT)
    assert (await end_of(server, ana))[0] == 0


async def test_a_second_wish_is_in_earnest(spawn: Spawn) -> None:
    """More than a second after the first it ends the server at once, with 1, and the log says so."""
    server = await spawn("--drain-s", "600", "--queue-bytes", "67108864")
    await stop_reading(server)
    other = await server.connect()
    server.signal(signal.SIGHUP)
    check_closing(await other.end())
    await asyncio.sleep(1.1 * SAME_S)  # sooner it would be the same wish
    server.signal(signal.SIGINT)
    code, stderr = await server.exit()
    assert code == 1
    assert stderr.splitlines()[-1].endswith("SIGINT again: ending at once")


async def test_a_second_wish_where_the_log_is_stuck(run: Run) -> None:
    """Nobody reads the log, and it still ends at once."""
    read, write = full_pipe()
    settings = ("--port", "0", "--drain-s", "600", "--queue-bytes", "67108864")
    process = await run(sys.executable, "-m", "bcast_grpc.server", *settings, stderr=write)
    assert process.stdout
    line = (await begun(process.stdout.readline())).decode().strip()
    server = ServerProcess(process, [line])
    await stop_reading(server)
    other = await server.connect()
    server.signal(signal.SIGTERM)
    check_closing(await other.end())
    await asyncio.sleep(1.1 * SAME_S)  # sooner it would be the same wish
    server.signal(signal.SIGTERM)
    assert await within(process.wait()) == 1
    await server.close()
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_before_it_is_ready(run: Run, number: signal.Signals) -> None:
    """Once the program runs, a signal ends it well, though it has not opened its doors yet; before that, at once."""
    code = (
        "import os, signal, sys; from bcast_grpc.server.__main__ import main\n"
        f"from bcast_grpc.server import signals; signals.hold(); os.kill(os.getpid(), {int(number)})\n"
        "sys.argv[1:] = ['--port', '0']; sys.exit(main())"
    )
    process = await run(sys.executable, "-c", code)
    _, stderr = await begun(process.communicate())
    assert process.returncode == 0
    assert b"Traceback" not in stderr
