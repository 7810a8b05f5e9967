"""A cable to a server, which tests lay, cut and speak into."""

from __future__ import annotations

import asyncio
import socket
import struct


class Wire:
    """A cable to a server, which may be cut or spoken into."""

    def __init__(self) -> None:
        self.address = ""
        self._ends: list[asyncio.StreamWriter] = []
        self._pumps: list[asyncio.Task[None]] = []
        self._server: asyncio.Server | None = None

    async def lay(self, address: str, first: bytes = b"") -> None:
        """Pass on whatever comes to ``self.address``, of each connection after what is said ``first``."""
        host, _, port = address.rpartition(":")

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
            far_writer.write(first)
            self._ends += [writer, far_writer]
            self._pumps += [
                asyncio.create_task(_pump(reader, far_writer)),
                asyncio.create_task(_pump(far_reader, writer)),
            ]

        self._server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self.address = "{}:{}".format(*self._server.sockets[0].getsockname())

    def reset(self) -> None:
        """Reset the connection at both ends, without a word."""
        for writer in self._ends:
            sock: socket.socket = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def interject(self, noise: bytes) -> None:
        """Say something to the server in between."""
        self._ends[1].write(noise)

    async def close(self) -> None:
        """Take the cable away."""
        if self._server:
            self._server.close()
        for writer in self._ends:
            writer.transport.abort()
        await asyncio.gather(*self._pumps)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while some := await reader.read(65536):
            writer.write(some)
            await writer.drain()
        writer.close()
    except (OSError, RuntimeError):  # uvloop's, of a closed transport
        writer.transport.abort()
