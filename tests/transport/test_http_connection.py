"""Connections of the HTTP port whose clients do what aiohttp does not expect."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from bcast_grpc.transport.connections import Connections
from bcast_grpc.transport.http_connection import HttpConnection
from bcast_grpc.transport.portions import Portions


class Gone(asyncio.Transport):
    """Of a client that has disconnected."""

    def is_closing(self) -> bool:
        """It is."""
        return True

    def close(self) -> None:
        """Do nothing more."""


async def answer(_: web.BaseRequest) -> web.Response:
    """Answer a request."""
    return web.Response()


@pytest.mark.parametrize("begun", [False, True])
async def test_a_client_that_is_gone_before_its_request_is_read_is_no_fault(begun: bool) -> None:
    """Whether that was its first request, or nothing had come from it before."""
    loop = asyncio.get_running_loop()
    faults: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: faults.append(context))
    connection = HttpConnection(web.Server(answer), Portions(loop), 10, Connections(), "", loop=loop)
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
