"""Adapts doors whose libraries offer only coroutines to the callbacks of a stream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from time import perf_counter
from typing import TypeAlias

from bcast_grpc.core.outbox import no_room
from bcast_grpc.events import Request
from bcast_grpc.transport.stream import Stream, resolve
from bcast_grpc.transport.turns import Turns

LONG_S = 0.0005
"""What takes longer to read and to encode, as pieces of a history do, is done in turns."""

Read: TypeAlias = Callable[[], Awaitable[Iterator[Sequence[Request]] | None]]
"""Returns the next requests, in order, in slices, which may be empty; None if the client will send no more requests.

It, and each slice, raises ``MalformedFrame`` or ``CallError`` if the data cannot be read, and ``ConnectionGone``.
"""

Write: TypeAlias = Callable[[bytes], Awaitable[None]]
"""Writes a frame; returns once there is room for the next one. Raises ``ConnectionGone`` if the connection is lost."""


class CoroutineLine:
    """A ``Line`` that coroutines read and write: a task reads, and the door's own task writes.

    Args:
        turns: the turns that long writes of all connections take, as those from a history.
        peer: the client's end of the connection.
        write_now: writes a frame whenever it is called, if there is room; returns whether it did.
    """

    __slots__ = ("_loop", "_peer", "_ready", "_turns", "_wakened", "write_now")

    def __init__(self, turns: Turns, peer: str, write_now: Callable[[bytes], bool] = no_room) -> None:
        self.write_now = write_now
        self._turns = turns
        self._peer = peer
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] | None = None
        self._wakened: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Wake the writer."""
        if self._wakened:
            resolve(self._wakened, None)

    def ready(self) -> None:
        """Wake the reader."""
        if self._ready:
            resolve(self._ready, None)

    async def serve(
        self, stream: Stream, write: Write, read: Read | None = None, acked: Callable[[], int] | None = None
    ) -> None:
        """Serve the client until its stream ends; see ``Stream.serve``.

        Args:
            stream: the client's stream.
            write: writes to the client.
            read: reads from the client; None if it never sends.
            acked: returns how many bytes the client has acknowledged, if the door knows.
        """
        reading = asyncio.create_task(self._read(stream, read)) if read else None
        try:
            await stream.serve(self._write(stream, write), acked)
        finally:
            if reading:
                reading.cancel()
                await asyncio.wait([reading])

    async def _write(self, stream: Stream, write: Write) -> None:
        took_s = 0.0
        while True:
            began = perf_counter()
            piece = stream.take()
            if piece is not None:
                took_s += perf_counter() - began
                await write(piece)
                if took_s > LONG_S:
                    self._turns.worked(took_s)
                    await self._turns.take(self._peer)
                    took_s = 0.0
            elif stream.over:
                return
            else:
                took_s = 0.0
                self._wakened = self._loop.create_future()
                await self._wakened

    async def _read(self, stream: Stream, read: Read) -> None:
        try:
            while (slices := await read()) is not None:
                if not stream.received(slices):
                    self._ready = self._loop.create_future()
                    await self._ready
                del slices  # it would keep what was read in memory
        except Exception as raised:  # noqa: BLE001  # it is sent to the client, or logged
            stream.failed(raised)
        else:
            stream.finished()
