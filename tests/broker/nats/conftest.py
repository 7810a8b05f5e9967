"""NATS servers, and connections to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from bcast_grpc.broker.nats.connection.connection import Connection
from bcast_grpc.broker.nats.connection.target import Target
from tests.nats_server import NatsServer, running

from .connecting import Connected


class Connect(Protocol):
    """Connects to a server."""

    async def __call__(self, server: NatsServer, **target: Any) -> Connected:
        """Connect."""


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Connect to servers; at the end all connections are closed."""
    async with AsyncExitStack() as stack:

        async def start(server: NatsServer, **target: Any) -> Connected:
            connected = Connected()
            connected.connection = Connection(Target([server.url], **target), connected.changed)
            stack.push_async_callback(connected.connection.close)
            await connected.connection.start()
            return connected

        yield start


@pytest.fixture
def mortal_nats(nats_program: Path, tmp_path: Path) -> Iterator[NatsServer]:
    """A server to be killed, frozen and restarted."""
    with running(nats_program, tmp_path / "nats") as server:
        yield server
