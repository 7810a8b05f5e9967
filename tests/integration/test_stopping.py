"""A server stops, whatever its clients' connections are just going through."""

from __future__ import annotations

import asyncio
import socket

from bcast_grpc.http2.frames import PREFACE
from bcast_grpc.server import Server
from bcast_grpc.settings import Settings


async def stop_after_a_client() -> None:
    """Stop before the loop has seen that a client is gone: what it is sent then is answered by a reset."""
    server = Server(Settings(port=0, grpc_engine="native"))
    await server.start()
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(PREFACE)
        client.setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(client, 65_536)
    await server.stop()


def test_a_client_that_is_gone_does_not_keep_a_server_from_stopping() -> None:
    """On asyncio's own loop, where half-closing such a connection raises at once."""
    asyncio.run(stop_after_a_client())
