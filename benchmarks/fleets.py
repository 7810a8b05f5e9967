"""Servers that are one, and what they share: NATS, or Redis. All on this machine, and on no core in particular."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks.peers import BUILD, CENTRIFUGO, HERE, ROOT, CannotRun, Peer
from tests.ports import ReservedPort

START_S = 30.0


class Process(NamedTuple):
    """A program that runs.

    Attributes:
        address: where it listens.
        pid: of the process that was started.
    """

    address: str
    pid: int

    @property
    def family(self) -> tuple[list[int], list[int]]:
        """The process and its descendants: those that are servers, and the NATS servers that they have started."""
        parents = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it has ended meanwhile
                head, _, rest = path.read_text().rpartition(") ")
                parents[int(path.parent.name)] = int(rest.split()[1]), head.partition("(")[2]
        own, nats, found = [self.pid], [], {self.pid}
        while new := {pid for pid, (parent, _) in parents.items() if parent in found} - found:
            found |= new
            own += [pid for pid in new if parents[pid][1] != "nats-server"]
            nats += [pid for pid in new if parents[pid][1] == "nats-server"]
        return own, nats


@dataclass(frozen=True)
class Fleet:
    """Programs of one kind that know each other.

    Attributes:
        command: starts one of them; ``{port}``, ``{peer}`` and ``{monitor}`` stand for ports of its own, ``{n}`` for
            its number, ``{peers}`` for the URLs of the others, ``{temp}`` for a folder of its own, ``{shared}`` for
            the addresses of what it shares.
        count: how many.
        workers: of each, that listen on its port.
        monitored: whether it says on its ``{monitor}`` port, as NATS does, when it is ready.
        environment: further variables, with the same words.
    """

    command: Sequence[str]
    count: int = 1
    workers: int = 1
    monitored: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cluster(Peer):
    """Servers that are one.

    Attributes:
        servers: the servers.
        shared: what runs before them.
    """

    servers: Fleet = Fleet(())
    shared: Fleet | None = None


def _cluster(name: str, kind: str, servers: Fleet, shared: Fleet | None = None) -> Cluster:
    return Cluster(name, kind, servers.command, servers=servers, shared=shared)


_NATS = (str(BUILD / "nats-server"), "-a", HERE, "-p", "{port}", "-m", "{monitor}")
_ROUTES = ("-n", "n{n}", "--cluster_name", "bench", "--cluster", f"nats://{HERE}:{{peer}}", "--routes", "{peers}")
R1 = Fleet((*_NATS, "-js", "-sd", "{temp}"), monitored=True)
R3 = Fleet((*R1.command, *_ROUTES), 3, monitored=True)
REDIS = Fleet(("redis-server", "--bind", HERE, "--port", "{port}", "--save", "", "--dir", "{temp}"))

_OURS = (
    *(sys.executable, "-m", "bcast_grpc.server", "--log-level", "error", "--port", "{port}"),
    *("--store", "nats://{shared}", "--cluster", "bench", "--store-replicas"),
)


def ours(servers: int, shared: Fleet) -> Cluster:
    """Return so many servers of ours on NATS."""
    replicas = shared.count
    return _cluster(f"bcast_grpc x {servers}, R{replicas}", "bcast", Fleet((*_OURS, str(replicas)), servers), shared)


_WORKERS = (sys.executable, "-m", "bcast_grpc.server", "--log-level", "error", "--workers")
_WITH_NATS = {"PATH": f"{BUILD}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}


def workers(count: int, kind: str) -> Cluster:
    """Return a server of ours with so many workers, and one of its doors."""
    ports = ("--port", "{port}") if kind == "bcast" else ("--port", "0", "--http-port", "{port}")
    fleet = Fleet((*_WORKERS, str(count), *ports), workers=count, environment=_WITH_NATS)
    return _cluster(f"bcast_grpc, workers {count}", kind, fleet)


NATS_PAIR = _cluster("NATS core x 2", "nats", Fleet((*_NATS, *_ROUTES), 2, monitored=True))
CENTRIFUGO_PAIR = _cluster(
    "Centrifugo x 2, Redis",
    "centrifugo",
    Fleet(
        (*CENTRIFUGO.command, "--engine.type", "redis"),
        2,
        environment={"CENTRIFUGO_ENGINE_REDIS_ADDRESS": "redis://{shared}"},
    ),
    REDIS,
)


def available(peer: Peer) -> bool:
    """Say whether all programs that the peer needs are there."""
    shared = peer.shared if isinstance(peer, Cluster) else None
    return all(which(command[0]) for command in (peer.command, *([shared.command] if shared else [])))


@contextmanager
def cluster(peer: Peer) -> Iterator[tuple[list[Process], list[Process]]]:
    """Start servers and what they share; give both."""
    with ExitStack() as stack:
        shared: list[Process] = []
        if not isinstance(peer, Cluster):
            peer = _cluster(peer.name, peer.kind, Fleet(peer.command))
        if peer.shared:
            shared = stack.enter_context(_started(peer.shared))
        yield stack.enter_context(_started(peer.servers, ",".join(one.address for one in shared))), shared


@contextmanager
def _started(fleet: Fleet, shared: str = "") -> Iterator[list[Process]]:
    """Start all, and wait until they are ready."""
    with ExitStack() as stack:
        ports, peers, monitors = (
            [stack.enter_context(ReservedPort()).number for _ in range(fleet.count)] for _ in range(3)
        )
        processes = []
        for n in range(fleet.count):
            words = {
                "port": ports[n],
                "peer": peers[n],
                "monitor": monitors[n],
                "n": n,
                "peers": ",".join(f"nats://{HERE}:{port}" for port in peers if port != peers[n]),
                "temp": stack.enter_context(TemporaryDirectory()),
                "shared": shared,
            }
            environment = {name: value.format(**words) for name, value in fleet.environment.items()}
            command = [word.format(**words) for word in fleet.command]
            processes.append(stack.enter_context(_process(command, environment)))
        deadline = time.monotonic() + START_S
        for process, port, monitor in zip(processes, ports, monitors, strict=True):
            while not (_is_ready(monitor, fleet.count - 1) if fleet.monitored else _listening(port) >= fleet.workers):
                if time.monotonic() > deadline or process.poll() is not None:
                    raise CannotRun(f"{Path(fleet.command[0]).name} is not ready")
                time.sleep(0.05)
        yield [Process(f"{HERE}:{port}", process.pid) for port, process in zip(ports, processes, strict=True)]


@contextmanager
def _process(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _listening(port: int) -> int:
    """Return how many sockets listen on a port."""
    lines = [line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()]
    return sum(line[1].endswith(f":{port:04X}") and line[3] == "0A" for line in lines)


def _is_ready(monitor: int, others: int) -> bool:
    """Say whether a NATS server is, and whether it has found the others."""
    try:
        with urllib.request.urlopen(f"http://{HERE}:{monitor}/healthz", timeout=1) as health:
            healthy = json.load(health)["status"] == "ok"
        with urllib.request.urlopen(f"http://{HERE}:{monitor}/routez", timeout=1) as routes:
            names = {route["remote_name"] for route in json.load(routes).get("routes") or ()}
    except (OSError, ValueError, KeyError):
        return False
    return healthy and len(names) >= others
