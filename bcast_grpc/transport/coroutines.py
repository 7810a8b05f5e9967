"""The way from a door whose connections have only coroutines to a stream's callbacks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeAlias

from bcast_grpc.events import Request
from bcast_grpc.transport.stream import Stream, resolve

Read: TypeAlias = Callable[[], Awaitable[Iterator[Sequence[Request]] | None]]
"""Returns the next requests, in order, in slices, which may be empty.

None where the client has said that it will ask for nothing more.

It, and each slice, raises ``MalformedFrame`` or ``CallError`` where what came cannot be read, and ``ConnectionGone``.
"""

Write: TypeAlias = Callable[[bytes], Awaitable[None]]
"""Writes a frame; returns once there is room for the next one. Raises ``ConnectionGone`` where there never will be."""


class CoroutineLine:
    """A ``Line`` that is written to and read from by coroutines: a task reads, the door's own task writes."""

    __slots__ = ("_loop", "_ready", "_wakened")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] | None = None
        self._wakened: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Have the writer look again."""
        if self._wakened:
            resolve(self._wakened, None)

    def write_now(self, piece: bytes) -> bool:
        """Write nothing: the writer is a coroutine."""
        return False

    def ready(self) -> None:
        """Have the reader go on."""
        if self._ready:
            resolve(self._ready, None)

    async def serve(
        self, stream: Stream, write: Write, read: Read | None = None, acked: Callable[[], int] | None = None
    ) -> None:
        """Serve the client until its stream ends; see ``Stream.serve``.

        Args:
            stream: the client's.
            write: to the client.
            read: from the client; None where it never sends.
            acked: how many bytes the client has acknowledged, where the door knows.
        """
        reading = asyncio.create_task(self._read(stream, read)) if read else None
        try:
            await stream.serve(self._write(stream, write), acked)
        finally:
            if reading:
                reading.cancel()
                await asyncio.wait([reading])

    async def _write(self, stream: Stream, write: Write) -> None:
        while True:
            piece = stream.take()
            if piece is not None:
                await write(piece)
                stream.wrote()
            elif stream.over:
                return
            else:
                self._wakened = self._loop.create_future()
                await self._wakened

    async def _read(self, stream: Stream, read: Read) -> None:
        try:
            while (slices := await read()) is not None:
                if not stream.received(slices):
                    self._ready = self._loop.create_future()
                    await self._ready
                del slices  # it holds what was read
        except Exception as raised:  # noqa: BLE001  # it is sent to the client, or logged
            stream.failed(raised)
        else:
            stream.finished()
