"""The order of one room: which place comes next, what is kept, and which ids are known."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from bcast_grpc.broker.clock import Clock
from bcast_grpc.broker.history import History, Ids, Retention
from bcast_grpc.events import Entry, Event, Kind, Place

if TYPE_CHECKING:
    from bcast_grpc.broker.base import Receiver


class Placed(NamedTuple):
    """What became of some entries.

    Attributes:
        asked: all of them, in the order of publishing.
        entries: those that are new.
        events: the same with their places, in the same order.
        again: those that an author sent before: how many new ones come before it, the entry, and the place that it has.
        now_ns: when they arrived, by the steady clock.
    """

    asked: Sequence[Entry]
    entries: Sequence[Entry]
    events: Sequence[Event]
    again: Sequence[tuple[int, Entry, Place]]
    now_ns: int

    def tell(self, receiver: Receiver) -> None:
        """Tell the room, in the order of publishing."""
        told = 0
        for before, entry, place in self.again:
            if before > told:
                receiver.accepted(self.entries[told:before], self.events[told:before])
                told = before
            receiver.repeated(entry, place)
        if told < len(self.entries):
            receiver.accepted(self.entries[told:], self.events[told:])


@dataclass(slots=True)
class Order:
    """What a broker knows of a room's order.

    Attributes:
        epoch: its name.
        history: what is kept, up to the last message that was accepted.
        ids: the ids of the messages that were given a place.
        given: the last place that was given; beyond ``history.head`` for messages that are still to be stored.
    """

    epoch: str
    history: History
    ids: Ids
    given: int = field(init=False)

    def __post_init__(self) -> None:
        self.given = self.history.head

    @classmethod
    def new(cls, retention: Retention) -> Order:
        """Begin an order."""
        return cls(secrets.token_hex(4), History(retention), Ids(retention))

    def place(self, entries: Sequence[Entry], clock: Clock) -> Placed:
        """Give each entry that is new the next place. Cost: O(len(entries))."""
        now_ns, wall_ns = clock.now_ns(), clock.wall_ns()
        fresh: list[Entry] = []
        events: list[Event] = []
        again: list[tuple[int, Entry, Place]] = []
        seq = self.given
        for entry in entries:
            author, message, data, id_, _ = entry
            if id_:
                known = self.ids.find(author.key, id_, now_ns)
                if known:
                    again.append((len(fresh), entry, known))
                    continue
                self.ids.add(author.key, id_, Place(seq + 1, wall_ns), now_ns)
            seq += 1
            fresh.append(entry)
            events.append(Event(Kind.MESSAGE, message, author, seq, wall_ns, data))
        self.given = seq
        return Placed(entries, fresh, events, again, now_ns)

    def take_back(self, entries: Sequence[Entry]) -> None:
        """Undo ``place`` for all entries that were not accepted, the last ones of the order."""
        self.given = self.history.head
        for entry in entries:
            if entry.id:
                self.ids.forget(entry.author.key, entry.id)

    def expire(self, now_ns: int) -> None:
        """Drop what is too old by the steady clock."""
        self.history.expire(now_ns)
        self.ids.expire(now_ns)

    @property
    def empty(self) -> bool:
        """Whether there is nothing that anyone could come back for."""
        return not len(self.history) and not len(self.ids)
