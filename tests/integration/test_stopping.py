"""A server stops, whatever its clients' connections are just going through."""

from __future__ import annotations

import asyncio
import socket
import struct

from bcast_grpc.http2.frames import PREFACE, settings_frame
from bcast_grpc.server import Server
from bcast_grpc.settings import Settings

RESET = struct.pack("ii", 1, 0)


async def stop_after_a_reset() -> None:
    """Stop before the loop has seen that a client is gone."""
    server = Server(Settings(port=0, grpc_engine="native"))
    await server.start()
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.sendall(PREFACE + settings_frame({}))
        client.setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(client, 1)
    await server.stop()


def test_a_client_that_is_gone_does_not_keep_a_server_from_stopping() -> None:
    """On asyncio's own loop, where half-closing such a connection raises at once."""
    asyncio.run(stop_after_a_reset())
