"""The messages and notices of a room that no flush has pushed yet."""

from __future__ import annotations

from collections.abc import Sequence

from bcast_grpc.core.batch import Due, Run
from bcast_grpc.events import Entry, Event, Kind

MAX_LOOKS = 50_000
"""Each author that is there sees all runs of a flush but its own: to find these takes some 0.1 µs for each run, and
nobody else has a turn meanwhile."""


class Pending:
    """Runs in order, numbered from the room's first.

    A flush takes at most ``batch_messages`` and ``batch_bytes``: much less than an outbox holds, so that a client that
    keeps up never exceeds its bounds. A single larger message is taken alone. Where many authors speak, it takes fewer
    runs: see ``MAX_LOOKS``.

    Attributes:
        first: the number of the first run that is still pending.
        batch_bytes: most bytes in one flush; may be changed at any time.
    """

    __slots__ = (
        "_asked",
        "_authors",
        "_batch_messages",
        "_bytes",
        "_growing",
        "_messages",
        "_notices",
        "_runs",
        "batch_bytes",
        "first",
    )

    def __init__(self, batch_messages: int, batch_bytes: int) -> None:
        self.first = 0
        self._batch_messages = batch_messages
        self.batch_bytes = batch_bytes
        self._runs: list[Run] = []
        self._messages = 0
        self._notices = 0
        self._bytes = 0
        self._growing = False
        self._asked: int | None = None  # the number of the last run whose author is to be answered
        self._authors: set[str] | None = None  # who is there; most rooms are quiet, and a set takes 0.2 KB

    def __bool__(self) -> bool:
        return bool(self._runs)

    @property
    def messages(self) -> int:
        """How many events are pending."""
        return self._messages

    @property
    def only_notices(self) -> bool:
        """Whether no message is pending."""
        return self._messages == self._notices

    @property
    def full(self) -> bool:
        """Whether as much is pending as one flush can take."""
        looks = len(self._authors or ()) * len(self._runs)
        return self._messages >= self._batch_messages or self._bytes >= self.batch_bytes or looks >= MAX_LOOKS

    @property
    def end(self) -> int:
        """The number that the next run will have."""
        return self.first + len(self._runs)

    def mark(self) -> int:
        """Begin a new run with the next message, and return that run's number."""
        self._growing = False
        return self.end

    def append(self, run: Run) -> None:
        """Add a notice's run."""
        self._add_run(run)
        self._messages += len(run.events)
        self._notices += len(run.events)
        self._bytes += run.bytes
        self._growing = False

    def extend(self, entries: Sequence[Entry | None], events: Sequence[Event], sizes: Sequence[int]) -> None:
        """Add accepted messages: the entries, the events made of them, and the ``wire_bytes`` of each."""
        size = sum(sizes)
        if not self._extend_run(entries, events, size):
            self._extend_singly(entries, events, sizes)
        self._growing = self._growing or bool(entries)
        self._messages += len(entries)
        self._bytes += size

    def _extend_run(self, entries: Sequence[Entry | None], events: Sequence[Event], size: int) -> bool:
        """Add messages to one run, if all are by its author and fit into it; return whether that is so."""
        authors = [event[2] for event in events]
        if not authors or authors.count(authors[0]) != len(authors):
            return False
        run = self._runs[-1] if self._growing and self._runs else None
        if run is None or run.author != authors[0]:
            run = Run(Kind.MESSAGE, authors[0])
        if len(run.events) + len(events) > self._batch_messages or run.bytes + size > self.batch_bytes:
            return False
        if not run.events:
            self._add_run(run)
        run.extend(events, size, entries)
        self._note_asked(run)
        return True

    def _extend_singly(self, entries: Sequence[Entry | None], events: Sequence[Event], sizes: Sequence[int]) -> None:
        run = self._runs[-1] if self._growing and self._runs else None
        most, most_bytes = self._batch_messages, self.batch_bytes
        for entry, event, size in zip(entries, events, sizes, strict=True):
            if run is None or run.author != event.author or len(run.events) >= most or run.bytes + size > most_bytes:
                run = Run(Kind.MESSAGE, event.author)
                self._add_run(run)
            run.add(event, size, entry)
            self._note_asked(run)

    def _add_run(self, run: Run) -> None:
        self._runs.append(run)
        if run.kind is not Kind.LEFT:
            self._authors = self._authors or set()
            self._authors.add(run.author.key)

    def _note_asked(self, run: Run) -> None:
        """Remember the last run, if its author is to be answered."""
        if run.asked:
            self._asked = self.first + len(self._runs) - 1

    def attach(self, due: Due) -> bool:
        """Queue answers behind all acks that are pending; return False if no ack is."""
        if self._asked is None or self._asked < self.first:
            return False
        run = self._runs[self._asked - self.first]
        run.asked.append(due)
        run.bytes += due.bytes
        self._bytes += due.bytes
        return True

    def take(self) -> list[Run]:
        """Take the runs of the next flush: all of one epoch, or the beginning of the next one alone."""
        count = messages = size = 0
        authors: set[str] = set()
        for run in self._runs:
            if run.kind is not Kind.LEFT:
                authors.add(run.author.key)
            if count and (messages + len(run.events) > self._batch_messages or size + run.bytes > self.batch_bytes):
                break
            if count and (run.begins or len(authors) * (count + 1) > MAX_LOOKS):
                break
            count += 1
            messages += len(run.events)
            size += run.bytes
            if run.begins:
                break
        taken, self._runs = self._runs[:count], self._runs[count:]
        self._authors = {run.author.key for run in self._runs if run.kind is not Kind.LEFT} or None
        self.first += count
        self._messages -= messages
        self._notices -= sum(len(run.events) for run in taken if run.kind is not Kind.MESSAGE)
        self._bytes -= size
        return taken
