"""The contract's events in protobuf, and everything that a door needs for this format.

Serialised messages joined end to end are one valid message whose repeated fields are concatenated. So a run of events
is encoded once, as a ``ConnectResponse`` that holds nothing but a ``batch``, and any number of such runs become one
frame by joining their bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from operator import attrgetter

from google.protobuf.duration_pb2 import Duration

from bcast_grpc.events import (
    NOBODY,
    Ack,
    Author,
    Closing,
    Detail,
    Error,
    Event,
    Gap,
    Kind,
    Members,
    Welcome,
)
from bcast_grpc.v1 import chat_pb2 as pb
from bcast_grpc.wire.fields import MalformedFrame as MalformedFrame
from bcast_grpc.wire.fields import fields
from bcast_grpc.wire.protobuf_events import decode_events as decode_events
from bcast_grpc.wire.protobuf_events import parse_events as parse_events
from bcast_grpc.wire.protobuf_requests import MAX_REQUEST_BYTES as MAX_REQUEST_BYTES
from bcast_grpc.wire.protobuf_requests import SMALL_BYTES as SMALL_BYTES
from bcast_grpc.wire.protobuf_requests import check_subscribe as check_subscribe
from bcast_grpc.wire.protobuf_requests import decode_publish as decode_publish
from bcast_grpc.wire.protobuf_requests import decode_requests as decode_requests
from bcast_grpc.wire.protobuf_requests import encode_request as encode_request
from bcast_grpc.wire.protobuf_requests import read_requests as read_requests
from bcast_grpc.wire.protobuf_requests import read_small as read_small
from bcast_grpc.wire.protobuf_runs import Head, encode_acks, encode_messages, is_alone

MAX_BATCH_BYTES = 1024 * 1024
"""The largest frame of events that the server makes; only a single event may be larger."""

_CACHED = 1024
_FEW = 2
"""So many events are encoded faster each by itself."""

_NS = 1_000_000_000
_BATCH_TAG = pb.ConnectResponse.BATCH_FIELD_NUMBER << 3 | 2  # length-delimited
_MEMBER = attrgetter("session", "name", "since_ns")


# --- events: the server's way to a client


def encode_batches(events: Sequence[Event]) -> list[tuple[bytes, int]]:
    """Encode events as batch frames, which can be joined with others.

    Returns:
        Each frame with the number of events in it. No frame is larger than ``MAX_BATCH_BYTES``, one that holds a single
        event apart.
    """
    return encode_joined(events, _batch_head)


def encode_joined(events: Sequence[Event], head: Head) -> list[tuple[bytes, int]]:
    """Encode events, and join them.

    Args:
        events: in order.
        head: makes what stands before each event.

    Returns:
        Pieces with the number of events in them, of at most ``MAX_BATCH_BYTES``, one of a single larger event apart.
    """
    pieces: list[tuple[bytes, int]] = []
    parts: list[bytes] = []
    size = events_in = 0
    for encoded, count in _encode_some(events, head) if len(events) > _FEW else _with_heads(events, head):
        if parts and size + len(encoded) > MAX_BATCH_BYTES:
            pieces.append((b"".join(parts), events_in))
            parts, size, events_in = [], 0, 0
        parts.append(encoded)
        size += len(encoded)
        events_in += count
    if parts:
        pieces.append((b"".join(parts), events_in))
    return pieces


def _encode_some(events: Sequence[Event], head: Head) -> Iterator[tuple[bytes, int]]:
    """Encode events with their heads: messages, or acks, that follow each other together, the others by themselves."""
    at = 0
    while at < len(events):
        if type(events[at][7]) is Ack:
            encoded, count = encode_acks(events, at, head, _common_of_acks)
        else:
            encoded, count = encode_messages(events, at, head, _common)
        if count:
            yield encoded, count
            at += count
            continue
        begin = at
        while at < len(events) and is_alone(events[at]):
            at += 1
        yield from _with_heads(events[begin:at], head)


def _with_heads(events: Sequence[Event], head: Head) -> Iterator[tuple[bytes, int]]:
    for encoded in _encode_each(events):
        yield head(len(encoded)) + encoded, 1


@lru_cache(maxsize=_CACHED)
def _batch_head(size: int) -> bytes:
    """Return the tag and the size of an event of a batch."""
    head = bytearray((_BATCH_TAG,))
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head)


def split_batches(frame: bytes, max_bytes: int) -> Iterator[bytes]:
    """Cut a batch frame into frames of at most ``max_bytes``; a single larger event is a frame of its own."""
    begin = last = 0
    for _, _, _, end in fields(frame):
        if end - begin > max_bytes and last > begin:
            yield frame[begin:last]
            begin = last
        last = end
    yield frame[begin:]


def encode_singly(events: Sequence[Event]) -> list[tuple[bytes, int]]:
    """Encode each event as a frame of its own, for a client that did not ask for batches."""
    return [(encoded, 1) for encoded in _encode_each(events)]


def _encode_each(events: Sequence[Event]) -> Iterator[bytes]:
    """Encode each event; what neighbours of one author and time have in common is encoded once."""
    others = pb.ConnectResponse()
    write_others = others.SerializeToString
    same_kind, same_author, same_time_ns, shared = Kind.UNSPECIFIED, NOBODY, 0, b""
    same_data = b""
    for event in events:
        kind, text, author, seq, time_ns, data, id_, detail = event
        if id_ or detail is not None:
            yield to_message(event).SerializeToString()
            continue
        if author is not same_author or time_ns != same_time_ns or kind is not same_kind:
            same_kind, same_author, same_time_ns = kind, author, time_ns
            shared = _common(kind, author, time_ns)
        others.message = text
        others.seq = seq
        if data is not same_data:  # mostly both are empty
            others.data = same_data = data
        yield write_others() + shared  # messages joined are one, with the fields of both


def _common(kind: Kind, author: Author, time_ns: int) -> bytes:
    """Return the fields that the messages have in common which one author has sent at once."""
    return _author(kind, author.name, author.session) + _time(time_ns)


@lru_cache(maxsize=_CACHED)
def _author(kind: Kind, name: str, session: str) -> bytes:
    """Return what all messages of an author have in common. In a busy room few authors follow each other."""
    return to_message(Event(kind, "", Author(session, name, ""))).SerializeToString()


@lru_cache(maxsize=_CACHED)
def _time(time_ns: int) -> bytes:
    """Return what messages of one time have in common: with a log, those of a record have."""
    return to_message(Event(Kind.UNSPECIFIED, "", NOBODY, 0, time_ns)).SerializeToString()


def _common_of_acks(event: Event, ack: Ack) -> tuple[bytes, bytes]:
    """Return the fields that acks have in common: those beside the id and the ack, and those of the ack beside seq."""
    event = event._replace(id="", detail=None)
    return to_message(event).SerializeToString(), _ack(ack._replace(seq=0)).SerializeToString()


def encode_publish_response(ack: Ack) -> bytes:
    """Encode the answer to a ``PublishRequest``."""
    return pb.PublishResponse(ack=_ack(ack)).SerializeToString()


def to_message(event: Event) -> pb.ConnectResponse:
    """Return the event as the contract's message."""
    message = pb.ConnectResponse()
    _fill(message, event)
    return message


def _fill(message: pb.ConnectResponse, event: Event) -> None:
    kind, text, author, seq, time_ns, data, id_, detail = event
    message.kind = kind  # type: ignore[assignment]  # an int enum of the same numbers
    message.message = text
    if author is not NOBODY:
        message.sender = author.name
        message.session = author.session
    if seq:
        message.seq = seq
    if time_ns:
        time = message.time
        time.seconds, time.nanos = divmod(time_ns, _NS)
    if data:
        message.data = data
    if id_:
        message.id = id_
    if detail is not None:
        _fill_detail(message, detail)


def _fill_detail(message: pb.ConnectResponse, detail: Detail) -> None:
    match detail:
        case Ack():
            message.ack.CopyFrom(_ack(detail))
        case Error():
            message.error.code = detail.code  # type: ignore[assignment]
            message.error.reason = detail.reason
            message.error.retryable = detail.retryable
            if detail.retry_after_s:
                message.error.retry_after.CopyFrom(_duration(detail.retry_after_s))
        case Welcome():
            message.welcome.CopyFrom(
                pb.Welcome(
                    session=detail.session,
                    room=detail.room,
                    epoch=detail.epoch,
                    resumed=detail.resumed,
                    members=detail.members,
                )
            )
        case Members():
            message.members.SetInParent()
            message.members.more = detail.more
            add = message.members.members.add
            for session, name, since_ns in map(_MEMBER, detail.members):
                member = add(session=session, name=name)
                since = member.since
                since.seconds, since.nanos = divmod(since_ns, _NS)
        case Gap():
            message.gap.first_missed = detail.first_missed
            message.gap.last_missed = detail.last_missed
            message.gap.reason = detail.reason  # type: ignore[assignment]
        case Closing():
            message.closing.reason = detail.reason
            message.closing.reconnect_after.CopyFrom(_duration(detail.reconnect_after_s))


def _ack(ack: Ack) -> pb.Ack:
    return pb.Ack(seq=ack.seq, epoch=ack.epoch, duplicate=ack.duplicate, queued=ack.queued, refused=ack.refused)


def _duration(seconds: float) -> Duration:
    whole, nanos = divmod(round(seconds * _NS), _NS)
    return Duration(seconds=whole, nanos=nanos)
