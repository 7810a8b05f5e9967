"""What the system knows of a connection is asked without a descriptor of its own, and never of another connection."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from bcast_grpc.transport import tcp_info
from bcast_grpc.transport.liveness import Keepalive
from bcast_grpc.transport.socket_options import INHERITED
from bcast_grpc.transport.tcp_info import acked, all_taken, ask_system, set_user_timeout

from .peers import eventually

pytestmark = pytest.mark.skipif(not tcp_info.KNOWN, reason="only Linux reports it")


class Accepted(asyncio.Protocol):
    """The server's end of a connection."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self.transport = cast("asyncio.Transport", transport)


@pytest.fixture
async def pair() -> AsyncIterator[tuple[asyncio.Transport, socket.socket]]:
    """A connection that was accepted as doors do, and its other end."""
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", 0))
    Keepalive(20).prepare(listener)
    accepted = Accepted()
    server = await loop.create_server(lambda: accepted, sock=listener)
    with socket.create_connection(listener.getsockname()) as client:
        await eventually(lambda: hasattr(accepted, "transport"))
        yield accepted.transport, client
    accepted.transport.abort()
    server.close()
    await asyncio.sleep(0)


Pair = tuple[asyncio.Transport, socket.socket]


def option(of: asyncio.Transport, name: str, level: int = socket.IPPROTO_TCP) -> int:
    """An option of a connection."""
    value: int = of.get_extra_info("socket").getsockopt(level, getattr(socket, name))
    return value


@pytest.mark.skipif(not INHERITED, reason="they are set on each connection")
async def test_connections_inherit_what_is_set_on_their_listener(pair: Pair) -> None:
    """So that accepting one costs nothing for it."""
    transport, _ = pair
    assert option(transport, "SO_KEEPALIVE", socket.SOL_SOCKET) == 1
    assert option(transport, "TCP_KEEPIDLE") == 20
    assert option(transport, "TCP_KEEPINTVL") == 6
    assert option(transport, "TCP_KEEPCNT") == 3
    assert option(transport, "TCP_USER_TIMEOUT") == 40_000
    assert option(transport, "TCP_NOTSENT_LOWAT") == 32 * 1024


async def test_the_system_knows_what_was_taken(pair: Pair) -> None:
    """Bytes that are written are acknowledged, and then nothing is unread."""
    transport, client = pair
    transport.write(b"x" * 1000)
    await eventually(lambda: acked(transport) >= 1000)
    assert all_taken(transport)
    client.settimeout(0)
    transport.write(bytes(10**7))  # more than the system queues at both ends
    assert not all_taken(transport)
    heard = ask_system(transport)
    assert heard
    assert heard.unread
    assert heard.data_s < 20


async def test_asking_leaves_the_connection_as_it_is(pair: Pair) -> None:
    """Its descriptor is borrowed: it stays open, and there is no other."""
    transport, client = pair
    before = _descriptors()
    for _ in range(100):
        assert ask_system(transport)
        set_user_timeout(transport, 30)
    assert _descriptors() == before
    assert option(transport, "TCP_USER_TIMEOUT") == 30_000
    transport.write(b"still here")
    await eventually(lambda: all_taken(transport))
    assert client.recv(100) == b"still here"


async def test_another_connection_with_the_same_number_is_left_alone(pair: Pair) -> None:
    """The number of a closed connection is given to the next at once, maybe before its protocol hears of its end."""
    transport, client = pair
    number: int = transport.get_extra_info("socket").fileno()
    transport.abort()
    await eventually(lambda: not _is_open(number))
    os.dup2(client.fileno(), number)
    try:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000)
        assert ask_system(transport) is None
        assert acked(transport) == 0
        assert all_taken(transport)
        set_user_timeout(transport, 30)
        assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1000
        assert _is_open(number)
    finally:
        os.close(number)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _descriptors() -> list[str]:
    return sorted(file.name for file in Path("/dev/fd").iterdir())
