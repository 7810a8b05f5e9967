"""What an order has decided about some entries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bcast_grpc.broker.base import Receiver
from bcast_grpc.errors import RequestError
from bcast_grpc.events import Entry, Event, Stamp


class Placed(NamedTuple):
    """What became of some entries that were submitted together.

    Attributes:
        entries: the new ones.
        events: the same with their places, in the same order.
        others: those that were sent before, or are not accepted: how many new ones come before it, the entry, and
            the place that it has, or why it has none.
        now_ns: when they arrived, by the steady clock.
    """

    entries: Sequence[Entry]
    events: Sequence[Event]
    others: Sequence[tuple[int, Entry, Stamp | RequestError]]
    now_ns: int

    def tell(self, receiver: Receiver) -> None:
        """Tell the room, in the order of submission."""
        told = 0
        for before, entry, place in self.others:
            if before > told:
                receiver.accepted(self.entries[told:before], self.events[told:before])
                told = before
            if isinstance(place, Stamp):
                receiver.repeated(entry, place)
            else:
                receiver.refused([entry], place)
        if told < len(self.entries):
            receiver.accepted(self.entries[told:], self.events[told:])
