"""The order of one room: which place comes next, what is kept, and which ids are known."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from bcast_grpc.broker.clock import Clock
from bcast_grpc.broker.history import History, Retention
from bcast_grpc.broker.ids import Ids
from bcast_grpc.errors import RequestError
from bcast_grpc.events import Entry, Event, Kind, Place

if TYPE_CHECKING:
    from bcast_grpc.broker.base import Receiver


class Placed(NamedTuple):
    """What became of some entries.

    Attributes:
        asked: all of them, in the order of publishing.
        entries: those that are new.
        events: the same with their places, in the same order.
        others: those that are not new, or not taken: how many new ones come before it, the entry, and the place that it
            has, or why it has none.
        now_ns: when they arrived, by the steady clock.
    """

    asked: Sequence[Entry]
    entries: Sequence[Entry]
    events: Sequence[Event]
    others: Sequence[tuple[int, Entry, Place | RequestError]]
    now_ns: int

    def tell(self, receiver: Receiver) -> None:
        """Tell the room, in the order of publishing."""
        told = 0
        for before, entry, place in self.others:
            if before > told:
                receiver.accepted(self.entries[told:before], self.events[told:before])
                told = before
            if isinstance(place, Place):
                receiver.repeated(entry, place)
            else:
                receiver.refused([entry], place)
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
        others: list[tuple[int, Entry, Place | RequestError]] = []
        seq = self.given
        for entry in entries:
            author, message, data, id_, _ = entry
            if id_:
                known = self._recall(author.key, id_, Place(seq + 1, wall_ns), now_ns)
                if known:
                    others.append((len(fresh), entry, known))
                    continue
            seq += 1
            fresh.append(entry)
            events.append(Event(Kind.MESSAGE, message, author, seq, wall_ns, data))
        self.given = seq
        return Placed(entries, fresh, events, others, now_ns)

    def _recall(self, key: str, id_: str, place: Place, now_ns: int) -> Place | RequestError | None:
        try:
            return self.ids.recall(key, id_, place, now_ns)
        except RequestError as error:
            return error

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

    def release(self) -> None:
        """Let go of all that is kept, as this order will be read from a store when it is needed again."""
        self.history.release()
        self.ids.clear()

    @property
    def empty(self) -> bool:
        """Whether there is nothing that anyone could come back for."""
        return not len(self.history) and not len(self.ids)
