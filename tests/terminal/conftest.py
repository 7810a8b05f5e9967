"""Servers for the tests of the terminal program."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

import bcast_grpc
from tests.served import Server

from .piping import STARTED


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server for all tests of a module, which have a room each."""
    with Server() as server:
        yield server.target


@pytest.fixture
def mortal() -> Iterator[Server]:
    """A server to be ended."""
    server = Server()
    yield server
    server.end()


@pytest.fixture
def room(request: pytest.FixtureRequest) -> str:
    """A room of one's own."""
    return str(request.node.name)


@pytest.fixture
async def peer(server: str, room: str) -> AsyncIterator[bcast_grpc.Chat]:
    """Somebody else in that room, who is told who comes and goes."""
    async with bcast_grpc.connect(server, name="peer", room=room, events=["joined", "left"]) as chat:
        yield chat


@pytest.fixture
async def end_all() -> AsyncIterator[None]:
    """Leave no program behind, whatever failed."""
    yield
    while STARTED:
        process = STARTED.pop()
        if process.returncode is None:
            process.kill()
            await process.communicate()
        process.close()
