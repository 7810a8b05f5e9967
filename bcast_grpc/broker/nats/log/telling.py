"""Turns what is new in a room's log into the outcomes of its order."""

from __future__ import annotations

from collections.abc import Sequence

from bcast_grpc.broker.base import Accepted, Refused, Repeated
from bcast_grpc.broker.ids import Ids
from bcast_grpc.broker.nats.log.actions import Action, Began, Placed
from bcast_grpc.broker.nats.log.past import Verdict
from bcast_grpc.broker.nats.log.pending import Pending
from bcast_grpc.broker.nats.log.record import Record
from bcast_grpc.errors import BcastError, ErrorCode, RequestError
from bcast_grpc.events import Entry, Event, Kind, Stamp, wire_sizes

_new = tuple.__new__  # as in broker/order.py


class Telling:
    """What is told upwards.

    Attributes:
        epoch: of the last message that was told; empty before ``Began``.
        head: its ``seq``.
        out: what is to be told; the caller takes it.
    """

    __slots__ = ("_pending", "epoch", "head", "out")

    def __init__(self, pending: Pending) -> None:
        self.epoch = ""
        self.head = 0
        self.out: list[Action] = []
        self._pending = pending

    def record(self, verdict: Verdict, sequence: int, record: Record) -> None:
        """Tell a record of the log. What waited to be in it is answered. Cost: O(items)."""
        if verdict is not Verdict.GOES_ON:
            self.epoch, self.head = record.epoch, max(record.first - 1, 0)
            self.out.append(Began(self.epoch, self.head))
        if record.items:
            self.out.append(Placed(record.first, sequence, record.id))
            self.out.append(self._accepted(record))

    def _accepted(self, record: Record) -> Accepted:
        seq, time_ns, remove = self.head, record.time_ns, self._pending.remove
        entries: list[Entry | None] = []
        events: list[Event] = []
        for uid, entry in record.items:
            author, message, data, _, _ = entry
            seq += 1
            waiting = remove(uid)
            entries.append(waiting.item.entry if waiting and waiting.own else None)
            events.append(_new(Event, (Kind.MESSAGE, message, author, seq, time_ns, data, "", None)))
        self.head = seq
        return Accepted(entries, events, wire_sizes([entry for _, entry in record.items]))

    def answers(self, answers: Sequence[tuple[Entry, Stamp | BcastError]]) -> None:
        """Tell where messages were in the log before, or why they get no place."""
        repeated: Repeated | None = None
        entries: list[Entry] = []
        places: list[Stamp] = []
        for entry, answer in answers:
            if isinstance(answer, BcastError):
                self.out.append(Refused([entry], answer))
                repeated = None
                continue
            if repeated is None:
                entries, places = [], []
                repeated = Repeated(entries, places)
                self.out.append(repeated)
            entries.append(entry)
            places.append(answer)

    def repeated_before(self, record: Record, ids: Ids, now_ns: int) -> None:
        """Answer retries at the front that are in the log before ``record``, which may answer what follows them."""
        retries: list[tuple[Entry, Stamp]] = []
        while (one := self._pending.first) and one.own and one.item.entry.id:
            entry = one.item.entry
            place = ids.find(entry.author.key, entry.id, now_ns)
            if place is None or place.seq >= record.first:
                break
            self._pending.remove(one.item.uid)
            retries.append((entry, place))
        self.answers(retries)

    def give_up(self, before_ns: int | None, error: BcastError) -> None:
        """Refuse what has waited since ``before_ns`` or longer, or all."""
        pending = self._pending
        while (first := pending.first) and (before_ns is None or first.since_ns <= before_ns):
            pending.remove(first.item.uid)
            if first.own:
                self.out.append(Refused([first.item.entry], error))


def unavailable(patience_s: float, why: str) -> BcastError:
    """Return the error for messages that have waited too long, with what NATS said, if it said something."""
    said = f" (NATS says: {why})" if why else ""
    return RequestError(
        ErrorCode.BROKER_UNAVAILABLE,
        f"the message was not confirmed to be in the room's log within {patience_s:g} s{said}, and may get there yet;"
        " try again with the same id, and it is not sent twice",
    )


def stopped() -> BcastError:
    """Return the error for messages of a room whose log cannot be read."""
    return RequestError(
        ErrorCode.BROKER_UNAVAILABLE,
        "the room's log was written by a newer version, which this server cannot read; try another server",
    )
