"""Servers: in this process, where one can look into them, and in processes of their own."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import ssl
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import grpc
import pytest
from websockets.asyncio.client import connect as connect_websocket

from bcast_grpc.core import clock
from bcast_grpc.event_loop import new_event_loop
from bcast_grpc.server import Server
from tests import engine, tokens
from tests.authority import Authority, Files, shared_ca
from tests.forked import Forked
from tests.logged import is_of_another_loop

from . import peers
from .json_peers import SocketPeer, WebSocketPeer
from .peers import Door, begun, eventually, within
from .wire import Wire


class LocalDoor(Door):
    """A server in this process."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.address)
        self.server = server
        self.tls: ssl.SSLContext | None = None
        self._others: list[WebSocketPeer | SocketPeer] = []

    def trust(self, authority: Authority, client: Files | None = None) -> LocalDoor:
        """Have clients come with TLS from now on, with a certificate or none."""
        self.tls = authority.context(client)
        key, cert = (client.key.read_bytes(), client.cert.read_bytes()) if client else (None, None)
        self.credentials = grpc.ssl_channel_credentials(authority.pem, key, cert)
        return self

    @property
    def http(self) -> str:
        """Where the page is."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.server.http_port}"

    async def browse(self, query: str = "", **options: Any) -> WebSocketPeer:
        """Open a WebSocket, and wait until it is open."""
        url = f"{self.http.replace('http', 'ws', 1)}/ws{query}"
        options = {"ssl": self.tls, **options} if self.tls else options
        peer = WebSocketPeer(await within(connect_websocket(url, compression=None, max_size=None, **options)))
        self._others.append(peer)
        return peer

    async def plug(self) -> SocketPeer:
        """Open a plain socket."""
        peer = await SocketPeer.connect(self.server.tcp_port, self.tls)
        self._others.append(peer)
        if self.tls:  # the server hears of the handshake's end later
            port = peer.writer.get_extra_info("sockname")[1]
            await eventually(lambda: port in self.server._connections._busy)
        return peer

    async def close(self) -> None:
        """Close all connections."""
        await super().close()
        for peer in self._others:
            await peer.close()


class ServerProcess(Door):
    """``python -m bcast_grpc.server`` in a process of its own.

    Attributes:
        said: its lines on stdout so far.
    """

    def __init__(self, process: Process | Forked, said: list[str]) -> None:
        super().__init__(said[0].rpartition("/")[2] if said else "")
        self.process = process
        self.said = said

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    async def exit(self) -> tuple[int, str]:
        """Wait until it ends, and return its exit code and what it wrote on stderr."""
        stdout, stderr = await within(self.process.communicate())
        self.said += stdout.decode().splitlines()
        assert self.process.returncode is not None
        assert not tokens.secrets_in(stderr.decode())
        return self.process.returncode, stderr.decode()


class Serve(Protocol):
    """Starts a server in this process."""

    async def __call__(self, **settings: Any) -> LocalDoor:
        """Start one with these settings."""


class Spawn(Protocol):
    """Starts a process of the project."""

    async def __call__(self, *arguments: str, program: Sequence[str] = ...) -> ServerProcess:
        """Start one with these arguments; ``program`` is another module that runs it, and what comes first."""


class Run(Protocol):
    """Runs a program."""

    async def __call__(self, *command: str, **options: Any) -> Process:
        """Run a command, with the options of ``asyncio.create_subprocess_exec``; stdout and stderr are pipes."""


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run on the event loop that the server runs on."""
    return {"server": new_event_loop}


@pytest.fixture
async def serve(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Serve]:
    """Start servers in this process; at the end no task, queue or room remains, and no fault was logged."""
    before = _tasks()
    doors: list[LocalDoor] = []

    async def start(**settings: Any) -> LocalDoor:
        server = Server(engine.settings(**settings))
        await server.start()
        door = LocalDoor(server)
        if authority := engine.tls():
            door.trust(authority)
        doors.append(door)
        return door

    yield start
    for door in doors:
        await door.close()
        hub = door.server.hub
        await eventually(lambda hub=hub: not hub.clients and not hub.rooms)  # type: ignore[misc]
        await door.server.stop()
    await eventually(lambda: _tasks() <= before)
    assert not [record for record in caplog.get_records("call") if _is_fault(record)]


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads has a second for what it was sent, not 50 ms: on a busy machine it is no slow client for that."""
    monkeypatch.setattr(clock, "MAX_ROUND_S", 1.0)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What must come has four times as long: a busy machine works for seconds before it does."""
    monkeypatch.setattr(peers, "PATIENCE_S", 4 * peers.PATIENCE_S)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority that signs for servers and clients."""
    return Authority(tmp_path, shared_ca())


@pytest.fixture
async def door(serve: Serve) -> LocalDoor:
    """A server in this process, with the settings' defaults."""
    return await serve()


@pytest.fixture
async def doors(serve: Serve) -> LocalDoor:
    """A server in this process with all doors open."""
    return await serve(http_port=0, tcp_port=0)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client of HTTP, which trusts the servers of this run."""
    authority = engine.tls()
    trusted = aiohttp.TCPConnector(ssl=authority.context()) if authority else None
    async with aiohttp.ClientSession(connector=trusted) as session:
        yield session


@pytest.fixture
def nats_in_path(nats_program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program is where a server looks for it."""
    monkeypatch.setenv("PATH", f"{nats_program.parent}:{os.environ['PATH']}")


@pytest.fixture
async def spawn() -> AsyncIterator[Spawn]:
    """Start servers in processes of their own; at the end none is left, though it never said anything."""
    async with AsyncExitStack() as stack:

        async def start(*arguments: str, program: Sequence[str] = ("bcast_grpc.server",)) -> ServerProcess:
            process = await Forked.run(*program, "--port", "0", *arguments)
            stack.push_async_callback(end_process, process)
            line = (await begun(process.stdout.readline())).decode().rstrip("\n")
            server = ServerProcess(process, [line] if line else [])
            stack.push_async_callback(server.close)
            return server

        yield start


@pytest.fixture
async def server(spawn: Spawn) -> ServerProcess:
    """A server in a process of its own, with the settings' defaults."""
    return await spawn()


@pytest.fixture
async def run() -> AsyncIterator[Run]:
    """Run programs; at the end none is left, whatever the test came to."""
    async with AsyncExitStack() as stack:

        async def start(*command: str, **options: Any) -> Process:
            process = await asyncio.create_subprocess_exec(*command, **{"stdout": PIPE, "stderr": PIPE, **options})
            stack.push_async_callback(end_process, process)
            return process

        yield start


@pytest.fixture
async def lone_client() -> AsyncIterator[Callable[..., Any]]:
    """Start clients in processes of their own, and wait until they are in."""
    started: list[Process] = []

    async def start(address: str, name: str = "") -> Process:
        process = await _run(str(Path(__file__).with_name("lone_client.py")), address, name)
        started.append(process)
        assert process.stdout
        if await begun(process.stdout.readline()) != b"in\n":
            _, said = await within(process.communicate())
            pytest.fail(f"the client ended with {process.returncode}: {said.decode()}")
        return process

    yield start
    for process in started:
        await end_process(process)


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """A cable that may be cut."""
    wire = Wire()
    yield wire
    await wire.close()


async def _run(*arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=PIPE, stderr=PIPE)


async def end_process(process: Process | Forked) -> None:
    """End a process, if it has not ended."""
    if process.returncode is None:
        process.kill()
        await within(process.communicate())
    if isinstance(process, Forked):
        process.close()


def _is_fault(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR and not is_of_another_loop(record)


def _tasks() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}
