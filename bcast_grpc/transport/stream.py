"""What the doors share: one client's stream, whatever carries it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from copy import copy
from time import perf_counter, thread_time
from typing import Protocol, TypeVar

from bcast_grpc.core.admission import Admission
from bcast_grpc.core.batch import Encoder
from bcast_grpc.core.member import slow_consumer
from bcast_grpc.core.outbox import no_room
from bcast_grpc.core.session import Session
from bcast_grpc.errors import CallError
from bcast_grpc.events import Request
from bcast_grpc.transport.ending import Ending, ended_by
from bcast_grpc.transport.lingering import Linger, limited
from bcast_grpc.transport.pace import LEAST_BYTES, Pace
from bcast_grpc.transport.reading import Reading
from bcast_grpc.transport.scheduler import LoopScheduler

T = TypeVar("T")


class Line(Protocol):
    """A door's connection to one client, as the client's stream sees it. The stream calls it from the loop."""

    def wake(self) -> None:
        """Take what there is to write, soon, but not from within this call; there may be nothing."""
        ...

    def write_now(self, piece: bytes) -> bool:
        """Write a piece, if there is room for all of it; return whether it is written.

        It is at most ``SHORT_BYTES`` long, and everything that was taken before it has been written.
        """
        ...

    def ready(self) -> None:
        """Go on reading: what was received has been carried out."""
        ...


class Stream:
    """One client's stream. It has no task: the door says what happens on its line, and is called back.

    - ``received()`` takes the next requests, ``finished()`` says that there will be no more;
    - ``take()`` returns what to write next, ``wrote()`` says that there is room for more;
    - ``failed()`` says that nothing can be read any more, ``ConnectionGone`` where nothing can be written either.

    The client is in its room from here until ``close()``.

    Args:
        admission: says that it may come in; it is used up.
        scheduler: the loop that the hub flushes in.
        encoder: its wire format.
        line: its connection.
        reader: whether it only reads.

    Raises:
        CallError: it cannot be let in.
    """

    __slots__ = ("_began", "_line", "_linger", "_pace", "_pieces", "_reading", "_size", "_worked", "session")

    def __init__(
        self, admission: Admission, scheduler: LoopScheduler, encoder: Encoder, line: Line, *, reader: bool = False
    ) -> None:
        self._line = line
        self._linger = Linger()
        self._pace = Pace()
        self._pieces: Iterator[bytes] | None = None
        self._size = 0
        self._began = self._worked = 0.0
        self.session = Session(
            admission, encoder, wake=lambda: scheduler.call(self._wake), write_now=line.write_now, reader=reader
        )
        self._reading = Reading(self.session, scheduler.turns, line.ready)

    def begin(self, expired: Callable[[], None], acked: Callable[[], int] | None = None) -> None:
        """Have the door write, for one that calls ``close()`` itself; others use ``serve()``.

        Args:
            expired: called where the client takes nothing of its last words; ``overdue`` says what to end with.
            acked: how many bytes the client has acknowledged, where the door knows.
        """
        self._linger.start(expired, acked)
        self._wake()

    async def serve(self, writing: Awaitable[None], acked: Callable[[], int] | None = None) -> None:
        """Serve the client until its stream ends.

        Args:
            writing: lasts until ``take()`` returns nothing and the stream is ``over``. It is cancelled where the client
                takes nothing of its last words.
            acked: how many bytes the client has acknowledged, where the door knows.

        Raises:
            CallError: what the stream is to end with, where that is not well.
            ConnectionGone: the client is gone.
        """
        try:
            async with limited(self._linger, acked):
                self._wake()
                await writing
        except TimeoutError:
            raise self.overdue from None
        finally:
            self.close()
        if self.error:
            raise self.error

    def close(self) -> None:
        """Take the client out of its room. To be called whatever happened."""
        self._linger.stop()
        self._reading.close()
        self._pieces = None
        self.session.close()
        outbox = self.session.outbox
        outbox.wake, outbox.write_now = _wake_nobody, no_room  # they would keep the stream, which keeps it

    def received(self, slices: Iterator[Sequence[Request]]) -> bool:
        """Carry out the requests of a frame, in slices, which may be empty.

        A slice raises ``MalformedFrame`` or ``CallError`` where what came cannot be read.

        Returns:
            Whether that is done. If not, ``Line.ready`` is called when it is; until then nothing more is received.
        """
        return self._reading.received(slices)

    def finished(self) -> None:
        """Note that the client will ask for nothing more: its stream ends once it has what is queued for it."""
        self._reading.end(Ending())

    def failed(self, raised: Exception) -> None:
        """Note that nothing more can be read, and why."""
        self._reading.end(ended_by(raised, f"session {self.session.id}"))

    @property
    def over(self) -> bool:
        """Whether the stream has ended, where ``take()`` returns nothing."""
        return self.session.outbox.closed

    @property
    def done(self) -> bool:
        """Whether it is ``over``, and ``take()`` would return nothing."""
        outbox = self.session.outbox
        return outbox.closed and not (outbox.frames or outbox.dropping or self._pieces)

    @property
    def error(self) -> CallError | None:
        """What a stream that is ``over`` ends with; None where that is well. It is a new one each time.

        What is raised knows its frames, and these know the outbox.
        """
        return copy(self.session.outbox.error)

    @property
    def overdue(self) -> CallError:
        """What a stream ends with where the client did not take its last words."""
        return self.error or slow_consumer(self.session.outbox)

    def take(self) -> bytes | None:
        """Take what to write next: no more than the client takes at once. None if there is nothing."""
        outbox = self.session.outbox
        piece = None
        if self._pieces:
            piece = None if outbox.discarded else next(self._pieces, None)
        if piece is None:
            self._pieces = None
            piece = self.session.take()
            if piece is None:
                return None
            if len(piece) > self._pace.bytes:
                self._pieces = iter(outbox.encoder.cut(piece, self._pace.bytes))
                piece = next(self._pieces)
        self._size = len(piece)
        if self._size >= LEAST_BYTES:
            self._began, self._worked = perf_counter(), thread_time()
        return piece

    def wrote(self) -> None:
        """Note that what was taken has been written, and there is room for more."""
        if self._size >= LEAST_BYTES:
            self._pace.wrote(self._size, perf_counter() - self._began, thread_time() - self._worked)
        outbox = self.session.outbox
        if outbox.closed and not outbox.discarded:
            self._limit()  # it still reads
        self._reading.written()

    def _wake(self) -> None:
        self._line.wake()
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
