"""What has been read of a room's log, and which record may follow."""

from __future__ import annotations

from enum import Enum, auto

from bcast_grpc.broker.nats.log.limits import Limits
from bcast_grpc.broker.nats.log.record import Record

NONE: tuple[str, ...] = ()


class Fit(Enum):
    """How a record goes with those before it."""

    BEGINS = auto()
    """It begins an epoch."""

    ANCHORS = auto()
    """It is the oldest that the log still has, so it says itself where the order is."""

    FOLLOWS = auto()
    """It follows the last one that counts."""

    VOID = auto()
    """It was written by a server that took another past for the log's. It does not count, for nobody."""


class Chain:
    """The records that were read: the last ones by their ids, and where the order is after them.

    Attributes:
        sequence: the place in the stream of the last record, whether it counts or not; 0 if there is none.
        epoch: the order's name; empty if no record counts.
        head: the ``seq`` of the last item.
        last: the id of the last record that counts.
        holder: the id of the record that holds the last item, or began the epoch; empty if that is not known.
    """

    __slots__ = ("_items", "_limits", "_linked", "_tail", "epoch", "head", "holder", "last", "sequence")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.rewind(0)

    def rewind(self, sequence: int) -> None:
        """Forget all; the next record to read is after ``sequence``."""
        self.sequence = sequence
        self.epoch = self.last = self.holder = ""
        self.head = 0
        self._linked = False
        self._tail: dict[int, tuple[str, tuple[str, ...]]] = {}
        self._items = 0

    @property
    def id(self) -> str:
        """The id of the record at ``sequence``; empty if there is none."""
        return self.id_at(self.sequence)

    def id_at(self, sequence: int) -> str:
        """Return the id of a record by its place in the stream; empty if it is not remembered."""
        return self._tail[sequence][0] if sequence in self._tail else ""

    def items_after(self, sequence: int, id_: str) -> set[str] | None:
        """Return the uids of all items after a record; None if they are not remembered, or it is another record."""
        if sequence > self.sequence:
            return set()
        if self.id_at(sequence) != id_:
            return None
        found: set[str] = set()
        for place, (_, uids) in reversed(self._tail.items()):
            if place <= sequence:
                break
            found.update(uids)
        return found

    def fits(self, record: Record) -> bool:
        """Whether the record may be appended."""
        return record.epoch == self.epoch and record.first == self.head + 1 and record.previous == self.last

    def confirm(self) -> None:
        """Note that the end of the log was reached, so that the oldest record surely counts."""
        self._linked = bool(self.epoch)

    def take(self, sequence: int, record: Record) -> Fit:
        """Add the next record of the log. Cost: O(items), not counting what is forgotten in turn."""
        fit = self._fit(record)
        self.sequence = sequence
        if fit is Fit.VOID:
            self._remember(sequence, record.id, NONE)
            return fit
        if fit is not Fit.FOLLOWS:
            self.epoch, self.head, self.holder = record.epoch, max(record.first - 1, 0), ""
        self._linked = fit is not Fit.ANCHORS
        self.last = record.id
        self.head += len(record.items)
        if record.items or fit is Fit.BEGINS:
            self.holder = record.id
        self._remember(sequence, record.id, tuple([uid for uid, _ in record.items]))
        return fit

    def _fit(self, record: Record) -> Fit:
        if not record.epoch:
            return Fit.VOID
        if not record.first:
            return Fit.BEGINS
        if self.fits(record):
            return Fit.FOLLOWS
        # The oldest record that is kept may be a void one. So it is an anchor only until another does not follow it.
        return Fit.VOID if self._linked else Fit.ANCHORS

    def _remember(self, sequence: int, id_: str, uids: tuple[str, ...]) -> None:
        tail, limits = self._tail, self._limits
        tail[sequence] = id_, uids
        self._items += len(uids)
        while len(tail) > limits.tail_records or (self._items > limits.tail_items and len(tail) > 1):
            oldest = next(iter(tail))
            self._items -= len(tail.pop(oldest)[1])
