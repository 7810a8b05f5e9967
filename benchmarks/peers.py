"""The servers that are measured, and how each is built and started."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import trustme

ROOT = Path(__file__).parent.parent
GO = ROOT / "benchmarks" / "go"
CPP = ROOT / "benchmarks" / "cpp"
BUILD = ROOT / "build" / "bench"
SERVER_CORE, LOAD_CORE = "0", "1"
HERE = "127.0.0.1"


class CannotRun(Exception):
    """Something that a measurement needs is not there."""


@dataclass(frozen=True)
class Peer:
    """A server to measure.

    Attributes:
        name: as the tables show it.
        kind: what the load generator is to speak.
        command: what starts it; ``{port}`` stands for the port to listen on, ``{temp}`` for a folder of its own.
        tls: whether it speaks TLS.
    """

    name: str
    kind: str
    command: Sequence[str]
    tls: bool = False


def _binary(name: str, *words: str) -> list[str]:
    return [str(BUILD / name), *words]


def _python(name: str) -> list[str]:
    return [sys.executable, str(ROOT / "benchmarks" / name), "--port", "{port}"]


_SERVER = [sys.executable, "-m", "bcast_grpc.server", "--log-level", "error"]
# The stock Go client has all its clients on one connection.
OURS = Peer("bcast_grpc", "bcast", [*_SERVER, "--port", "{port}", "--max-streams-per-connection", "20000"])
_OTHER_DOOR = [*_SERVER, "--port", "0"]
OUR_WEBSOCKET = Peer("bcast_grpc WebSocket", "bcast-ws", [*_OTHER_DOOR, "--http-port", "{port}"])
OUR_TCP = Peer("bcast_grpc TCP", "bcast-tcp", [*_OTHER_DOOR, "--tcp-port", "{port}"])
CERT, KEY = BUILD / "tls" / "cert.pem", BUILD / "tls" / "key.pem"
OURS_TLS = replace(
    OURS, name="bcast_grpc TLS", command=[*OURS.command, "--tls-cert", str(CERT), "--tls-key", str(KEY)], tls=True
)
NATS = Peer("NATS core", "nats", _binary("nats-server", "-a", HERE, "-p", "{port}"))
NATS_TLS = replace(
    NATS, name="NATS TLS", command=[*NATS.command, "--tls", "--tlscert", str(CERT), "--tlskey", str(KEY)], tls=True
)
JETSTREAM = Peer(
    "NATS JetStream", "jetstream", _binary("nats-server", "-a", HERE, "-p", "{port}", "-js", "-sd", "{temp}")
)
CENTRIFUGO = Peer(
    "Centrifugo",
    "centrifugo",
    _binary(
        *("centrifugo", "-c", str(ROOT / "benchmarks" / "centrifugo.json"), "--log.level", "error"),
        *("--http_server.address", HERE, "-p", "{port}"),
    ),
)
GRPC_GO = Peer("plain grpc-go", "grpcgo", _binary("grpcgo", "-port", "{port}"))
FIREHOSE = Peer("bcast_grpc", "firehose", _binary("firehose", "-port", "{port}"))
THREADS = Peer("class exercise", "tcp", _python("class_exercise.py"))
WEBSOCKETS = Peer("websockets", "ws", _python("websockets_broadcast.py"))
WEBSOCKETS_JOINED = Peer("websockets, joined", "ws-joined", _python("websockets_broadcast.py"))
CENTRIFUGO_MODULE = "github.com/centrifugal/centrifugo/v6@v6.9.1"
CPP_LOAD = BUILD / "cpp" / "load"
_CPP_TOOLS = ("cmake", "c++", "protoc", "grpc_cpp_plugin")


def with_engines(peers: Sequence[Peer], engines: Sequence[str]) -> tuple[Peer, ...]:
    """Return the peers with our gRPC server once for each engine; as it is by default, if none is given."""
    if not engines:
        return tuple(peers)
    ours = [
        replace(OURS, name=f"{OURS.name} {name}", command=[*OURS.command, "--grpc-engine", name]) for name in engines
    ]
    return tuple(each for peer in peers for each in (ours if peer is OURS else [peer]))


def build() -> None:
    """Build the load generator, the peers that are written in Go, and the ordinary clients in C++.

    Centrifugo stays out of ``go.mod``, for the hundreds of modules it needs; where it or gRPC for C++ cannot be had it
    is left out.

    Raises:
        CannotRun: there is no Go, or it fails.
    """
    if not shutil.which("go") or not shutil.which("taskset"):
        raise CannotRun("the load generator is written in Go: install it, version 1.26 or later, and taskset")
    make_certificate()
    environment = {**os.environ, "GOBIN": str(BUILD)}
    path = {**environment, "PATH": f"{BUILD}{os.pathsep}{os.environ['PATH']}"}
    _run(["go", "install", "tool"], environment)
    stubs = [f"--{plugin}_out={GO / 'gen'}" for plugin in ("go", "go-grpc")]
    (GO / "gen").mkdir(exist_ok=True)
    _run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'protos'}", *stubs, "bcast_grpc/v1/chat.proto"],
        path,
    )
    _run(["go", "install", "./load", "./grpcgo", "./firehose"], environment)
    if not Path(CENTRIFUGO.command[0]).exists():
        _or_leave_out("Centrifugo", lambda: _run(["go", "install", CENTRIFUGO_MODULE], environment))
    _or_leave_out("the load by C++ clients", _build_cpp)


def make_certificate() -> None:
    """Make the certificate that servers with TLS show, unless there is one."""
    CERT.parent.mkdir(parents=True, exist_ok=True)
    if not CERT.exists():
        made = trustme.CA().issue_cert(HERE, "localhost")
        KEY.write_bytes(made.private_key_pem.bytes())
        CERT.write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))


def _build_cpp() -> None:
    if missing := [tool for tool in _CPP_TOOLS if not shutil.which(tool)]:
        raise CannotRun(f"{', '.join(missing)} not found")
    environment = dict(os.environ)
    _run(["cmake", "-S", str(CPP), "-B", str(CPP_LOAD.parent)], environment)
    _run(["cmake", "--build", str(CPP_LOAD.parent), "--target", "load"], environment)


def _or_leave_out(what: str, build_it: Callable[[], None]) -> None:
    try:
        build_it()
    except CannotRun as error:
        print(f"{what} is left out: {error}", file=sys.stderr)


def _run(command: Sequence[str], environment: dict[str, str]) -> None:
    if subprocess.run(command, cwd=GO, env=environment, stdout=subprocess.DEVNULL, check=False).returncode:
        raise CannotRun(f"this failed: {' '.join(command)}")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(peer: Peer) -> Iterator[tuple[str, int]]:
    """Start a peer on the server's core; give its address and process id."""
    port = free_port()
    with TemporaryDirectory() as temp:
        process = subprocess.Popen(
            pinned(SERVER_CORE, [word.format(port=port, temp=temp) for word in peer.command]),
            cwd=ROOT,
            env={**os.environ, "GOMAXPROCS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_for(port, process)
            yield f"{HERE}:{port}", process.pid
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
            if probe.connect_ex((HERE, port)) == 0:
                return
        time.sleep(0.05)
    raise CannotRun("the server does not listen")
