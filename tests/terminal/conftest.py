"""Servers for the tests of the terminal program."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from .server import Server


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server for all tests of a module, which have a room each."""
    server = Server()
    yield server.target
    server.end(signal.SIGTERM)


@pytest.fixture
def mortal() -> Iterator[Server]:
    """A server to be ended."""
    server = Server()
    yield server
    server.end(signal.SIGKILL)
