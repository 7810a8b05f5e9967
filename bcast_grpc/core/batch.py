"""What a flush puts into the outboxes: events in order, encoded once for each wire format and shared by all clients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from bcast_grpc.core import notices
from bcast_grpc.events import Ack, Author, Entry, Event, Kind

Frame: TypeAlias = tuple[bytes, int]
"""Bytes that a client takes as one message of its wire, and the number of events in them."""


class Codec(NamedTuple):
    """One wire format.

    Attributes:
        encode: turns events into frames, in order.
        frame_bytes: frames joined end to end are again a frame, and are joined up to this size; 0: they are not.
    """

    encode: Callable[[Sequence[Event]], Sequence[Frame]]
    frame_bytes: int

    def frames(self, events: Sequence[Event]) -> Sequence[Frame]:
        """Encode ``events`` as few frames."""
        return self.join(self.encode(events))

    def join(self, frames: Sequence[Frame]) -> Sequence[Frame]:
        """Join neighbours as far as the format allows."""
        if len(frames) < 2 or not self.frame_bytes:
            return frames
        joined: list[Frame] = []
        parts: list[bytes] = []
        size = count = 0
        for part, events in frames:
            if parts and size + len(part) > self.frame_bytes:
                joined.append((b"".join(parts), count))
                parts, size, count = [], 0, 0
            parts.append(part)
            size += len(part)
            count += events
        joined.append((b"".join(parts), count))
        return joined


class Run:
    """Consecutive events of one kind and author, so with one audience.

    Attributes:
        ids: the ``id`` of each event's request; empty where the author wants no ack.
        bytes: about how large the events are on the wire, and not less than that.
        queued: how many others had it put into their queue.
        refused: how many others' queues refused it.
    """

    __slots__ = ("_frames", "author", "bytes", "events", "ids", "kind", "queued", "refused")

    def __init__(self, kind: Kind, author: Author) -> None:
        self.kind = kind
        self.author = author
        self.events: list[Event] = []
        self.ids: list[str] = []
        self.bytes = 0
        self.queued = 0
        self.refused = 0
        self._frames: dict[Codec, Sequence[Frame]] = {}

    def add(self, entry: Entry, size: int, seq: int, time_ns: int) -> None:
        """Add a message of about ``size`` bytes that was accepted in the place ``seq``."""
        author, message, data, id_ = entry
        self.events.append(Event(Kind.MESSAGE, message, author, seq, time_ns, data))
        self.ids.append(id_)
        self.bytes += size

    @classmethod
    def of_notice(cls, notice: Event) -> Run:
        """Return a run of one notice, which nobody wants an ack for."""
        run = cls(notice.kind, notice.author)
        run.events.append(notice)
        run.ids.append("")
        run.bytes = utf8_bytes(notice.message) + 4 * len(notice.author.name) + 96
        return run

    def frames(self, codec: Codec) -> Sequence[Frame]:
        """Return the events' frames; the first call for a format makes them."""
        frames = self._frames.get(codec)
        if frames is None:
            frames = self._frames[codec] = codec.encode(self.events)
        return frames

    def acks(self, epoch: str) -> list[Event]:
        """Return the answers that the author asked for."""
        queued, refused = self.queued, self.refused
        return [
            notices.sent(Ack(event.seq, epoch, False, queued, refused), id_, event.time_ns)
            for event, id_ in zip(self.events, self.ids, strict=True)
            if id_
        ]


class Batch:
    """Runs for the same clients, made into frames once for each wire format."""

    __slots__ = ("_frames", "runs")

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = runs
        self._frames: dict[Codec, Sequence[Frame]] = {}

    def frames(self, codec: Codec) -> Sequence[Frame]:
        """Return the frames, as few as their size allows; the first call for a format makes them."""
        frames = self._frames.get(codec)
        if frames is None:
            frames = self._frames[codec] = codec.join([frame for run in self.runs for frame in run.frames(codec)])
        return frames


def utf8_bytes(text: str) -> int:
    """Return the size of ``text`` in bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def wire_bytes(entry: Entry) -> int:
    """Return about how large the event made of ``entry`` is on the wire, and not less than that."""
    return utf8_bytes(entry.message) + len(entry.data) + 4 * len(entry.author.name) + 96
