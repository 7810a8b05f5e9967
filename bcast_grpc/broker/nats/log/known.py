"""The ids of the messages in a room's log."""

from __future__ import annotations

from bcast_grpc.broker.clock import Clock
from bcast_grpc.broker.ids import Ids
from bcast_grpc.broker.nats.log.record import Record


class Known:
    """Remembers the ids of records, for as long as the retention says from when they were accepted.

    Args:
        ids: where they are remembered.
        clock: measures ages.
    """

    __slots__ = ("_arrived_ns", "_clock", "_ids")

    def __init__(self, ids: Ids, clock: Clock) -> None:
        self._ids = ids
        self._clock = clock
        self._arrived_ns = 0

    def clear(self) -> None:
        """Forget all."""
        self._ids.clear()
        self._arrived_ns = 0

    def add(self, record: Record, *, old: bool) -> None:
        """Remember the ids of the next record.

        Args:
            record: the record.
            old: whether it may have been in the log for some time. Its age is then told by the clocks on the walls of
                two servers; else it is young, whatever they say.
        """
        items = enumerate(record.items, record.first)
        ids = [(entry.author.key, entry.id, seq) for seq, (_, entry) in items if entry.id]
        if ids:
            age_ns = max(0, self._clock.wall_ns() - record.time_ns) if old else 0
            self._arrived_ns = max(self._arrived_ns, self._clock.now_ns() - age_ns)
            self._ids.add_all(ids, record.time_ns, self._arrived_ns)
