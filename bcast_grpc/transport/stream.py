"""One client's stream, independent of the door that carries it."""

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
from bcast_grpc.transport.ending import Ending, StreamEnded, ended_by
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
        """Write a piece, if there is room for all of it; return whether it was written.

        The piece is at most ``SHORT_BYTES`` long, and everything that was taken before it has been written.
        """
        ...

    def ready(self) -> None:
        """Go on reading: what was received has been carried out."""
        ...


class Stream:
    """One client's stream. It has no task: the door reports what happens on its line, and the stream calls back.

    - ``received()`` takes the next requests, ``finished()`` reports that there will be no more;
    - ``take()`` returns what to write next, and reports that there is room for it;
    - ``failed()`` reports why nothing more can be read; with ``ConnectionGone`` nothing can be written either.

    The client is in its room from the making of the stream until ``close()``.

    Args:
        admission: lets the client in, and is released.
        scheduler: the event loop.
        encoder: the client's wire format.
        line: the client's connection.
        reader: whether it only reads.
        write_now: a faster way than the line's own.

    Raises:
        CallError: the server filled up or closed since the admission.
    """

    __slots__ = ("_began", "_line", "_linger", "_pace", "_pieces", "_reading", "_size", "_worked", "session")

    def __init__(
        self,
        admission: Admission,
        scheduler: LoopScheduler,
        encoder: Encoder,
        line: Line,
        *,
        reader: bool = False,
        write_now: Callable[[bytes], bool] | None = None,
    ) -> None:
        self._line = line
        self._linger = Linger()
        self._pace = Pace()
        self._pieces: Iterator[bytes] | None = None
        self._size = 0
        self._began = self._worked = 0.0
        self.session = Session(
            admission,
            encoder,
            wake=lambda: scheduler.call(self._wake),
            write_now=write_now or line.write_now,
            reader=reader,
        )
        self._reading = Reading(self.session, admission.peer or "", scheduler.turns, line.ready)

    def begin(self, expired: Callable[[], None], acked: Callable[[], int] | None = None) -> None:
        """Begin to write. For doors that call ``close()`` themselves; others use ``serve()``.

        Args:
            expired: called if the client stops reading while its stream ends; ``overdue()`` is the error to end with.
            acked: returns how many bytes the client has acknowledged, if the door knows.
        """
        self._linger.start(expired, acked)
        self._wake()

    async def serve(self, writing: Awaitable[None], acked: Callable[[], int] | None = None) -> None:
        """Serve the client until its stream ends.

        Args:
            writing: lasts until ``take()`` returns nothing and the stream is ``over``. It is cancelled if the client
                stops reading while its stream ends.
            acked: returns how many bytes the client has acknowledged, if the door knows.

        Raises:
            StreamEnded: it has ended with an error.
            ConnectionGone: the connection is lost.
        """
        try:
            async with limited(self._linger, acked):
                self._wake()
                await writing
        except TimeoutError:
            raise StreamEnded(self.overdue()) from None
        finally:
            self.close()
        if error := self.error:
            raise StreamEnded(error)

    def close(self) -> None:
        """Remove the client from its room. Call this in any case."""
        self._linger.stop()
        self._reading.close()
        self._pieces = None
        self.session.close()
        outbox = self.session.outbox
        outbox.wake, outbox.write_now = _wake_nobody, no_room  # breaks the reference cycle with the stream

    def received(self, slices: Iterator[Sequence[Request]]) -> bool:
        """Carry out the requests of a frame, in slices, which may be empty.

        A slice raises ``MalformedFrame`` or ``CallError`` if it cannot be read.

        Returns:
            Whether they have been carried out. If not, ``Line.ready`` is called when they have been; do not call this
            before.
        """
        return self._reading.received(slices)

    def finished(self) -> None:
        """Note that the client will send no more requests: its stream ends once it has got what is queued for it."""
        self._reading.end(Ending())

    def failed(self, raised: Exception) -> None:
        """Note why nothing more can be read."""
        self._reading.end(ended_by(raised, f"session {self.session.id}"))

    @property
    def over(self) -> bool:
        """Whether the stream has ended once ``take()`` returns nothing."""
        return self.session.outbox.closed

    @property
    def done(self) -> bool:
        """Whether the stream is ``over``, and ``take()`` would return nothing."""
        outbox = self.session.outbox
        return outbox.closed and not (outbox.frames or outbox.dropping or self._pieces)

    @property
    def error(self) -> CallError | None:
        """The error with which a stream that is ``over`` ends; None for a normal end.

        It is a new object each time: one that was raised would refer to its frames, and these to the outbox.
        """
        return copy(self.session.outbox.error)

    def overdue(self) -> CallError:
        """Note that the client has stopped reading while its stream ends; return the error to end with."""
        outbox = self.session.outbox
        outbox.error = outbox.error or slow_consumer(outbox)
        return copy(outbox.error)

    def take(self) -> bytes | None:
        """Take what to write next, at most a frame of the client's pace; None if there is nothing.

        The call reports that what was taken before has been written.
        """
        if self._size:
            self._note_written()
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

    def _note_written(self) -> None:
        size, self._size = self._size, 0
        if size >= LEAST_BYTES:
            self._pace.wrote(size, perf_counter() - self._began, thread_time() - self._worked)
        outbox = self.session.outbox
        if outbox.closed and not outbox.discarded:
            self._limit()  # the client still reads
        self._reading.written()

    def _wake(self) -> None:
        self._line.wake()
        if self.session.outbox.closed:
            self._limit()

    def _limit(self) -> None:
        """Limit the time that a client whose stream is ending has for the next piece."""
        self._linger.begin(0.0 if self.session.outbox.discarded else None)


def _wake_nobody() -> None:
    """Do nothing: the stream is closed."""


def resolve(future: asyncio.Future[T], result: T) -> None:
    """Resolve a future that may have been resolved or cancelled already."""
    if not future.done():
        future.set_result(result)
