"""Turns what is new in a room's log into the outcomes of its order."""

from __future__ import annotations

from collections.abc import Sequence

from bcast_grpc.broker.base import Accepted, Refused, Repeated
from bcast_grpc.broker.nats.actions import Action, Began
from bcast_grpc.broker.nats.past import Verdict
from bcast_grpc.broker.nats.pending import Pending
from bcast_grpc.broker.nats.record import Record
from bcast_grpc.errors import BcastError
from bcast_grpc.events import Entry, Event, Kind, Stamp, wire_bytes

_new = tuple.__new__  # as in broker/order.py


class Telling:
    """What is told upwards.

    Attributes:
        epoch: of the last message that was told; empty before ``Began``.
        head: its ``seq``.
        out: what is to be told; the caller takes it.
    """

    def __init__(self, pending: Pending) -> None:
        self.epoch = ""
        self.head = 0
        self.out: list[Action] = []
        self._pending = pending

    def record(self, verdict: Verdict, record: Record) -> None:
        """Tell a record of the log. What waited to be in it is answered. Cost: O(items)."""
        if verdict is not Verdict.GOES_ON:
            self.epoch, self.head = record.epoch, max(record.first - 1, 0)
            self.out.append(Began(self.epoch, self.head))
        if record.items:
            self.out.append(self._accepted(record))

    def _accepted(self, record: Record) -> Accepted:
        seq, time_ns, remove = self.head, record.time_ns, self._pending.remove
        entries: list[Entry | None] = []
        events: list[Event] = []
        sizes: list[int] = []
        for uid, entry in record.items:
            author, message, data, _, _ = entry
            seq += 1
            waiting = remove(uid)
            entries.append(waiting.item.entry if waiting and waiting.own else None)
            events.append(_new(Event, (Kind.MESSAGE, message, author, seq, time_ns, data, "", None)))
            sizes.append(wire_bytes(entry))
        self.head = seq
        return Accepted(entries, events, sizes)

    def repeated(self, retries: Sequence[tuple[Entry, Stamp]]) -> None:
        """Tell that messages were in the log before."""
        if retries:
            self.out.append(Repeated([entry for entry, _ in retries], [place for _, place in retries]))

    def refused(self, entries: Sequence[Entry], error: BcastError) -> None:
        """Tell that messages get no place; they may be of different authors."""
        self.out += [Refused([entry], error) for entry in entries]
