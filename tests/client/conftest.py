"""A real server in a process of its own, and a look at what a chat leaves behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.forked import Program
from tests.logged import is_of_another_loop
from tests.ports import ReservedPort
from tests.served import Server

from .fake import FakeServer


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a server for all, which have a room each."""
    with Server("--log-level", "warning") as server:
        yield server.target


@pytest.fixture
def mortal_server() -> Iterator[tuple[Program, str]]:
    """A server to be ended, and its address, which nobody else takes afterwards."""
    with ReservedPort() as port:
        server = Server("--log-level", "warning", "--port", f"{port.number}")
        yield server.process, server.target
        server.end()


@pytest.fixture
def room(request: pytest.FixtureRequest) -> str:
    """A room of one's own."""
    return f"{request.node.name} in {request.node.path.stem}"


@pytest.fixture
async def nothing_left(caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """No task is left over, and nothing went wrong unnoticed."""
    before = asyncio.all_tasks()
    yield
    async with asyncio.timeout(10):
        while asyncio.all_tasks() - before - {asyncio.current_task()}:  # noqa: ASYNC110  # nobody tells when gRPC's own tasks end
            await asyncio.sleep(0.001)
    ours = [record for record in caplog.get_records("call") if record.name.startswith(("asyncio", "bcast_grpc"))]
    assert not [record for record in ours if not is_of_another_loop(record)]


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    """No thread of this library is left over."""
    yield
    assert "bcast_grpc" not in {thread.name for thread in threading.enumerate()}


@pytest.fixture
async def fake() -> AsyncIterator[FakeServer]:
    """A server with one room, and faults at will."""
    async with FakeServer() as server:
        yield server
