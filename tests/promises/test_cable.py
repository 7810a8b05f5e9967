"""The cable itself: what it must not keep alive."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

from .cable import Cable

_PATIENCE_S = 20
_SOME = bytes(1_000_000)


async def test_a_client_that_vanishes_is_lost_at_the_other_end_though_nothing_is_read_there() -> None:
    """It had closed its end, and what it said last could not be passed on."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        cable = Cable("{}:{}".format(*server.getsockname()))
        await cable.lay()
        client = socket.socket()
        client.setblocking(False)
        host, _, port = cable.address.rpartition(":")
        async with asyncio.timeout(_PATIENCE_S):
            await loop.sock_connect(client, (host, int(port)))
            there, _ = await loop.sock_accept(server)
            with there:
                there.setblocking(False)
                await loop.sock_sendall(client, _SOME[:50_000])
                client.shutdown(socket.SHUT_WR)
                answering = asyncio.create_task(_answer(there))
                await loop.sock_recv(client, 1)
                client.close()
                await answering
        await cable.close()


async def _answer(there: socket.socket) -> None:
    """Send until the other end is lost."""
    with suppress(OSError):
        while True:
            await asyncio.get_running_loop().sock_sendall(there, _SOME)
