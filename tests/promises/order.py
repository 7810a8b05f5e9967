"""What the records say together: the order of the room, and each client's way through it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from .records import Acked, Client, Place, Room, Saw, Sent, Told, author_of

MOST = 1_000_000
"""More messages than any storm has: a place beyond is wrong."""


class Order:
    """The order of a room, as its clients know it.

    Attributes:
        texts: what is in each place, by whoever said so first; what was seen goes before what was acknowledged.
        places: where each text is, in each epoch.
        heads: the last place of each epoch.
        conflicts: what does not fit together.
    """

    def __init__(self, room: Room) -> None:
        self._restored = room.restored
        self.texts: dict[Place, str] = {}
        self.places: dict[tuple[str, str], int] = {}
        self.heads: dict[str, int] = defaultdict(int)
        self.conflicts: list[str] = []
        for client in room.clients:
            for stretch in stretches(client, room.kept):
                for seq, text in stretch.seen:
                    self._add(client, "saw", Place(stretch.epoch, seq), text)
        for client in room.clients:
            for step in client.steps:
                if isinstance(step, Acked):
                    self._add(client, "was acknowledged", step.place, step.text)

    def unplaced(self, client: Client, way: Stretch) -> int:
        """Return how many of its own messages a client sent in this epoch without learning their place."""
        sent = {step.text for step in client.steps if isinstance(step, Sent)} if self._restored else way.sent
        return sum((way.epoch, text) not in self.places for text in sent)

    def _add(self, client: Client, how: str, place: Place, text: str) -> None:
        if (known := self.texts.setdefault(place, text)) != text:
            self.conflicts.append(f"{client.key} {how} {text} in {_spell(place)}, where {known} is")
        if (seq := self.places.setdefault((place.epoch, text), place.seq)) != place.seq:
            self.conflicts.append(f"{client.key} {how} {text} in {_spell(place)}, and it is in {seq} too")
        self.heads[place.epoch] = max(self.heads[place.epoch], place.seq)


@dataclass(slots=True)
class Stretch:
    """One client's way through one epoch, over all its visits.

    Attributes:
        start: the place after which everything is due to it.
        seen: the messages that it got.
        told: the places that GAPs cover.
        sent: what it sent meanwhile.
        last: how far it came.
        open: whether it is the client's last one, so that it is due everything up to the end.
    """

    epoch: str
    start: int
    seen: list[Saw] = field(default_factory=list)
    told: list[range] = field(default_factory=list)
    sent: set[str] = field(default_factory=set)
    last: int = 0
    open: bool = False

    def missed(self, head: int) -> list[int]:
        """Return the places up to the end that it neither got nor has a GAP for."""
        seen = {seq for seq, _ in self.seen}
        until = min(head if self.open else self.last, self.start + MOST)  # a wrong one would take all memory
        return [seq for seq in range(self.start + 1, until + 1) if seq not in seen and not self.is_told(seq)]

    def is_told(self, seq: int) -> bool:
        """Whether a GAP covers a place. It may be wrong, and cover more places than would fit into memory."""
        return any(seq in places for places in self.told)


def stretches(client: Client, kept: int) -> list[Stretch]:
    """Follow a client through the epochs."""
    ways: list[Stretch] = []
    for visit in client.visits:
        if not visit.welcome:
            continue
        head = visit.welcome.head
        if not ways or ways[-1].epoch != head.epoch:
            ways.append(Stretch(head.epoch, 0 if visit.after else head.seq))
            if visit.after and visit.after.epoch == head.epoch:
                ways[-1].start = visit.after.seq
        way = ways[-1]
        for step in visit.steps:
            match step:
                case Saw(seq, _):
                    way.seen.append(step)
                    way.last = max(way.last, seq)
                case Told(_, _, "NEW_EPOCH"):
                    way.told.append(range(1, head.seq - kept + 1))
                case Told(first, last):
                    way.told.append(range(first, last + 1))
                    way.last = max(way.last, last)
                case Sent(text):
                    way.sent.add(text)
    if ways:
        ways[-1].open = client.stayed
    return ways


def excused(order: Order, client: Client, way: Stretch) -> Iterator[tuple[int, str | None]]:
    """Yield what a client missed without a GAP though it is not its own: each place, and the text if anyone knows it.

    A place that nobody knows may hold one of its own messages that was never acknowledged, but no more than those.
    """
    unplaced = order.unplaced(client, way)
    for seq in way.missed(order.heads[way.epoch]):
        text = order.texts.get(Place(way.epoch, seq))
        if client.echo or (text and author_of(text) != client.key):
            yield seq, text
        elif text is None:
            unplaced -= 1
            if unplaced < 0:
                yield seq, None


def _spell(place: Place) -> str:
    return f"{place.epoch}:{place.seq}"
