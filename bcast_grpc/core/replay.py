"""Reads a room's history, for the members that are fed from it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from bcast_grpc.broker.base import Order
from bcast_grpc.core import notices
from bcast_grpc.core.batch import Batch, Frame, Run, View
from bcast_grpc.core.outbox import Outbox
from bcast_grpc.errors import CallError
from bcast_grpc.events import Author, Event, GapReason, wire_bytes

_MESSAGES = 256
_BYTES = 256 * 1024
_KEPT_BYTES = 4 * 1024 * 1024

_Piece: TypeAlias = tuple[int, int]  # the seq before the piece, and its largest number of messages
_Take: TypeAlias = Callable[[Batch | CallError | None], None]


@dataclass(slots=True)
class Replay:
    """How far one client has been fed.

    Attributes:
        cursor: the ``seq`` of the last message that it was given, or that a ``GAP`` covers.
        frames: what is written to it before more is read from the history.
        reading: whether the next piece is being read.
        asked: whether the client asked for the history; False if it fell behind.
    """

    cursor: int
    frames: deque[Frame] = field(default_factory=deque)
    reading: bool = False
    asked: bool = False
    _taken: int = 0

    @property
    def frames_bytes(self) -> int:
        """The size of ``frames``."""
        return sum(len(frame.data) for frame in self.frames)

    def take(self) -> bytes | None:
        """Take the next frame to write, if there is one."""
        if not self.frames:
            return None
        frame = self.frames.popleft()
        if frame.last_seq is not None:
            self._taken = frame.last_seq
        return frame.data

    def add(self, frames: Sequence[Frame], last: int) -> None:
        """Write these frames next, up to the message whose ``seq`` is ``last``. Called where there are none."""
        self._taken = self.cursor
        self.frames.extend(frames)
        self.cursor = last

    @property
    def taken(self) -> int:
        """The ``seq`` of the last message that needs no writing any more."""
        return self._taken if self.frames else self.cursor


class Replays:
    """Reads a room's history in pieces, each of which is read and encoded once for all members that are fed.

    Attributes:
        bytes: about how large the pieces are that are kept for the next client, in one wire format.
    """

    __slots__ = ("_batches", "_order", "_reading", "bytes")

    def __init__(self, order: Order) -> None:
        self.bytes = 0
        self._order = order
        self._batches: dict[_Piece, tuple[Batch, int]] = {}
        self._reading: dict[_Piece, list[_Take]] = {}

    def read(self, replay: Replay, upto: int, outbox: Outbox, author: Author, *, echo: bool) -> None:
        """Read the next piece for a client, at most up to the seq ``upto``, or make the ``GAP`` for what is not kept.

        A piece that is not in memory comes later; then the client's writer is woken.
        """
        first = self._order.oldest
        if replay.cursor + 1 < first:
            # A client that reads faster gets a message before newer ones take its place.
            slow = replay.cursor < (displaced := self._order.displaced)
            reason = GapReason.SLOW if slow else GapReason.TRIMMED
            last = min(displaced if slow else first - 1, upto)  # what comes after `upto` is flushed to the client
            gap = notices.gap(replay.cursor + 1, last, reason)
            replay.add(outbox.encoder.frames(outbox.counts.told([gap])), last)
            return
        # Pieces end at the same places for all, so that they can be shared.
        piece = replay.cursor, min(_MESSAGES - replay.cursor % _MESSAGES, upto - replay.cursor)
        at_once = True

        def take(batch: Batch | CallError | None) -> None:
            replay.reading = False
            if isinstance(batch, CallError):
                outbox.close(batch)
            elif batch:
                own_key = author.key if author.key in batch.keys else None
                view = View(own_key=own_key, own_messages=echo and own_key is not None)
                frames = batch.frames(outbox.encoder, view)
                outbox.counts.delivered += sum(frame.events for frame in frames)
                replay.add(frames, batch.last_seq or replay.cursor)
            if not at_once:
                outbox.wake()

        replay.reading = True
        self._find(piece, take)
        at_once = False

    def _find(self, piece: _Piece, take: _Take) -> None:
        """Pass a piece to ``take``: at once if it is kept, otherwise when it has been read."""
        if piece in self._batches:
            take(self._batches[piece][0])
        elif piece in self._reading:
            self._reading[piece].append(take)
        else:
            self._reading[piece] = [take]
            self._order.read(*piece, _BYTES, partial(self._found, piece))

    def _found(self, piece: _Piece, events: Sequence[Event] | CallError) -> None:
        takes = self._reading.pop(piece, None)
        if takes is None:  # the clients that waited for it have left
            return
        batch = events if isinstance(events, CallError) else self._keep(piece, events) if events else None
        for take in takes:
            take(batch)

    def _keep(self, piece: _Piece, events: Sequence[Event]) -> Batch:
        batch = Batch(Run.of_messages(events))
        size = sum(map(wire_bytes, events))
        self._batches[piece] = batch, size
        self.bytes += size
        while self.bytes > _KEPT_BYTES and len(self._batches) > 1:
            _, size = self._batches.pop(next(iter(self._batches)))
            self.bytes -= size
        return batch

    def drop_kept(self) -> None:
        """Drop the pieces that are kept for the next client."""
        self._batches.clear()
        self.bytes = 0

    def forget(self) -> None:
        """Drop everything: no client is being fed."""
        self.drop_kept()
        self._reading.clear()
