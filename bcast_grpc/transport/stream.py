"""What the doors share: one client's stream, whatever carries it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from copy import copy
from functools import partial
from time import perf_counter, thread_time
from typing import TypeAlias, TypeVar

from bcast_grpc.core.admission import Admission
from bcast_grpc.core.batch import Codec
from bcast_grpc.core.member import slow_consumer
from bcast_grpc.core.session import Session
from bcast_grpc.events import Request
from bcast_grpc.transport.ending import ending
from bcast_grpc.transport.lingering import Linger
from bcast_grpc.transport.pace import Pace
from bcast_grpc.transport.scheduler import LoopScheduler

T = TypeVar("T")

Read: TypeAlias = Callable[[], Awaitable[Iterator[Sequence[Request]] | None]]
"""Returns the next requests, in order, in slices, which may be empty.

None where the client has said that it will ask for nothing more.

It, and each slice, raises ``MalformedFrame`` or ``CallError`` where what came cannot be read, and ``ConnectionGone``.
"""

Write: TypeAlias = Callable[[bytes], Awaitable[None]]
"""Writes a frame; returns once there is room for the next one. Raises ``ConnectionGone`` where there never will be."""


class Stream:
    """One client's stream: a task reads its requests, the door's own task writes what is queued for it.

    The client is in its room from here until ``close()``.

    Args:
        admission: says that it may come in; it is used up.
        scheduler: the loop that the hub flushes in.
        codec: its wire format.
        reader: whether it only reads.

    Raises:
        CallError: it cannot be let in.
    """

    __slots__ = ("_linger", "_loop", "_pace", "_reading", "_turns", "_wakened", "_written", "session")

    def __init__(self, admission: Admission, scheduler: LoopScheduler, codec: Codec, *, reader: bool = False) -> None:
        self._loop = asyncio.get_running_loop()
        self._reading: asyncio.Task[None] | None = None
        self._linger = Linger()
        self._turns = scheduler.turns
        self._pace = Pace()
        self._wakened: asyncio.Future[None] | None = None
        self._written: asyncio.Future[None] | None = None
        self.session = Session(admission, codec, wake=lambda: scheduler.call(self._wake), reader=reader)

    async def serve(self, write: Write, read: Read | None = None, acked: Callable[[], int] | None = None) -> None:
        """Serve the client until its stream ends.

        Args:
            write: to the client.
            read: from the client; None where it never sends.
            acked: how many bytes the client has acknowledged, where the door knows.

        Raises:
            CallError: what the stream is to end with, where that is not well.
            ConnectionGone: nobody is there to be told.
        """
        outbox = self.session.outbox
        try:
            async with self._linger:
                if acked:
                    self._linger.watch(acked)
                self._wake()
                if read:
                    self._reading = asyncio.create_task(self._read(read))
                await self._write(write)
        except TimeoutError:
            raise copy(outbox.error) or slow_consumer(outbox) from None
        finally:
            reading = self._reading
            self.close()
            if reading:
                await asyncio.wait([reading])  # it has been cancelled
        if outbox.error:
            raise copy(outbox.error)  # what is raised knows its frames, which know the outbox

    def close(self) -> None:
        """Take the client out of its room. To be called whatever happened."""
        self._linger.stop()
        if self._reading:
            self._reading.cancel()
            self._reading = None
        self.session.close()
        self.session.outbox.wake = _wake_nobody  # it would keep the stream, which keeps it

    async def _write(self, write: Write) -> None:
        outbox = self.session.outbox
        while True:
            frame = self.session.take()
            if frame is not None:
                await self._write_frame(write, frame)
                if self._written:
                    resolve(self._written, None)
            elif outbox.closed:
                return
            else:
                self._wakened = self._loop.create_future()
                await self._wakened

    async def _write_frame(self, write: Write, frame: bytes) -> None:
        """Write a frame in pieces of what the client takes at once."""
        outbox = self.session.outbox
        whole = len(frame) <= self._pace.bytes
        for piece in (frame,) if whole else outbox.codec.cut(frame, self._pace.bytes):
            began, worked = perf_counter(), thread_time()
            await write(piece)
            self._pace.wrote(len(piece), perf_counter() - began, thread_time() - worked)
            if outbox.discarded:
                return
            if outbox.closed:
                self._limit()  # it still reads

    async def _read(self, read: Read) -> None:
        ended = await ending(self._read_all(read), f"session {self.session.id}")
        if ended.gone:
            self.session.outbox.close(discard=True)
        elif ended.error:
            self.session.fail(ended.error)
        else:
            self.session.leave()

    async def _read_all(self, read: Read) -> None:
        while await self._read_some(read):
            pass

    async def _read_some(self, read: Read) -> bool:
        """Read and carry out what comes next; nothing of it is kept afterwards. Return False at the end."""
        slices = await read()
        if slices is None:
            return False
        frame_s = 0.0
        while True:
            began = perf_counter()
            requests = next(slices, None)
            slice_s = perf_counter() - began
            frame_s += slice_s
            self._turns.spent(slice_s)
            if requests is None:
                break
            if frame_s > slice_s:
                await self._turns.take()  # the others' turn
            await self._handle(requests)
        await self._turns.pause(frame_s)
        return True

    async def _handle(self, requests: Sequence[Request]) -> None:
        session = self.session
        done = 0
        while True:
            if session.congested:  # looked at before the first slice too, or each of many clients could add one
                flushed: asyncio.Future[None] = self._loop.create_future()
                session.when_flushed(partial(resolve, flushed, None))
                await flushed
            elif session.backlogged:
                self._written = self._loop.create_future()
                await self._written
            elif done < len(requests):
                if done:
                    await self._turns.take()  # the others' turn
                began = perf_counter()
                done = session.handle(requests, done)
                self._turns.worked(perf_counter() - began)
            else:
                return

    def _wake(self) -> None:
        if self._wakened:
            resolve(self._wakened, None)
        if self.session.outbox.closed:
            self._limit()

    def _limit(self) -> None:
        """Give a client whose stream is ending some time for the next piece of what is queued for it."""
        self._linger.begin(0.0 if self.session.outbox.discarded else None)


def _wake_nobody() -> None:
    """Do nothing: the writer is gone."""


def resolve(future: asyncio.Future[T], result: T) -> None:
    """Resolve a future that may have been resolved or cancelled already."""
    if not future.done():
        future.set_result(result)
