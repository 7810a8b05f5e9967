"""The complete record of one room: what every client sent and saw. Checkers read nothing else.

A text is ``CLIENT/NUMBER``: it names its author, and which of the author's messages it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

Door: TypeAlias = Literal["grpc", "ws", "tcp"]
"""Which door a client connects to."""


class Place(NamedTuple):
    """A place in a room's order."""

    epoch: str
    seq: int


class Welcomed(NamedTuple):
    """The server let the client in."""

    head: Place
    resumed: bool


class Sent(NamedTuple):
    """The client sent a message, or sent it again."""

    text: str


class Acked(NamedTuple):
    """The server acknowledged a message."""

    text: str
    place: Place
    duplicate: bool = False


class Refused(NamedTuple):
    """The server refused a message."""

    text: str
    code: str


class Saw(NamedTuple):
    """The client got a message."""

    seq: int
    text: str


class Told(NamedTuple):
    """The client got a GAP."""

    first: int
    last: int
    reason: str


class Came(NamedTuple):
    """The client got a JOINED."""

    name: str


class Went(NamedTuple):
    """The client got a LEFT."""

    name: str


class Present(NamedTuple):
    """The client got the list of who is there."""

    names: frozenset[str]


Step: TypeAlias = Welcomed | Sent | Acked | Refused | Saw | Told | Came | Went | Present


@dataclass(slots=True)
class Visit:
    """One stream of one client, from its call to its end.

    Attributes:
        after: the place after which the client wanted to go on.
        steps: what it sent and saw, in order.
        ending: how the stream ended; empty while it lasts.
    """

    after: Place | None = None
    steps: list[Step] = field(default_factory=list)
    ending: str = ""

    @property
    def welcome(self) -> Welcomed | None:
        """What the server said first, if it came to that."""
        first = self.steps[0] if self.steps else None
        return first if isinstance(first, Welcomed) else None

    @property
    def heard(self) -> list[Step]:
        """What it got from the server."""
        return [step for step in self.steps if not isinstance(step, Sent)]


@dataclass(slots=True)
class Client:
    """One client and all its visits.

    Attributes:
        key: its stable id and, where it has one, its name.
        named: whether it has a name.
        echo: whether it wants its own messages too.
        stayed: whether it was there, and reading, when the last message came.
        gone: whether it has left for good.
        door: the door it connects to. A ``tcp`` client cannot resume: it has one visit, welcomed by its first ack.
    """

    key: str
    named: bool = True
    echo: bool = False
    stayed: bool = True
    gone: bool = False
    door: Door = "grpc"
    visits: list[Visit] = field(default_factory=list)

    @property
    def steps(self) -> list[Step]:
        """What it sent and saw, in all visits."""
        return [step for visit in self.visits for step in visit.steps]


@dataclass(slots=True)
class Room:
    """What all clients of one room sent and saw.

    Attributes:
        durable: whether the server's store survives its end.
        kept: how many messages the server keeps.
        clients: all that ever were there.
        restored: whether older copies of the store were put back: what is kept goes on in a new epoch.
        refusing: whether the store was full, or away, for a while: a message may have been refused, and later ones not.
    """

    name: str
    durable: bool
    kept: int
    clients: list[Client] = field(default_factory=list)
    restored: bool = False
    refusing: bool = False


def author_of(text: str) -> str:
    """Return the key of a text's author."""
    return text.rpartition("/")[0]


def number_of(text: str) -> int:
    """Return which of its author's messages it is."""
    return int(text.rpartition("/")[2])
