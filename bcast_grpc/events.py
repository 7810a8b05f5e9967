"""The values of the contract: a ``Request`` comes in, an ``Entry`` gets its place in the order, an ``Event`` goes out.

They mirror ``protos/bcast_grpc/v1/chat.proto``, independently of any wire format. ``Request``, ``Entry``, ``Event`` and
``Ack`` are named tuples rather than frozen dataclasses: every message needs one of each, and a named tuple is made in a
third of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, TypeAlias

from bcast_grpc.errors import BcastError, ErrorCode


class Kind(IntEnum):
    """The kinds of events, with the numbers and names of the contract's ``EventKind``.

    Negative kinds are never sent: the client library makes them to report on its connection.
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
    EXPIRING = 11
    RECONNECTING = -1
    RESUMED = -2


class GapReason(IntEnum):
    """Why messages are missing."""

    UNSPECIFIED = 0
    TRIMMED = 1
    SLOW = 2
    NEW_EPOCH = 3
    NOT_ALLOWED = 4


class ResumePoint(NamedTuple):
    """A place in a room's order: after the message ``seq`` of ``epoch``."""

    epoch: str
    seq: int


class Stamp(NamedTuple):
    """Where and when a message was accepted: its ``seq``, and the time in nanoseconds since 1970."""

    seq: int
    time_ns: int


class Author(NamedTuple):
    """Who sent a message.

    Attributes:
        session: the public session id, given by the server.
        name: empty if the client has none.
        key: identifies the author, so that the server can keep a message from it: derived from the client's own stable
            id if it gave one, else the session id.
    """

    session: str
    name: str
    key: str


NOBODY = Author("", "", "")


class Request(NamedTuple):
    """One request of a client. If it could not be read, ``fault`` says why."""

    operacion: str = ""
    msg: str = ""
    data: bytes = b""
    id: str = ""
    fault: str = ""


class Entry(NamedTuple):
    """A message that has no place in its room's order yet.

    Attributes:
        message: the text for people.
        id: makes a retry safe, and requests an ack.
        asks: whether the author wants an ack even without an id.
    """

    author: Author
    message: str
    data: bytes = b""
    id: str = ""
    asks: bool = False


@dataclass(frozen=True, slots=True)
class Welcome:
    """The client has joined the room."""

    session: str
    room: str
    epoch: str
    resumed: bool
    members: int


class Ack(NamedTuple):
    """The request was carried out; ``seq`` is the message's place, 0 for "join" and "leave"."""

    seq: int = 0
    epoch: str = ""
    duplicate: bool = False
    queued: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Error:
    """The request was not carried out."""

    code: ErrorCode
    reason: str
    retryable: bool = False
    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Gap:
    """The messages from ``first_missed`` to ``last_missed``, both included, cannot be delivered to the client."""

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
    """The clients in the room; with ``more``, the next event continues the list."""

    members: tuple[Member, ...]
    more: bool = False


@dataclass(frozen=True, slots=True)
class Closing:
    """The server is about to end this stream."""

    reason: str
    reconnect_after_s: float


@dataclass(frozen=True, slots=True)
class Reconnecting:
    """The client library lost its connection because of ``error``, and will try again in ``retry_in_s``.

    ``attempt`` is 1 when the connection is lost, and rises by one with each failed attempt.
    """

    error: BcastError
    attempt: int
    retry_in_s: float


@dataclass(frozen=True, slots=True)
class Resumed:
    """The client library is connected again, after ``away_s``.

    ``complete`` is true if nothing was missed; otherwise a ``GAP`` event follows. ``moved_to`` is the address of the
    server, if that is another one than before.
    """

    away_s: float
    complete: bool
    moved_to: str = ""


Detail: TypeAlias = Welcome | Ack | Error | Gap | Members | Closing | Reconnecting | Resumed


class Event(NamedTuple):
    """What happened.

    Attributes:
        kind: what kind of event it is.
        message: text for a person, set on every event: "ana: hola", "ana left".
        author: who caused it; ``NOBODY`` for an event of the server itself.
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
"""Characters that JSON writes in six bytes. If that were not counted, a flush of them could exceed a queue."""


def wire_bytes(message: Entry | Event) -> int:
    """Return about how large a message is on the wire: at least its size in protobuf, and a third of that in JSON."""
    text = message.message
    size = len(text) if text.isascii() else len(text.encode())  # as utf8_bytes(), without a call for each message
    size += len(message.data) + 4 * len(message.author.name) + 96
    return size if text.isprintable() else size + 5 * sum(map(text.count, _ESCAPED))


def wire_sizes(entries: Sequence[Entry]) -> list[int]:
    """Return the ``wire_bytes`` of each entry, in a third of the time if all are plain, as most are."""
    texts = "".join([entry[1] for entry in entries])
    if not (texts.isascii() and texts.isprintable()):
        return list(map(wire_bytes, entries))
    return [len(text) + len(data) + 4 * len(author[1]) + 96 for author, text, data, _, _ in entries]


def relayed(name: str, text: str) -> str:
    """Return the text for people: ``name: text``, or the bare text if the author has no name."""
    return f"{name}: {text}" if name else text
