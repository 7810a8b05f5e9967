"""Lines that are slow, or dead: network namespaces of one's own. Needs root, and ``ip`` and ``tc`` of iproute2.

::

    this process  ──  a router  ──  the server's namespace
                   (slow, or cut)
"""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unchanged import network_changes

_CLONE_NEWNET = 0x40000000
_NAMESPACES = Path("/var/run/netns")
_ATTEMPTS = 20


def require_namespaces() -> None:
    """Skip the test where no network namespace can be made; on CI it fails instead."""
    missing = [tool for tool in ("ip", "tc") if not shutil.which(tool)]
    if os.geteuid() == 0 and not missing:
        return
    reason = f"needs {' and '.join(missing)} of iproute2" if missing else "needs root, for network namespaces"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass(frozen=True, slots=True)
class Line:
    """A line to a namespace in which servers may listen.

    Attributes:
        server_host: the address that a server binds, and a client of this process connects to.
        client_host: where that client comes from.
        namespace: the server's.
    """

    server_host: str
    client_host: str
    namespace: str

    @property
    def command(self) -> tuple[str, ...]:
        """What to put before a command, to run it in the server's namespace: ``*line.command, sys.executable, …``."""
        return ("ip", "netns", "exec", self.namespace)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Be in the server's namespace: a socket that this thread makes meanwhile stays there. So do gRPC's threads."""
        with Path("/proc/thread-self/ns/net").open() as here, (_NAMESPACES / self.namespace).open() as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(here.fileno())

    def enter(self) -> None:
        """Move this process into the server's namespace for good, where it has one thread."""
        with (_NAMESPACES / self.namespace).open() as there:
            _enter(there.fileno())

    def set_rate(self, rate_bytes: int) -> None:
        """Let so many bytes a second through, each way. What waits is at most a second's worth."""
        for device in ("left", "right"):
            shape = ("tbf", "rate", f"{8 * rate_bytes}bit", "burst", "1540", "latency", "1s")
            _run(*self._on_router, "tc", "qdisc", "replace", "dev", device, "root", *shape)

    def cut(self) -> None:
        """Cut the cable: what is sent is lost, and nobody is told."""
        self._forward(on=False)

    def mend(self) -> None:
        """Put the cable together again."""
        self._forward(on=True)

    def restore(self) -> None:
        """Let everything through again."""
        self.mend()
        for device in ("left", "right"):  # one without a shape cannot be rid of it
            command = (*self._on_router, "tc", "qdisc", "delete", "dev", device, "root")
            subprocess.run(command, capture_output=True, check=False)

    @property
    def _on_router(self) -> tuple[str, ...]:
        return ("ip", "netns", "exec", _router(self.namespace))

    def _forward(self, *, on: bool) -> None:
        _run(*self._on_router, "sh", "-c", f"echo {int(on)} > /proc/sys/net/ipv4/ip_forward")


@asynccontextmanager
async def line(rate_bytes: int | None = None) -> AsyncIterator[Line]:
    """Lay a line, as ``laid_line`` does.

    Args:
        rate_bytes: how many bytes a second pass, each way; None: as many as come.
    """
    with laid_line() as laid:
        if rate_bytes:
            laid.set_rate(rate_bytes)
        yield laid


@contextmanager
def laid_line() -> Iterator[Line]:
    """Lay a line, with MTU 1500. Skips the test where that cannot be done."""
    require_namespaces()
    _sweep()
    laid = _lay()
    try:
        yield laid
    finally:
        _remove(laid.namespace)


def _lay() -> Line:
    with network_changes():  # so that nobody else takes the subnet between the look and the line
        for _ in range(_ATTEMPTS):
            net = random.randrange(512)  # other tests of this machine have lines too
            subnet = f"198.{18 + net // 256}.{net % 256}"
            namespace = f"bcast-{os.getpid()}-{net}"
            if subnet in _run("ip", "route"):
                continue
            made = Line(f"{subnet}.6", f"{subnet}.1", namespace)
            try:
                _connect(made, subnet, f"bcast{net}")
            except BaseException:
                _delete(namespace)
                raise
            return made
    raise RuntimeError("no subnet of 198.18.0.0/15 is free")


def _connect(made: Line, subnet: str, device: str) -> None:
    router, server = _router(made.namespace), made.namespace
    for command in (
        f"ip netns add {router}",
        f"ip netns add {server}",
        f"ip link add {device} type veth peer name left netns {router}",
        f"ip -n {router} link add right type veth peer name eth0 netns {server}",
        f"ip address add {subnet}.1/30 dev {device}",
        f"ip -n {router} address add {subnet}.2/30 dev left",
        f"ip -n {router} address add {subnet}.5/30 dev right",
        f"ip -n {server} address add {subnet}.6/30 dev eth0",
        f"ip link set {device} up",
        f"ip -n {router} link set left up",
        f"ip -n {router} link set right up",
        f"ip -n {server} link set eth0 up",
        f"ip -n {server} link set lo up",
        f"ip -n {server} route add default via {subnet}.5",
        f"ip route add {subnet}.4/30 via {subnet}.2",
    ):
        _run(*command.split())
    made.mend()


def _sweep() -> None:
    """Remove the lines of processes that were killed."""
    for path in _NAMESPACES.glob("bcast-*-*"):
        _, pid, net, *_ = path.name.split("-")
        if not Path("/proc", pid).exists():
            _remove(f"bcast-{pid}-{net}")
            subprocess.run(("ip", "link", "delete", f"bcast{net}"), capture_output=True, check=False)


def _remove(namespace: str) -> None:
    with network_changes():
        _delete(namespace)


def _delete(namespace: str) -> None:
    for name in (_router(namespace), namespace):  # its devices, and their other ends, go with it
        subprocess.run(("ip", "netns", "delete", name), capture_output=True, check=False)


def _router(namespace: str) -> str:
    return f"{namespace}-router"


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
