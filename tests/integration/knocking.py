"""Connections without a client, and what they are answered."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

from tests.authority import HOST

from .conftest import LocalDoor
from .peers import within

TRUSTED = ("127.0.0.1",)
"""The proxies of a server that has some."""


def v1(address: str) -> bytes:
    """A PROXY header in text."""
    return f"PROXY TCP{ip_address(address).version} {address} {address} 4711 50051\r\n".encode()


def connections(doors: LocalDoor, address: str = "127.0.0.1") -> int:
    """How many an address has."""
    return doors.server._connections._counts.count(address)


async def answer(port: int, said: bytes = b"", *, ends: bool = False) -> bytes:
    """What a connection is answered until it is closed."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(said)
    heard = b""
    try:
        if ends:
            writer.write_eof()
        while more := await within(reader.read(65536)):
            heard += more
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()
    return heard


async def is_hung_up(port: int, said: bytes = b"", *, ends: bool = False) -> bool:
    """Whether a connection is closed without a word."""
    return not await answer(port, said, ends=ends)
