"""Reads from sockets in small pieces: what a connection cannot process yet stays in the system, within its bounds."""

from __future__ import annotations

import asyncio

READ_BYTES = 32 * 1024
"""The most that is read at once. The event loops would read 256 KB, which each of many connections would hold."""

_ZEROS = memoryview(bytes(READ_BYTES))


class SmallReads:
    """Passes what is received to protocols in small pieces.

    All connections share a buffer, since what was read into it is passed on before anything else is read. It belongs to
    one event loop, because loops in other threads read at the same time.
    """

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(READ_BYTES))

    def attach(self, transport: asyncio.Transport, protocol: asyncio.Protocol) -> None:
        """Make a protocol the one of a transport."""
        transport.set_protocol(SmallReader(self._buffer, protocol))


class SmallReader(asyncio.BufferedProtocol):
    """Between a transport and a protocol.

    Args:
        buffer: what to read into.
        protocol: gets what was read.

    Attributes:
        protocol: the same.
    """

    __slots__ = ("_buffer", "protocol")

    def __init__(self, buffer: memoryview, protocol: asyncio.Protocol) -> None:
        self._buffer = buffer
        self.protocol = protocol

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return what to read into."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on what was read. The buffer does not keep it: there may be a token in it."""
        read = self._buffer[:nbytes]
        data = bytes(read)
        read[:] = _ZEROS[:nbytes]
        self.protocol.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass it on."""
        return self.protocol.eof_received()

    def pause_writing(self) -> None:
        """Pass it on."""
        self.protocol.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self.protocol.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        """Pass it on."""
        self.protocol.connection_lost(error)
