"""One connection of the native gRPC door, beyond what clients see of it."""

from __future__ import annotations

import asyncio

from bcast_grpc.http2.frames import PREFACE
from bcast_grpc.server import Server
from bcast_grpc.settings import Settings
from bcast_grpc.transport.grpc.door import GrpcDoor


async def test_a_connection_that_the_server_has_closed_is_not_pinged() -> None:
    """Its end is sent already: nothing can be written after that, though it stays open for the client to read."""
    async with Server(Settings(port=0, grpc_engine="native")) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(PREFACE)
        await reader.readexactly(1)
        (door,) = server.doors
        assert isinstance(door, GrpcDoor)
        (connection,) = door._connections
        connection.go_away()
        connection._ping()
        await reader.read()
        writer.close()
