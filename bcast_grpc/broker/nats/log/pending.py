"""Messages that wait to be in the log of a room: those of this server's clients, and those that another forwarded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from bcast_grpc.broker.nats.log.limits import Limits
from bcast_grpc.broker.nats.log.record import Encoded, Item

_BYTES = 8  # around an item in a record


class Waiting(NamedTuple):
    """One message that waits.

    Attributes:
        size: its bytes in a record.
        since_ns: when it came, by the steady clock.
        own: whether a client of this server waits for the answer.
    """

    item: Item
    encoded: Encoded
    size: int
    since_ns: int
    own: bool


class Pending:
    """What waits, in order.

    Attributes:
        bytes: their bytes in records.
        foreign: how many of them another server forwarded.
    """

    __slots__ = ("_waiting", "bytes", "foreign")

    def __init__(self) -> None:
        self._waiting: dict[str, Waiting] = {}
        self.bytes = 0
        self.foreign = 0

    def exceeds(self, limits: Limits) -> bool:
        """Whether so much waits that nothing more should be added for now."""
        return len(self) >= limits.pending_items or self.bytes >= limits.pending_bytes

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._waiting.values())

    def __contains__(self, uid: str) -> bool:
        return uid in self._waiting

    def add(self, item: Item, encoded: Encoded, now_ns: int, own: bool) -> None:
        """Put a message at the end."""
        size = len(encoded) + _BYTES
        self._waiting[item.uid] = Waiting(item, encoded, size, now_ns, own)
        self.bytes += size
        self.foreign += not own

    def remove(self, uid: str) -> Waiting | None:
        """Remove and return a message, if it waits."""
        found = self._waiting.pop(uid, None)
        if found:
            self.bytes -= found.size
            self.foreign -= not found.own
        return found

    def remove_foreign(self) -> None:
        """Drop what others forwarded. They append it themselves."""
        if self.foreign:
            for uid in [uid for uid, one in self._waiting.items() if not one.own]:
                self.remove(uid)

    @property
    def first(self) -> Waiting | None:
        """What waits longest."""
        return next(iter(self._waiting.values()), None)
