"""Live records whose predecessors have not been read yet."""

from __future__ import annotations

from bcast_grpc.broker.nats.log.limits import Limits
from bcast_grpc.broker.nats.log.record import Record

_RECORD_BYTES = 400
_ITEM_BYTES = 600


class Ahead:
    """Keeps some live records while a hole before them is filled, so that they need not be read again."""

    __slots__ = ("_bytes", "_limits", "_records")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.clear()

    def clear(self) -> None:
        """Drop all."""
        self._records: dict[int, tuple[int, Record]] | None = None  # as mostly there are none
        self._bytes = 0

    def put(self, sequence: int, previous: int, record: Record) -> None:
        """Keep a record, if there is room."""
        records, size = self._records or {}, _size(record)
        fits = len(records) < self._limits.ahead_records and self._bytes + size <= self._limits.ahead_bytes
        if fits and previous not in records:
            records[previous] = sequence, record
            self._records = records
            self._bytes += size

    def after(self, sequence: int) -> tuple[int, Record] | None:
        """Remove and return the record that follows the one at ``sequence``."""
        found = self._records.pop(sequence, None) if self._records else None
        if found:
            self._bytes -= _size(found[1])
        return found


def _size(record: Record) -> int:
    texts = sum(len(entry.message) + len(entry.data) for _, entry in record.items)
    return _RECORD_BYTES + _ITEM_BYTES * len(record.items) + texts
