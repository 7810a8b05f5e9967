"""Real NATS servers, one or a cluster of three, which tests kill, freeze and restart."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from http.client import HTTPException
from pathlib import Path
from shutil import copytree, rmtree
from tempfile import mkdtemp
from typing import Any

import pytest

from tests.go_tools import BUILD_S, build_nats
from tests.ports import free_port

PATIENCE_S = 30


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whichever of the tests that need the server is the first has to build it."""
    for item in items:
        if "nats_program" in getattr(item, "fixturenames", ()) or "nats" in item.name.partition("[")[2]:
            item.add_marker(pytest.mark.timeout(BUILD_S))


@pytest.fixture(scope="session")
def nats_program() -> Path:
    """The program."""
    return program()


@pytest.fixture(scope="session")
def shared_nats(nats_program: Path) -> NatsServer:  # so that it is known which tests build it
    """One server for all tests of a process, which use clusters of different names."""
    return shared()


@cache
def program() -> Path:
    """Build the program, once for each process; skip the test where Go is missing."""
    folder = mkdtemp(prefix="nats-")
    atexit.register(rmtree, folder, ignore_errors=True)
    return build_nats(Path(folder))


@cache
def shared() -> NatsServer:
    """Start the server that all tests of a process share, with clusters of different names."""
    server = NatsServer(program(), program().parent / "shared")
    server.start()
    atexit.register(server.kill)
    server.wait()
    return server


class NatsServer:
    """A NATS server with JetStream on free ports of this machine; the ports and the folder outlive a kill.

    Args:
        program: the binary.
        folder: where its configuration and its data are.
        name: unique among the servers of a cluster.
        routes: its own port for a cluster's other servers, and the ports where it reaches those.
        more: further lines of the configuration.
        store: whether it has JetStream.
        secluded: whether it tells nobody where it is: all go through what is between it and them.
    """

    def __init__(
        self,
        program: Path,
        folder: Path,
        name: str = "n0",
        routes: Sequence[int] = (),
        more: str = "",
        store: bool = True,
        *,
        secluded: bool = False,
    ) -> None:
        self.port = free_port()
        self.name = name
        self._monitor = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        cluster = ""
        if routes:
            peers = ", ".join(f'"nats://127.0.0.1:{port}"' for port in (routes[1:] if secluded else routes))
            hidden = "advertise: 127.0.0.1:1, no_advertise: true, " if secluded else ""
            cluster = f"cluster {{ name: tests, listen: 127.0.0.1:{routes[0]}, {hidden}routes: [{peers}] }}\n"
        (folder / "nats.conf").write_text(
            f"server_name: {name}\nlisten: 127.0.0.1:{self.port}\nhttp: 127.0.0.1:{self._monitor}\n"
            + (f'jetstream {{ store_dir: "{folder}/js", max_mem: 64MB, max_file: 4GB }}\n' if store else "")
            + f"{cluster}{more}\n"
        )
        self._command = [str(program), "-c", str(folder / "nats.conf"), "-l", str(folder / "log")]

    @property
    def url(self) -> str:
        """Where it is."""
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, or start it again with the data that it has."""
        assert self._process is None
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it, and wait for that."""
        process, self._process = self._process, None
        if process:
            process.send_signal(signal.SIGCONT)
            process.send_signal(how)
            process.wait()

    def freeze(self) -> None:
        """Stop it in its tracks, and wait for that: on a busy machine it goes on for a while."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def back_up(self) -> Path:
        """Copy its data, while it does not run."""
        copy = self._folder / f"copy {time.monotonic_ns()}"
        copytree(self._folder / "js", copy)
        return copy

    def restore(self, copy: Path) -> None:
        """Put a copy in the place of its data, while it does not run."""
        rmtree(self._folder / "js")
        copytree(copy, self._folder / "js")

    def configure(self, line: str) -> None:
        """Add a line to its configuration, which it reads when it starts or reloads."""
        with (self._folder / "nats.conf").open("a") as file:
            file.write(f"{line}\n")

    def reload(self) -> None:
        """Have it read its configuration again."""
        assert self._process
        self._process.send_signal(signal.SIGHUP)

    @property
    def cpu_s(self) -> float:
        """How much CPU time it has used."""
        assert self._process
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def is_healthy(self) -> bool:
        """Whether it and its JetStream are ready."""
        return self.tells("healthz").get("status") == "ok"

    def leader(self, stream: str) -> str:
        """Return the name of the server that leads a stream, as this one sees it; nothing if it sees none."""
        accounts = self.tells("jsz?streams=true").get("account_details", [])
        streams = [one for account in accounts for one in account.get("stream_detail", []) if one["name"] == stream]
        return next((str(one.get("cluster", {}).get("leader", self.name)) for one in streams), "")

    def tells(self, what: str) -> dict[str, Any]:
        """Return what it says of itself; nothing if it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._monitor}/{what}", timeout=1) as answer:
                told: dict[str, Any] = json.load(answer)
                return told
        except (OSError, ValueError, HTTPException):
            return {}

    def wait(self) -> None:
        """Wait until it is ready, without a loop."""
        until = time.monotonic() + PATIENCE_S
        while not self.is_healthy():
            assert time.monotonic() < until, self.said
            time.sleep(0.02)  # nobody tells

    async def ready(self) -> None:
        """Wait until it is ready."""
        async with asyncio.timeout(PATIENCE_S):
            while not await asyncio.to_thread(self.is_healthy):  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.02)

    @property
    def said(self) -> str:
        """Its log."""
        return (self._folder / "log").read_text()


@contextmanager
def running(program: Path, folder: Path, more: str = "", *, store: bool = True) -> Iterator[NatsServer]:
    """Run one server, and wait until it is ready."""
    server = NatsServer(program, folder, more=more, store=store)
    server.start()
    try:
        server.wait()
        yield server
    finally:
        server.kill()


@asynccontextmanager
async def cluster(program: Path, folder: Path) -> AsyncIterator[list[NatsServer]]:
    """Run a cluster of three."""
    ports = [free_port() for _ in range(3)]
    servers = [
        NatsServer(program, folder / f"n{n}", f"n{n}", [ports[n], *ports[:n], *ports[n + 1 :]]) for n in range(3)
    ]
    try:
        for server in servers:
            server.start()
        for server in servers:
            await server.ready()
        yield servers
    finally:
        for server in servers:
            server.kill()
