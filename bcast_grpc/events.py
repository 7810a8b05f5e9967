"""The values that flow: a ``Request`` comes in, an ``Entry`` is put in order, an ``Event`` goes out.

They are those of the contract (``protos/bcast_grpc/v1/chat.proto``), free of any wire format. ``Request``, ``Entry``
and ``Event`` are named tuples, not frozen dataclasses: there is one of each for every message, and they are made in a
third of the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, TypeAlias

from bcast_grpc.errors import BcastError, ErrorCode


class Kind(IntEnum):
    """What an event tells; numbers and names are those of the contract's ``EventKind``.

    The negative ones are never on a wire: the client library tells them of itself.
    """

    UNSPECIFIED = 0
    MESSAGE = 1
    WELCOME = 2
    JOINED = 3
    LEFT = 4
    ACK = 5
    ERROR = 6
    GAP = 7
    MEMBERS = 8
    PROGRESS = 9
    CLOSING = 10
    RECONNECTING = -1
    RESUMED = -2


class GapReason(IntEnum):
    """Why messages are missing."""

    UNSPECIFIED = 0
    TRIMMED = 1
    SLOW = 2
    NEW_EPOCH = 3


class Position(NamedTuple):
    """A place in a room's order: after the message ``seq`` of ``epoch``."""

    epoch: str
    seq: int


class Place(NamedTuple):
    """Where and when a message was accepted: its ``seq``, and nanoseconds since 1970."""

    seq: int
    time_ns: int


class Author(NamedTuple):
    """Who says something.

    Attributes:
        session: the public session id, given by the server.
        name: empty if it has none.
        key: what "not to the author" compares, on the server: the client's own stable id where it gave one, else the
            session id.
    """

    session: str
    name: str
    key: str


NOBODY = Author("", "", "")


class Request(NamedTuple):
    """One thing that a client asks for. ``fault`` says why it could not be read, where that is so."""

    operacion: str = ""
    msg: str = ""
    data: bytes = b""
    id: str = ""
    fault: str = ""


class Entry(NamedTuple):
    """A message that has no place in its room's order yet.

    Attributes:
        message: what a person will read.
        id: makes a retry safe, and asks for an ack.
        asks: whether an ack is wanted without an id too.
    """

    author: Author
    message: str
    data: bytes = b""
    id: str = ""
    asks: bool = False


@dataclass(frozen=True, slots=True)
class Welcome:
    """You are in."""

    session: str
    room: str
    epoch: str
    resumed: bool
    members: int


@dataclass(frozen=True, slots=True)
class Ack:
    """Your request was carried out; ``seq`` is the message's place, 0 for "join" and "leave"."""

    seq: int = 0
    epoch: str = ""
    duplicate: bool = False
    queued: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Error:
    """Your request was not carried out."""

    code: ErrorCode
    reason: str
    retryable: bool = False
    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Gap:
    """You were not given the messages from ``first_missed`` to ``last_missed``, both included."""

    first_missed: int
    last_missed: int
    reason: GapReason


@dataclass(frozen=True, slots=True)
class Member:
    """One client in a room; ``since_ns`` is in nanoseconds since 1970."""

    session: str
    name: str
    since_ns: int


@dataclass(frozen=True, slots=True)
class Members:
    """Who is here; ``more`` where the next event goes on with the list."""

    members: tuple[Member, ...]
    more: bool = False


@dataclass(frozen=True, slots=True)
class Closing:
    """The server is about to end this stream."""

    reason: str
    reconnect_after_s: float


@dataclass(frozen=True, slots=True)
class Reconnecting:
    """The client library has no connection, because of ``error``; it tries again in ``retry_in_s``.

    ``attempt`` is 1 when the connection was lost, and one more with each try that failed since.
    """

    error: BcastError
    attempt: int
    retry_in_s: float


@dataclass(frozen=True, slots=True)
class Resumed:
    """The client library has a connection again, after ``away_s``.

    ``complete`` tells whether nothing was missed; if not, a ``GAP`` event follows.
    """

    away_s: float
    complete: bool


Detail: TypeAlias = Welcome | Ack | Error | Gap | Members | Closing | Reconnecting | Resumed


class Event(NamedTuple):
    """What happened.

    Attributes:
        kind: what it tells.
        message: text for a person, set on every event: "ana: hola", "ana left".
        author: whose doing it is; ``NOBODY`` where the server itself speaks.
        seq: the place in the room's order for a message; the room's head for a welcome and a progress; otherwise 0.
        time_ns: when the server accepted it, in nanoseconds since 1970.
        data: the author's opaque payload.
        id: for the answer to a request, that request's id.
        detail: the typed part of a welcome, ack, error, gap, members or closing event, and of the library's own.
    """

    kind: Kind
    message: str
    author: Author = NOBODY
    seq: int = 0
    time_ns: int = 0
    data: bytes = b""
    id: str = ""
    detail: Detail | None = None

    @property
    def sender(self) -> str:
        """The author's name; empty if it has none."""
        return self.author.name

    @property
    def session(self) -> str:
        """The author's public session id."""
        return self.author.session

    @property
    def text(self) -> str:
        """The bare text of a message, without its author's name."""
        return self.message.removeprefix(f"{self.sender}: ") if self.sender else self.message


def utf8_bytes(text: str) -> int:
    """Return the size of ``text`` in bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


_ESCAPED = [chr(code) for code in range(32) if code not in (8, 9, 10, 12, 13)]
"""What JSON writes in six bytes; unless that counted, a flush of it would be more than a queue holds."""


def wire_bytes(message: Entry | Event) -> int:
    """Return about how large a message is on the wire: not less than in protobuf, and at least a third of JSON's."""
    text = message.message
    size = utf8_bytes(text) + len(message.data) + 4 * len(message.author.name) + 96
    return size if text.isprintable() else size + 5 * sum(map(text.count, _ESCAPED))


def relayed(name: str, text: str) -> str:
    """What a person reads of a message: ``name: text``, or the bare text of an author without a name."""
    return f"{name}: {text}" if name else text
