"""Connections of the HTTP port whose clients do what aiohttp does not expect."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from bcast_grpc.transport import unfinished
from bcast_grpc.transport.connections import Connections
from bcast_grpc.transport.http_connection import HttpConnection
from bcast_grpc.transport.one_by_one import OneByOne
from bcast_grpc.transport.portions import Portions
from tests.integration.peers import eventually


class Gone(asyncio.Transport):
    """Of a client that has disconnected."""

    def is_closing(self) -> bool:
        """It is."""
        return True

    def close(self) -> None:
        """Do nothing more."""


class There(asyncio.Transport):
    """Of a client that is there until it is disconnected."""

    aborted = False

    def is_closing(self) -> bool:
        """Once it is disconnected."""
        return self.aborted

    def abort(self) -> None:
        """Disconnect the client."""
        self.aborted = True

    def close(self) -> None:
        """Disconnect the client."""
        self.aborted = True

    def pause_reading(self) -> None:
        """Read nothing more."""

    def write(self, data: Any) -> None:
        """Send nothing."""


async def answer(_: web.BaseRequest) -> web.Response:
    """Answer a request."""
    return web.Response()


@pytest.mark.parametrize("begun", [False, True])
async def test_a_client_that_is_gone_before_its_request_is_read_is_no_fault(begun: bool) -> None:
    """Whether that was its first request, or nothing had come from it before."""
    loop = asyncio.get_running_loop()
    faults: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: faults.append(context))
    connection = HttpConnection(web.Server(answer), Portions(loop), OneByOne(loop), 10, Connections(), "", loop=loop)
    connection.connection_made(Gone())
    serving = connection._task_handler
    assert serving
    if begun:
        await asyncio.sleep(0)
        connection.data_received(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    connection.connection_lost(None)
    await asyncio.wait([serving])
    assert serving.exception() is None
    assert not faults


async def test_headers_that_never_end_fill_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many connections there are: what began first goes. One whose headers are complete stays."""
    monkeypatch.setattr(unfinished, "MAX_BYTES", 100_000)
    loop = asyncio.get_running_loop()
    shared = Connections()
    connections = [
        HttpConnection(web.Server(answer), Portions(loop), OneByOne(loop), 10, shared, "", loop=loop) for _ in range(4)
    ]
    transports = [There() for _ in connections]
    head = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 40_000
    for connection, transport in zip(connections, transports, strict=True):
        connection.connection_made(transport)
        connection.data_received(head + (b"\r\n\r\n" if connection is connections[0] else b""))
        await eventually(lambda connection=connection: not connection._unread)  # type: ignore[misc]
    assert [transport.aborted for transport in transports] == [False, True, False, False]
    for connection in connections:
        connection.connection_lost(None)


async def test_nothing_is_kept_of_headers_that_aiohttp_closes_the_connection_in() -> None:
    """As when the time between two requests is over: it forgets its transport before the connection is lost."""
    loop = asyncio.get_running_loop()
    shared = Connections()
    connection = HttpConnection(web.Server(answer), Portions(loop), OneByOne(loop), 10, shared, "", loop=loop)
    connection.connection_made(There())
    connection.data_received(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 40_000)
    await eventually(lambda: not connection._unread)
    assert shared.unfinished._sizes
    connection.force_close()
    connection.connection_lost(None)
    assert (len(shared.unfinished._sizes), shared.unfinished._total) == (0, 0)
