"""What clients of a room should receive: lists of what was accepted, and from where on each client is due."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from bcast_grpc.core.hello import Hello
from bcast_grpc.core.publisher import Publisher
from bcast_grpc.events import Event, Kind, Members, Welcome, relayed

from .world import Client

TO_ALL = (Kind.MESSAGE, Kind.JOINED, Kind.LEFT, Kind.PROGRESS)
COMINGS = {Kind.JOINED, Kind.LEFT}


@dataclass
class Accepted:
    """One thing that everyone else in a room is due."""

    kind: Kind
    author: str
    text: str
    seq: int


@dataclass(eq=False)
class Room:
    """A room from the first arrival to the last departure."""

    name: str
    epoch: str = ""
    head: int = 0
    log: list[Accepted] = field(default_factory=list)
    players: list[Player] = field(default_factory=list)
    producers: list[Producer] = field(default_factory=list)

    def tell(self, kind: Kind, author: str, text: str) -> None:
        """Log a notice."""
        self.log.append(Accepted(kind, author, text, self.head if kind is Kind.PROGRESS else 0))

    def announce(self, player: Player, old_name: str) -> None:
        """Log what the others are told of a client that may have another name now."""
        name = player.name
        if name and old_name and name != old_name:
            self.tell(Kind.JOINED, player.key, f"{old_name} is now {name}")
        elif name and not old_name:
            self.tell(Kind.JOINED, player.key, f"{name} joined")
        elif old_name and not name:
            self.tell(Kind.LEFT, player.key, f"{old_name} left")

    def accept(self, author: str, name: str, text: str) -> int:
        """Log a message and return its place."""
        self.head += 1
        self.log.append(Accepted(Kind.MESSAGE, author, relayed(name, text), self.head))
        return self.head


@dataclass(eq=False)
class Player:
    """One client: the real one, and what it should know.

    Attributes:
        start: where in the log begins what it is due.
        left_at: where in the log it asked to leave.
        acks: the place of the message by the request's id.
        answers: the kind of the other answers by the request's id, in order.
        lists: who was there when the answer was queued, by the request's id.
        present: whether it is in its room.
    """

    client: Client
    room: Room
    key: str
    name: str
    hello: Hello
    reader: bool
    start: int
    welcome: Welcome
    left_at: int | None = None
    replaced: bool = False
    present: bool = True
    acks: dict[str, int] = field(default_factory=dict)
    answers: dict[str, Kind] = field(default_factory=dict)
    lists: dict[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    queued: Counter[int] = field(default_factory=Counter)
    refused: Counter[int] = field(default_factory=Counter)

    def due(self, until: int | None = None) -> list[tuple[Kind, str, int]]:
        """What it is to receive of what all receive."""
        return [
            (item.kind, item.text, item.seq)
            for item in self.room.log[self.start : until]
            if item.kind in self.hello.kinds
            and (item.author != self.key or (self.hello.echo and item.kind is Kind.MESSAGE))
        ]

    @property
    def place(self) -> tuple[str, bool]:
        """Where it is in its room: another that comes with the same place replaces it."""
        return self.key, self.reader

    @property
    def received(self) -> list[tuple[Kind, str, int]]:
        """What it did receive of that."""
        return [(event.kind, event.message, event.seq) for event in self.client.received if event.kind in TO_ALL]

    @property
    def dropped(self) -> bool:
        """Whether its call ended, or ends, without what it was due."""
        return self.client.session.outbox.discarded or (self.client.closed and self.left_at is None)


@dataclass(eq=False)
class Producer:
    """An author that holds no stream."""

    publisher: Publisher
    room: Room
    seq: int
    key: str
    answers: list[Event]


def listed(members: Members) -> tuple[tuple[str, str], ...]:
    """Return the session and the name of each."""
    return tuple((member.session, member.name) for member in members.members)


def name_after(notice: Event) -> str:
    """Return which name the author of a JOINED or LEFT has from then on."""
    return notice.author.name if notice.kind is Kind.JOINED else ""
