"""Where a room's log has the messages of an order, so that those that are not in memory can be read from there."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from bcast_grpc.broker.budget import Budget
from bcast_grpc.broker.nats.log.record import Record
from bcast_grpc.events import Event, Kind

_RECORD_BYTES = 24
_COMPACT = 256
_NONE = array("q")  # for all that have no records yet: an array takes 80 bytes, and most rooms are quiet


class Places:
    """The records that hold the messages of one order, by their first ``seq``. Takes 24 bytes for each.

    Of a record's id only a hash is kept: enough to tell it from another one that has its place since the log went back.

    Args:
        budget: where the memory is counted.
    """

    __slots__ = ("_budget", "_firsts", "_gone", "_marks", "_sequences")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._firsts = self._sequences = self._marks = _NONE
        self._gone = 0

    def __del__(self) -> None:  # as with a history
        self._budget.rooms -= _RECORD_BYTES * len(self._firsts)

    def __len__(self) -> int:
        return len(self._firsts) - self._gone

    def add(self, first: int, sequence: int, id_: str) -> None:
        """Note the next record: its first ``seq``, its place in the stream, and its id."""
        if self._firsts is _NONE:
            self._firsts, self._sequences, self._marks = array("q"), array("q"), array("q")
        self._firsts.append(first)
        self._sequences.append(sequence)
        self._marks.append(hash(id_))
        self._budget.rooms += _RECORD_BYTES

    def drop_before(self, seq: int) -> None:
        """Forget the records whose messages are all before ``seq``. Cost: O(log records), not counting what goes."""
        self._gone = max(self._gone, bisect_right(self._firsts, seq) - 1)
        if self._gone >= _COMPACT and 4 * self._gone >= len(self._firsts):
            for one in (self._firsts, self._sequences, self._marks):
                del one[: self._gone]
            self._budget.rooms -= _RECORD_BYTES * self._gone
            self._gone = 0

    def of(self, seq: int) -> int:
        """Return the place in the stream of the record that holds ``seq``; 0 if it is not known."""
        index = bisect_right(self._firsts, seq) - 1
        return self._sequences[index] if index >= self._gone else 0

    def first_from(self, sequence: int) -> int | None:
        """Return the first ``seq`` of the first record at ``sequence`` or later; None if there is none."""
        index = bisect_left(self._sequences, sequence, self._gone)
        return self._firsts[index] if index < len(self._firsts) else None

    def events(self, epoch: str, records: Iterable[tuple[int, Record]]) -> list[Event]:
        """Return the messages of records that were read again, up to the first one that is another than was told.

        Args:
            epoch: the order's name.
            records: in order, each with its place in the stream. Those that are void are passed over.
        """
        events: list[Event] = []
        for sequence, record in records:
            index = bisect_left(self._sequences, sequence, self._gone)
            if index >= len(self._sequences):
                break
            if self._sequences[index] != sequence:
                continue
            seq = self._firsts[index]
            if record.epoch != epoch or record.first != seq or hash(record.id) != self._marks[index]:
                break
            if events and seq != events[-1].seq + 1:
                break
            events += [
                Event(Kind.MESSAGE, entry.message, entry.author, number, record.time_ns, entry.data, "", None)
                for number, (_, entry) in enumerate(record.items, seq)
            ]
        return events
