"""Servers for the tests of the terminal program."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.served import Server


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
