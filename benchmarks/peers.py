"""The servers that are measured, and how each is built and started."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
GO = ROOT / "benchmarks" / "go"
BUILD = ROOT / "build" / "bench"
SERVER_CORE, LOAD_CORE = "0", "1"


class CannotRun(Exception):
    """Something that a measurement needs is not there."""


@dataclass(frozen=True)
class Peer:
    """A server to measure.

    Attributes:
        name: as the tables show it.
        kind: what the load generator is to speak.
        command: what starts it; ``{port}`` stands for the port to listen on.
    """

    name: str
    kind: str
    command: Sequence[str]


OURS = Peer(
    "bcast_grpc", "bcast", [sys.executable, "-m", "bcast_grpc.server", "--port", "{port}", "--log-level", "error"]
)
NATS = Peer("NATS core", "nats", [str(BUILD / "nats-server"), "-a", "127.0.0.1", "-p", "{port}"])
GRPC_GO = Peer("plain grpc-go", "grpcgo", [str(BUILD / "grpcgo"), "-port", "{port}"])
THREADS = Peer(
    "class exercise", "tcp", [sys.executable, str(ROOT / "benchmarks" / "class_exercise.py"), "--port", "{port}"]
)
WEBSOCKETS = Peer(
    "websockets", "ws", [sys.executable, str(ROOT / "benchmarks" / "websockets_broadcast.py"), "--port", "{port}"]
)


def build() -> None:
    """Build the load generator and the peers that are written in Go.

    Raises:
        CannotRun: there is no Go, or it fails.
    """
    if not shutil.which("go"):
        raise CannotRun("the load generator is written in Go: install it, version 1.26 or later")
    BUILD.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "GOBIN": str(BUILD)}
    path = {**environment, "PATH": f"{BUILD}{os.pathsep}{os.environ['PATH']}"}
    _run(["go", "install", "tool"], environment)
    stubs = [f"--{plugin}_out={GO / 'gen'}" for plugin in ("go", "go-grpc")]
    (GO / "gen").mkdir(exist_ok=True)
    _run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'protos'}", *stubs, "bcast_grpc/v1/chat.proto"],
        path,
    )
    _run(["go", "install", "./load", "./grpcgo"], environment)


def _run(command: Sequence[str], environment: dict[str, str]) -> None:
    if subprocess.run(command, cwd=GO, env=environment, check=False).returncode:
        raise CannotRun(f"this failed: {' '.join(command)}")


@contextmanager
def running(peer: Peer) -> Iterator[tuple[str, int]]:
    """Start a peer on the server's core; give its address and process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [word.format(port=port) for word in peer.command]
    process = subprocess.Popen(
        pinned(SERVER_CORE, command),
        cwd=ROOT,
        env={**os.environ, "GOMAXPROCS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, process)
        yield f"127.0.0.1:{port}", process.pid
    finally:
        process.kill()
        process.wait()


def pinned(core: str, command: Sequence[str]) -> list[str]:
    """Return the command that runs ``command`` on one core."""
    return ["taskset", "-c", core, *command]


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise CannotRun(f"this does not listen: {process.args!r}")
