"""The events that the server itself makes, with their texts for people."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from bcast_grpc.errors import BcastError
from bcast_grpc.events import (
    NOBODY,
    Ack,
    Author,
    Closing,
    Error,
    Event,
    Gap,
    GapReason,
    Kind,
    Member,
    Members,
    ResumePoint,
    Welcome,
    utf8_bytes,
)

_NAMES_IN_TEXT = 20
_new = tuple.__new__  # a named tuple's own constructor takes twice as long, and this is made for each message

WHOLE_BYTES = 512 * 1024
"""A list of members up to this size is one event."""

PART_BYTES = 256 * 1024
"""A longer list comes in parts of this size; in JSON they are up to three times as large."""

_MEMBER_BYTES = 40


def joined(author: Author) -> Event:
    """A client with a name joined, or a client without one took a name."""
    return Event(Kind.JOINED, f"{author.name} joined", author, time_ns=time.time_ns())


def renamed(author: Author, old_name: str) -> Event:
    """A client changed its name."""
    return Event(Kind.JOINED, f"{old_name} is now {author.name}", author, time_ns=time.time_ns())


def left(author: Author) -> Event:
    """A client with a name left."""
    return Event(Kind.LEFT, f"{author.name} left", author, time_ns=time.time_ns())


def changed(author: Author, old_name: str) -> Event | None:
    """A client has another name than before, where it has none if it is not there; None if nobody need know."""
    if author.name == old_name:
        return None
    if not author.name:
        return left(author._replace(name=old_name))
    return renamed(author, old_name) if old_name else joined(author)


def welcome(author: Author, room: str, head: ResumePoint, members: int, *, resumed: bool = False) -> Event:
    """The client has joined, and gets what comes after ``head``."""
    detail = Welcome(author.session, room, head.epoch, resumed, members)
    return Event(Kind.WELCOME, f"welcome to {room}: {members} here", author, head.seq, time.time_ns(), detail=detail)


def gap(first_missed: int, last_missed: int, reason: GapReason) -> Event:
    """Some messages cannot be delivered to the client."""
    count = last_missed - first_missed + 1
    text = {
        GapReason.TRIMMED: f"missed {count}: older than what is kept",
        GapReason.SLOW: f"missed {count}: they came faster than they were read",
        GapReason.NOT_ALLOWED: f"missed {count}: not allowed to read earlier messages",
    }.get(reason, "the room's order began anew")
    return Event(Kind.GAP, text, time_ns=time.time_ns(), detail=Gap(first_missed, last_missed, reason))


def began() -> Event:
    """The room's order began anew, so places in the old one have no meaning any more."""
    return gap(0, 0, GapReason.NEW_EPOCH)


def progress(head: ResumePoint) -> Event:
    """The room's order has reached ``head``."""
    return Event(Kind.PROGRESS, f"at {head.seq}", NOBODY, head.seq, time.time_ns())


def members_in_parts(present: Sequence[Member], request_id: str) -> list[Event]:
    """As ``members``, but in several events if the list is too long for one; all but the last say ``more``."""
    whole = members(present, request_id)
    parts: list[list[Member]] = [[]]
    size = total = 0
    for member in present:
        bytes_ = utf8_bytes(member.name) + _MEMBER_BYTES
        size += bytes_
        total += bytes_
        if size > PART_BYTES:
            parts.append([])
            size = bytes_
        parts[-1].append(member)
    if total <= WHOLE_BYTES:
        return [whole]
    details = [Members(tuple(part), more=part is not parts[-1]) for part in parts]
    return [whole._replace(detail=detail) for detail in details]


def members_bytes(present: Sequence[Member]) -> int:
    """Return about how large a list of members is on the wire; a name may be in its text, too."""
    return sum(64 + 8 * len(member.name) for member in present)


def members(present: Sequence[Member], request_id: str) -> Event:
    """Who is here, as the answer to a request."""
    return Event(
        Kind.MEMBERS,
        f"{len(present)} here: {_names(present)}",
        time_ns=time.time_ns(),
        id=request_id,
        detail=Members(tuple(present)),
    )


def _names(present: Sequence[Member]) -> str:
    names = [member.name for member in present if member.name]
    nameless = len(present) - len(names)
    parts = names[:_NAMES_IN_TEXT]
    if len(names) > _NAMES_IN_TEXT:
        parts.append(f"{len(names) - _NAMES_IN_TEXT} more")
    if nameless or not parts:
        parts.append(f"{'one' if nameless == 1 else nameless or 'none'} without a name")
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def sent(ack: Ack, request_id: str, time_ns: int) -> Event:
    """A message was accepted, as the answer to its request."""
    return _new(Event, (Kind.ACK, _sent(ack.queued, ack.refused), NOBODY, 0, time_ns, b"", request_id, ack))


def sent_together(asked: Iterable[tuple[Event, str]], epoch: str, queued: int, refused: int) -> list[Event]:
    """Messages were accepted, and the same clients got them; each comes with its request's id."""
    text = _sent(queued, refused)
    return [
        _new(Event, (Kind.ACK, text, NOBODY, 0, time_ns, b"", id_, _new(Ack, (seq, epoch, False, queued, refused))))
        for (_, _, _, seq, time_ns, _, _, _), id_ in asked
    ]


def _sent(queued: int, refused: int) -> str:
    return f"sent to {queued}, refused by {refused}" if refused else f"sent to {queued}"


def done(text: str, epoch: str, request_id: str) -> Event:
    """A request other than a message was carried out."""
    return Event(Kind.ACK, text, time_ns=time.time_ns(), id=request_id, detail=Ack(epoch=epoch))


def error(fault: BcastError, request_id: str) -> Event:
    """A request was not carried out."""
    detail = Error(fault.code, fault.reason, fault.retryable, fault.retry_after_s)
    return Event(Kind.ERROR, fault.reason, time_ns=time.time_ns(), id=request_id, detail=detail)


def expiring(left_s: float) -> Event:
    """The client's token expires soon."""
    return Event(Kind.EXPIRING, f"your token expires in {max(0.0, left_s):.0f} s", time_ns=time.time_ns())


def closing(reason: str, reconnect_after_s: float) -> Event:
    """The server is about to end the stream."""
    return Event(Kind.CLOSING, reason, time_ns=time.time_ns(), detail=Closing(reason, reconnect_after_s))
