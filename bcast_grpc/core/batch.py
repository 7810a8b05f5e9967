"""What a flush puts into the outboxes: events in order, encoded once for each wire format and shared by all clients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple, TypeAlias, cast

from bcast_grpc.core import notices
from bcast_grpc.events import NOBODY, Author, Entry, Event, Kind, wire_bytes

Piece: TypeAlias = tuple[bytes, int]
"""Bytes that a client reads as one message of its wire format, and the number of events in them."""


class Frame(NamedTuple):
    """Bytes that a client reads as one message of its wire format.

    Attributes:
        data: the bytes.
        events: how many events they contain.
        last_seq: the ``seq`` of the last message among those; None if there is no message.
        in_order: whether the frame must stay behind messages that were queued before it, because it contains messages
            or a ``PROGRESS``.
    """

    data: bytes
    events: int
    last_seq: int | None = None
    in_order: bool = False

    @classmethod
    def joined(cls, frames: Sequence[Frame]) -> Frame:
        """Join several frames into one."""
        data = b"".join([frame[0] for frame in frames])
        count = sum([frame[1] for frame in frames])
        last_seq = frames[-1].last_seq
        if last_seq is not None:
            return cls(data, count, last_seq, True)
        last_seq = max((frame.last_seq for frame in frames if frame.last_seq is not None), default=None)
        return cls(data, count, last_seq, any(frame.in_order for frame in frames))


_CUTS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Encoder:
    """One wire format; clients that share the object share the bytes.

    Attributes:
        encode: turns events into frames, in order.
        frame_bytes: frames are joined end to end up to this size; 0 if frames of this format cannot be joined.
        split: cuts a frame into frames of about the given size in bytes, for a client on a slow line.
    """

    encode: Callable[[Sequence[Event]], Sequence[Piece]]
    frame_bytes: int
    split: Callable[[bytes, int], Iterable[bytes]] = lambda frame, _: (frame,)

    def cut(self, frame: bytes, max_bytes: int) -> Sequence[bytes]:
        """Cut a frame as ``split`` does, but only once for all clients of about the same speed.

        Cutting has to find the events in the frame, so the last ``_CUTS`` results are kept.
        """
        return _cut(self.split, frame, 1 << max_bytes.bit_length() - 1)

    def frames(self, events: Sequence[Event]) -> Sequence[Frame]:
        """Encode ``events`` other than messages of the room, in as few frames as possible."""
        return self.join([Frame(data, count) for data, count in self.encode(events)])

    def join(self, frames: Sequence[Frame]) -> Sequence[Frame]:
        """Join neighbouring frames as far as the format allows."""
        if len(frames) < 2 or not self.frame_bytes:
            return frames
        sizes = [len(frame[0]) for frame in frames]
        if sum(sizes) <= self.frame_bytes:
            return [Frame.joined(frames)]
        joined: list[Frame] = []
        begin = size = 0
        for end, more in enumerate(sizes):
            if end > begin and size + more > self.frame_bytes:
                joined.append(Frame.joined(frames[begin:end]))
                begin, size = end, 0
            size += more
        joined.append(Frame.joined(frames[begin:]))
        return joined


@lru_cache(maxsize=_CUTS)
def _cut(split: Callable[[bytes, int], Iterable[bytes]], frame: bytes, max_bytes: int) -> Sequence[bytes]:
    return tuple(split(frame, max_bytes))


class Due(NamedTuple):
    """Answers that are made when they are sent, so that a list of members is no older than the notices before it.

    Attributes:
        session: the session that they are for.
        make: returns them, in order.
        bytes: about how large they are on the wire.
    """

    session: str
    make: Callable[[], Sequence[Event]]
    bytes: int

    @classmethod
    def of(cls, session: str, answers: Sequence[Event]) -> Due:
        """Return answers that have been made already."""
        return cls(session, lambda: answers, sum(map(wire_bytes, answers)))


class Run:
    """Consecutive events of one kind and author: all of them go to the same clients.

    Attributes:
        asked: the answers that are due when the run has been flushed, in order: for an event whose author wants an ack,
            its index in the run and its request's ``id``; between those, other answers.
        bytes: an upper estimate of the size of the events and those answers on the wire.
        begins: the epoch that begins with this run, which goes to nobody; empty for every other run.
    """

    __slots__ = ("asked", "author", "begins", "bytes", "events", "kind")

    def __init__(self, kind: Kind, author: Author, begins: str = "") -> None:
        self.kind = kind
        self.author = author
        self.begins = begins
        self.events: list[Event] = []
        self.asked: list[tuple[int, str] | Due] = []
        self.bytes = 0

    def add(self, event: Event, size: int, entry: Entry | None) -> None:
        """Add the event made of ``entry``, of about ``size`` bytes; ``entry`` is None if another server answers it."""
        if entry and (entry.id or entry.asks):
            self.asked.append((len(self.events), entry.id))
        self.events.append(event)
        self.bytes += size

    def extend(self, events: Sequence[Event], size: int, entries: Sequence[Entry | None]) -> None:
        """Add many events at once, as ``add`` does."""
        places = enumerate(entries, len(self.events))
        self.asked += [(place, entry[3]) for place, entry in places if entry and (entry[3] or entry[4])]
        self.events += events
        self.bytes += size

    @classmethod
    def of_notice(cls, notice: Event) -> Run:
        """Return a run of one notice, which needs no ack."""
        run = cls(notice.kind, notice.author)
        run.events.append(notice)
        run.bytes = wire_bytes(notice)
        return run

    @classmethod
    def of_beginning(cls, epoch: str) -> Run:
        """Return the run that stands between the runs of two epochs."""
        run = cls(Kind.GAP, NOBODY, epoch)
        run.events.append(notices.began())
        return run

    @classmethod
    def of_messages(cls, events: Iterable[Event]) -> list[Run]:
        """Return messages from the history as runs, which need no acks."""
        runs: list[Run] = []
        for event in events:
            if not runs or runs[-1].author != event.author:
                runs.append(cls(Kind.MESSAGE, event.author))
            runs[-1].events.append(event)
        return runs

    def answers(self, epoch: str, queued: int, refused: int) -> Iterator[tuple[str, Sequence[Event]]]:
        """Return all answers in order, each with the session that it is for.

        Args:
            epoch: the name of the room's order.
            queued: how many other clients' queues took the run.
            refused: how many other clients' queues refused it.
        """
        for are_due, group in groupby(self.asked, _is_due):
            if are_due:
                yield from ((due.session, due.make()) for due in cast("Iterable[Due]", group))
            else:
                asked = ((self.events[place], id_) for place, id_ in cast("Iterable[tuple[int, str]]", group))
                yield self.author.session, notices.sent_together(asked, epoch, queued, refused)


class View(NamedTuple):
    """What a member sees of a batch.

    Attributes:
        skip: how many runs were published before the member came.
        own_key: the member's own key, if it is one of the authors.
        own_messages: whether it sees its own messages.
        kinds: which kinds it sees; None if it sees all kinds in the batch.
        skip_notices: the notices of so many runs are skipped, if that is more than ``skip``.
    """

    skip: int = 0
    own_key: str | None = None
    own_messages: bool = False
    kinds: frozenset[Kind] | None = None
    skip_notices: int = 0

    @property
    def shows_messages(self) -> bool:
        """Whether the view includes messages."""
        return self.kinds is None or Kind.MESSAGE in self.kinds

    def shows(self, place: int, run: Run) -> bool:
        """Return whether the view includes ``run``, the run with the index ``place``."""
        if place < self.skip or (self.kinds is not None and run.kind not in self.kinds):
            return False
        if place < self.skip_notices and run.kind is not Kind.MESSAGE:
            return False
        return run.author.key != self.own_key or (self.own_messages and run.kind is Kind.MESSAGE)


EVERYTHING = View()


class Batch:
    """The runs of a flush, each encoded once for each wire format.

    Attributes:
        keys: the authors' keys, one for each run.
        begins: the epoch that begins with this batch, which has no other runs then.
        kinds: the kinds of the runs.
        only_messages: whether there are no notices in the batch.
        first_seq: the ``seq`` of the first message; None if there is no message.
        last_seq: the ``seq`` of the last message; None if there is no message.
    """

    __slots__ = ("_parts", "begins", "first_seq", "keys", "kinds", "last_seq", "only_messages", "runs")

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = runs
        self.keys = [run.author.key for run in runs]
        self.kinds = frozenset(run.kind for run in runs)
        self.begins = runs[0].begins if runs else ""
        messages = [run for run in runs if run.kind is Kind.MESSAGE]
        self.only_messages = len(messages) == len(runs)
        self.first_seq = messages[0].events[0].seq if messages else None
        self.last_seq = messages[-1].events[-1].seq if messages else None
        self._parts: dict[Encoder, list[Sequence[Frame]]] = {}

    def frames(self, encoder: Encoder, view: View = EVERYTHING, *, apart: bool = False) -> Sequence[Frame]:
        """Return what ``view`` includes, in as few frames as possible. A run is encoded when a format first needs it.

        Args:
            encoder: the wire format.
            view: what a member sees of the batch.
            apart: do not mix messages and notices in one frame.
        """
        parts = self._parts.get(encoder)
        if parts is None:
            parts = self._parts[encoder] = [()] * len(self.runs)
        shown = [parts[place] or self._encode(encoder, place) for place in self._places(view)]
        frames = [frame for part in shown for frame in part]
        if apart and not self.only_messages:
            return [joined for _, group in groupby(frames, _is_message) for joined in encoder.join([*group])]
        return encoder.join(frames)

    def _places(self, view: View) -> Sequence[int]:
        skip, own_key, own_messages, kinds, _ = view
        if kinds is not None or own_messages:
            return [place for place, run in enumerate(self.runs) if view.shows(place, run)]
        if own_key is not None:
            return [place for place, key in enumerate(self.keys) if key != own_key and place >= skip]
        return range(skip, len(self.runs))

    def _encode(self, encoder: Encoder, place: int) -> Sequence[Frame]:
        events = self.runs[place].events
        kind = self.runs[place].kind
        is_message = kind is Kind.MESSAGE
        in_order = is_message or kind is Kind.PROGRESS
        frames: list[Frame] = []
        end = 0
        for data, count in encoder.encode(events):
            end += count
            frames.append(Frame(data, count, events[end - 1].seq if is_message else None, in_order))
        self._parts[encoder][place] = frames
        return frames


def _is_due(asked: object) -> bool:
    return isinstance(asked, Due)


def _is_message(frame: Frame) -> bool:
    return frame.last_seq is not None
