"""Ports for servers that go down and come again."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from tests.ports import ReservedPort


def test_they_differ_and_are_not_those_that_the_system_gives() -> None:
    """Nobody else gets one, with or without a server on it."""
    with ExitStack() as stack:
        numbers = [stack.enter_context(ReservedPort()).number for _ in range(50)]
        given = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(50)]
        assert len({*numbers, *(one.getsockname()[1] for one in given)}) == 100


def test_a_server_may_come_again_while_it_is_held() -> None:
    """Also where connections of before have not been forgotten yet."""
    with ReservedPort() as port:
        for _ in range(2):
            with socket.create_server(("127.0.0.1", port.number)) as server:
                client = socket.create_connection(server.getsockname())
                server.accept()[0].close()
                client.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port.number))
