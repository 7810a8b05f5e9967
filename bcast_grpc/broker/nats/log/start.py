"""Where to begin to read a long log: a server that opens a room needs what it serves, not all that the log has."""

from __future__ import annotations

from typing import NamedTuple

from bcast_grpc.broker.nats.log.actions import ReadAfter, ReadEnd, ReadSince
from bcast_grpc.broker.nats.log.limits import Limits
from bcast_grpc.broker.nats.log.record import Record

_NS = 1_000_000_000
_CLOCKS_NS = 30 * _NS
"""By how much the clocks of this server and of NATS may differ."""

_ANOTHER = -(2**62)


class _Point(NamedTuple):
    """A place in the stream, and the ``seq`` with which the record there begins, far below 0 in another epoch."""

    sequence: int
    seq: int


class Start:
    """Finds a record so that it and those behind it have the last messages, and the ids that still count.

    It asks for single records: for the last one, for the first of the time in which ids count, and then nearer and
    nearer to the first message that is needed. It finds the record with that, or one that is earlier by a quarter of
    what is read at most.

    Whatever is answered, it only finds a place to begin. A leader that was deposed lacks the newest records alone.

    Args:
        oldest: the place of the log's oldest record.
        record: that record.
        wall_ns: the time now, in nanoseconds since 1970.
        limits: say how much is needed.
    """

    def __init__(self, oldest: int, record: Record, wall_ns: int, limits: Limits) -> None:
        self._oldest = oldest, record
        self._last: tuple[int, Record] | None = None
        self._since_ns = wall_ns - int(limits.ids_s * _NS) - _CLOCKS_NS if limits.ids_s else None
        self._items = limits.history_items
        self._wanted = 0  # the ``seq`` of the first message that is needed
        self._early = self._late = _Point(oldest, 0)  # from the first on is enough, from the second on is not
        self._slack = 0  # so many messages more than needed may be read
        self._halve = False

    def ask(self, ticket: int) -> ReadAfter | ReadEnd | ReadSince:
        """Return the next request."""
        if self._last is None:
            return ReadEnd(ticket)
        if self._since_ns is not None:
            return ReadSince(ticket, self._since_ns)
        return ReadAfter(ticket, self._guess - 1, leader=True)

    def take(self, sequence: int, record: Record | None) -> int | None:
        """Take the answer; 0 and None if there is no such record. Returns where to begin, once that is known."""
        if self._last is None:
            return self._take_end(sequence, record)
        if self._since_ns is not None:
            return self._take_since(self._last, self._since_ns, sequence, record)
        if record is None or sequence >= self._late.sequence:
            self._late = _Point(self._guess, self._late.seq)  # there is none between
        elif self._suffices(record):
            self._early = self._point(sequence, record)
        else:
            self._late = self._point(sequence, record)
        self._halve = not self._halve
        return self._found

    def _take_end(self, sequence: int, record: Record | None) -> int | None:
        oldest, first = self._oldest
        if record is None or sequence <= oldest:
            return oldest
        self._last = sequence, record
        self._wanted = max(0, record.first + len(record.items) - self._items)
        if not self._suffices(first):
            return oldest
        self._early = self._point(oldest, first)
        return self._begin_before(sequence, record) if self._since_ns is None else None

    def _take_since(self, last: tuple[int, Record], since_ns: int, sequence: int, record: Record | None) -> int | None:
        self._since_ns = None
        if record is not None and sequence < last[0]:
            return self._begin_before(sequence, record)
        if record is None and last[1].time_ns > since_ns:
            return self._oldest[0]  # it is not so: somebody else has answered
        return self._begin_before(*last)

    def _begin_before(self, sequence: int, record: Record) -> int | None:
        """Begin at this record, or earlier if the messages from it on are too few."""
        if self._suffices(record):
            return sequence
        self._late = self._point(sequence, record)
        self._slack = max(self._items, self._wanted + self._items - record.first) // 4
        return self._found

    @property
    def _found(self) -> int | None:
        early, late = self._early, self._late
        near = late.sequence - early.sequence <= 1 or self._wanted - early.seq <= self._slack
        return early.sequence if near else None

    @property
    def _guess(self) -> int:
        """A place between the two: as far as what is sought is between theirs or, each second time, half-way."""
        early, late = self._early, self._late
        sought = max(self._wanted - self._slack // 2, early.seq)
        part = 0.5 if self._halve or late.seq <= sought else (sought - early.seq) / (late.seq - early.seq)
        return early.sequence + 1 + int(part * (late.sequence - early.sequence - 2))

    def _suffices(self, record: Record) -> bool:
        return not self._is_in_epoch(record) or record.first <= self._wanted

    def _point(self, sequence: int, record: Record) -> _Point:
        return _Point(sequence, record.first if self._is_in_epoch(record) else _ANOTHER)

    def _is_in_epoch(self, record: Record) -> bool:
        return self._last is not None and record.epoch == self._last[1].epoch
