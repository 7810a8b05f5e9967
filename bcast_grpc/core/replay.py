"""Feeding from a room's history: those who come back, those who ask for what was said before, those who fell behind."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from bcast_grpc.broker.base import Order
from bcast_grpc.core import notices
from bcast_grpc.core.batch import Batch, Codec, Frame, Run, View
from bcast_grpc.events import Author, Event, GapReason, wire_bytes

_MESSAGES = 256
_BYTES = 256 * 1024
_KEPT_BYTES = 4 * 1024 * 1024


@dataclass(slots=True)
class Replay:
    """How far one client has been fed.

    Attributes:
        cursor: the place of the last message that it was given, or told that it will not be.
        frames: what is to be written to it before more is read from the history.
    """

    cursor: int
    frames: deque[Frame] = field(default_factory=deque)

    @property
    def frames_bytes(self) -> int:
        """How much ``frames`` are."""
        return sum(len(frame.data) for frame in self.frames)

    def take(self) -> bytes | None:
        """Take the next frame to write, if there is one."""
        return self.frames.popleft().data if self.frames else None


class Replays:
    """Reads a room's history for all who are fed from it, in pieces that are encoded once for all of them.

    Attributes:
        bytes: about how much the pieces are that are kept for the next client, in one wire format.
    """

    def __init__(self, order: Order) -> None:
        self.bytes = 0
        self._order = order
        self._batches: OrderedDict[tuple[int, int], tuple[Batch, int]] = OrderedDict()

    def read(self, replay: Replay, upto: int, codec: Codec, author: Author, *, echo: bool) -> None:
        """Read the next piece for a client, at most up to the place ``upto``, or what it cannot have any more."""
        first = self._order.oldest
        if replay.cursor + 1 < first:
            last = min(first - 1, upto)  # what comes after ``upto`` it is given by the next flush
            replay.frames.extend(codec.frames([notices.gap(replay.cursor + 1, last, GapReason.SLOW)]))
            replay.cursor = last
            return
        # Pieces end at the same places for all, so that they can be shared.
        count = min(_MESSAGES - replay.cursor % _MESSAGES, upto - replay.cursor)
        events = self._order.after(replay.cursor, count, _BYTES)
        place = events[0].seq, events[-1].seq
        batch = self._batch(place, events)
        replay.cursor = place[1]
        own_key = author.key if author.key in batch.keys else None
        replay.frames.extend(batch.frames(codec, View(own_key=own_key, own_messages=echo and own_key is not None)))

    def _batch(self, place: tuple[int, int], events: Sequence[Event]) -> Batch:
        if place in self._batches:
            return self._batches[place][0]
        batch = Batch(Run.of_messages(events))
        size = sum(map(wire_bytes, events))
        self._batches[place] = batch, size
        self.bytes += size
        while self.bytes > _KEPT_BYTES and len(self._batches) > 1:
            _, (_, size) = self._batches.popitem(last=False)
            self.bytes -= size
        return batch

    def forget(self) -> None:
        """Let go of what is kept for the next client: nobody is being fed."""
        self._batches.clear()
        self.bytes = 0
