"""One client's bounded queue."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from bcast_grpc.core import notices
from bcast_grpc.core.batch import Encoder, Frame
from bcast_grpc.core.counts import Counts
from bcast_grpc.errors import CallError
from bcast_grpc.events import GapReason

SHORT_BYTES = 16 * 1024
"""Longer frames are written by the client's writer, which measures how fast the client reads."""

_WITH_RESERVE = 1.25
_NONE: deque[Frame] = deque()
"""The queue that all clients share for whom nothing is queued: most are idle, and an empty queue takes memory too."""
_LIST = Frame(b"", 0)
"""Marks the place of a list of members in the queue; the list is encoded in parts, as they are written."""


def no_room(_: bytes) -> bool:
    """Write nothing: every frame goes through the queue."""
    return False


class OutboxClosed(Exception):
    """Frames were offered to an outbox after ``close()``."""


class Outbox:
    """The frames that wait to be written to one client.

    Attributes:
        encoder: the client's wire format.
        counts: what has happened, for metrics.
        queued_messages: how many events are queued.
        queued_bytes: how many bytes are queued.
        max_messages: bound of the queue in events.
        max_bytes: bound of the queue in bytes on the wire; a single message may be larger.
        wake: wakes the writer when there is something to take; may be called in vain.
        write_now: writes a frame if the line has room; returns whether it did.
        seq: the ``seq`` of the last message that was taken to be written, or dropped.
        dropping: whether messages have been dropped since the queue was last empty.
        idle: whether the writer found the queue empty and waits to be woken.
        error: the error that ends the client's call, once the outbox is closed; None for a normal end.
        writing: the frame that was taken last, until the next one is taken; empty if there is none.
        closed: whether new frames are refused; those that are queued may still go out.
        discarded: whether what was queued has been dropped, so that nothing more will be written.
    """

    __slots__ = (
        *("_deferred", "_dropped_seq", "_frames", "_lists"),
        *("closed", "discarded", "dropping", "idle"),
        *("counts", "encoder", "error"),
        *("max_bytes", "max_messages", "queued_bytes", "queued_messages"),
        "seq",
        "wake",
        "write_now",
        "writing",
    )

    def __init__(
        self,
        encoder: Encoder,
        *,
        max_messages: int,
        max_bytes: int,
        wake: Callable[[], None],
        write_now: Callable[[bytes], bool] = no_room,
        counts: Counts | None = None,
    ) -> None:
        self.encoder, self.counts = encoder, counts or Counts()
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        self.seq = self.queued_messages = self.queued_bytes = 0
        self.writing = b""
        self.wake = wake
        self.write_now = write_now
        self.error: CallError | None = None
        self.idle = self.dropping = self.closed = self.discarded = False
        self._dropped_seq: int | None = None
        self._frames = _NONE
        self._deferred: Frame | None = None  # the only frame that is queued, as long as the writer has not been woken
        self._lists: list[Iterator[bytes]] = []

    @property
    def frames(self) -> Sequence[Frame]:
        """What is queued."""
        return (self._deferred,) if self._deferred else self._frames

    @property
    def half_full(self) -> bool:
        """Whether the queue is filled to more than half of a bound, or a list is being sent."""
        is_half = self.queued_messages > self.max_messages // 2 or self.queued_bytes > self.max_bytes // 2
        return is_half or bool(self._lists)

    def offer(self, frames: Sequence[Frame], *, wake: bool = True, drop: bool = False, reserve: bool = False) -> bool:
        """Queue ``frames``, all or none, without waiting.

        Cost: O(len(frames)), which is 1 unless they are larger than a frame may be. Order: first in, first out.

        Args:
            frames: each with the number of events in it.
            wake: wake an idle writer; if False, the caller calls ``wake()`` later.
            drop: if there is no room, drop the oldest messages that are queued and put a ``GAP`` in their place.
            reserve: allow a quarter more than the bounds, for events that no history has.

        Returns:
            False if that would exceed ``max_messages`` or ``max_bytes``.

        Raises:
            OutboxClosed: after ``close()``.
        """
        if self.closed:
            raise OutboxClosed
        self._queue_deferred()
        messages = size = 0
        for data, count, _, _ in frames:
            messages += count
            size += len(data)
        if not self._fits(messages, size, reserve):
            if drop:
                self._drop(messages, size)
            if not self._fits(messages, size, reserve):
                return False
        self._queue(frames)
        self.queued_messages += messages
        self.queued_bytes += size
        woken, self.idle = self.idle, False
        if woken and wake:
            self.wake()
        return True

    def tell(self, frames: Iterator[bytes]) -> None:
        """Queue the parts of a long answer, which are made as they are written and do not count against the bounds.

        Raises:
            OutboxClosed: after ``close()``.
        """
        if self.closed:
            raise OutboxClosed
        self._queue_deferred()
        self._queue((_LIST,))
        self._lists.append(frames)
        woken, self.idle = self.idle, False
        if woken:
            self.wake()

    def pass_on(self, frame: Frame) -> bool:
        """Write a frame at once, if it is short, nothing is queued and the line has room; return whether it was."""
        data, _, last_seq, _ = frame
        if not self.idle or len(data) > SHORT_BYTES or not self.write_now(data):
            return False
        if last_seq is not None:
            self.seq = last_seq
        return True

    def defer(self, frame: Frame) -> bool:
        """Queue a frame for ``send()``, if it is short and nothing is queued; return whether it was."""
        data, count, _, _ = frame
        size = len(data)
        if not self.idle or size > SHORT_BYTES or not self._fits(count, size):
            return False
        self.idle = False
        self._deferred, self.queued_messages, self.queued_bytes = frame, count, size
        return True

    def send(self) -> bool:
        """Write the frame that was deferred, or wake the writer; return whether nothing is left for the writer."""
        frame, self._deferred = self._deferred, None
        if frame is None:  # other frames came behind it, or the writer was woken
            self.wake()
            return False
        self.idle, self.queued_messages, self.queued_bytes = True, 0, 0
        if self.pass_on(frame):
            return True
        self.offer((frame,))
        return False

    def _queue_deferred(self) -> None:
        """Leave the frame that was deferred to the writer: there is more to write, or the writer was woken."""
        if self._deferred:
            self._frames, self._deferred = deque((self._deferred,)), None

    def take(self) -> bytes | None:
        """Take the next frame to write, joined from as many as the format allows; None if there is nothing.

        Call this when the frame before has been written. After None, the next ``offer`` or ``close`` wakes the writer.
        """
        self.writing = b""
        if self._deferred:
            self._queue_deferred()
        while self._frames and self._frames[0] is _LIST:
            if (part := self._next_part()) is not None:
                return part
        if not self._frames:
            return self._take_last()
        data, count, last_seq, in_order = self._frames[0]
        if self._dropped_seq is not None and in_order:
            return self._tell_dropped(self._dropped_seq)
        self._frames.popleft()
        parts, size = [data], len(data)
        while self._frames and size + len(self._frames[0][0]) <= self.encoder.frame_bytes:
            if self._frames[0] is _LIST or (self._dropped_seq is not None and self._frames[0].in_order):
                break
            data, events, seq, _ = self._frames.popleft()
            last_seq = last_seq if seq is None else seq
            parts.append(data)
            size += len(data)
            count += events
        if last_seq is not None:
            self.seq = last_seq
        self.queued_messages -= count
        self.queued_bytes -= size
        self.writing = b"".join(parts) if len(parts) > 1 else data
        return self.writing

    def _next_part(self) -> bytes | None:
        """Return the next part of the list at the head of the queue; if it has ended, remove it and return None."""
        part = next(self._lists[0], None)
        if part is None:
            self._lists.pop(0)
            self._frames.popleft()
        else:
            self.writing = part
        return part

    def _take_last(self) -> bytes | None:
        """Return the ``GAP`` that follows the last frame, if messages were dropped; otherwise the writer is idle."""
        self._frames = _NONE
        if self._dropped_seq is not None:
            return self._tell_dropped(self._dropped_seq)
        self.idle = not self.closed
        self.dropping = False
        return None

    def _queue(self, frames: Sequence[Frame]) -> None:
        if self._frames is _NONE:
            self._frames = deque(frames)
        else:
            self._frames.extend(frames)

    def _fits(self, messages: int, size: int, reserve: bool = False) -> bool:
        if not self.queued_messages and messages == 1:
            return True  # a queue holds at least one message, however large its format makes it
        share = _WITH_RESERVE if reserve else 1
        messages, size = self.queued_messages + messages, self.queued_bytes + size
        return messages <= self.max_messages * share and size <= self.max_bytes * share

    def _tell_dropped(self, last_seq: int) -> bytes:
        gap = notices.gap(self.seq + 1, last_seq, GapReason.SLOW)
        self.seq, self._dropped_seq = last_seq, None
        return self.encoder.frames(self.counts.told([gap]))[0][0]

    def _drop(self, messages: int, size: int) -> None:
        kept: list[Frame] = []
        while self._frames and not self._fits(messages, size):
            frame = self._frames.popleft()
            if frame.last_seq is not None:
                self.queued_messages -= frame.events
                self.queued_bytes -= len(frame.data)
                self._dropped_seq = frame.last_seq
                self.dropping = True
            else:
                kept.append(frame)
        self._frames.extendleft(reversed(kept))

    def drop_messages(self, seq: int) -> None:
        """Drop the messages that are queued, without a ``GAP``: the order began anew, after ``seq``."""
        self._queue_deferred()
        kept = [frame for frame in self._frames if frame.last_seq is None]
        kept = [one._replace(in_order=False) if one.in_order else one for one in kept]  # no GAP of the new order first
        self.queued_messages = sum(frame.events for frame in kept)
        self.queued_bytes = sum(len(frame.data) for frame in kept)
        self._frames = deque(kept) if kept else _NONE
        self.seq, self._dropped_seq = seq, None

    def close(self, error: CallError | None = None, *, discard: bool = False) -> None:
        """Refuse new frames, and end the client's call. Only the ``error`` of the first call counts.

        Args:
            error: what ends the call, after what is queued has been sent; None for a normal end.
            discard: drop what is queued, because the client would not read it.
        """
        if self.closed and not discard:
            return
        if not self.closed:
            self.closed, self.error = True, error
        self._queue_deferred()
        if discard:
            self.discarded = True
            self._frames = _NONE
            self._lists.clear()
            self._dropped_seq = None
            self.queued_messages = self.queued_bytes = 0
        self.idle = False
        self.wake()
