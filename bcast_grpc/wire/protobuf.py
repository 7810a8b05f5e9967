"""The contract's events in protobuf, and everything that a door needs for this format.

Serialised messages joined end to end are one valid message whose repeated fields are concatenated. So a run of events
is encoded once, as a ``ConnectResponse`` that holds nothing but a ``batch``, and any number of such runs become one
frame by joining their bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from operator import attrgetter

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError

from bcast_grpc.errors import ErrorCode
from bcast_grpc.events import (
    NOBODY,
    Ack,
    Author,
    Closing,
    Detail,
    Error,
    Event,
    Gap,
    GapReason,
    Kind,
    Member,
    Members,
    Welcome,
)
from bcast_grpc.v1 import chat_pb2 as pb
from bcast_grpc.wire.fields import MalformedFrame as MalformedFrame
from bcast_grpc.wire.fields import fields
from bcast_grpc.wire.protobuf_requests import MAX_REQUEST_BYTES as MAX_REQUEST_BYTES
from bcast_grpc.wire.protobuf_requests import SMALL_BYTES as SMALL_BYTES
from bcast_grpc.wire.protobuf_requests import check_subscribe as check_subscribe
from bcast_grpc.wire.protobuf_requests import decode_publish as decode_publish
from bcast_grpc.wire.protobuf_requests import decode_requests as decode_requests
from bcast_grpc.wire.protobuf_requests import encode_request as encode_request
from bcast_grpc.wire.protobuf_requests import read_requests as read_requests
from bcast_grpc.wire.protobuf_requests import read_small as read_small

MAX_BATCH_BYTES = 1024 * 1024
"""The largest frame of events that the server makes; only a single event may be larger."""

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


def encode_joined(events: Sequence[Event], head: Callable[[int], bytes]) -> list[tuple[bytes, int]]:
    """Encode events, and join them.

    Args:
        events: in order.
        head: returns what stands before an event of so many bytes.

    Returns:
        Pieces with the number of events in them, of at most ``MAX_BATCH_BYTES``, one of a single larger event apart.
    """
    pieces: list[tuple[bytes, int]] = []
    parts: list[bytes] = []
    size = 0
    for encoded in _encode_each(events):
        length = len(encoded)
        first = head(length)
        more = len(first) + length
        if parts and size + more > MAX_BATCH_BYTES:
            pieces.append((b"".join(parts), len(parts) // 2))
            parts, size = [], 0
        parts += (first, encoded)
        size += more
    if parts:
        pieces.append((b"".join(parts), len(parts) // 2))
    return pieces


@lru_cache(maxsize=1024)
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
            shared = to_message(Event(kind, "", author, 0, time_ns)).SerializeToString()
        others.message = text
        others.seq = seq
        if data is not same_data:  # mostly both are empty
            others.data = same_data = data
        yield write_others() + shared  # messages joined are one, with the fields of both


def encode_publish_response(ack: Ack) -> bytes:
    """Encode the answer to a ``PublishRequest``."""
    return pb.PublishResponse(ack=_ack(ack)).SerializeToString()


def decode_events(frame: bytes) -> list[Event]:
    """Decode a frame into its events, in order.

    Raises:
        MalformedFrame: it does not parse.
    """
    return [_read(message) for message in parse_events(frame)]


def parse_events(frame: bytes) -> Sequence[pb.ConnectResponse]:
    """Parse a frame into the contract's messages, one for each event.

    Raises:
        MalformedFrame: it does not parse.
    """
    try:
        message = pb.ConnectResponse.FromString(frame)
    except DecodeError as error:
        raise MalformedFrame(f"the frame is not a valid ConnectResponse: {error}") from None
    return message.batch or (message,)


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


def _read(message: pb.ConnectResponse) -> Event:
    time = message.time
    return Event(
        _KINDS.get(message.kind, Kind.UNSPECIFIED),
        message.message,
        Author(message.session, message.sender, message.session),
        message.seq,
        time.seconds * _NS + time.nanos,
        message.data,
        message.id,
        _read_detail(message),
    )


def _read_detail(message: pb.ConnectResponse) -> Detail | None:
    match message.WhichOneof("detail"):
        case "ack":
            ack = message.ack
            return Ack(ack.seq, ack.epoch, ack.duplicate, ack.queued, ack.refused)
        case "error":
            error = message.error
            code = _CODES.get(error.code, ErrorCode.UNSPECIFIED)
            return Error(code, error.reason, error.retryable, _seconds(error.retry_after))
        case "welcome":
            welcome = message.welcome
            return Welcome(welcome.session, welcome.room, welcome.epoch, welcome.resumed, welcome.members)
        case "members":
            return Members(
                tuple(
                    Member(member.session, member.name, member.since.seconds * _NS + member.since.nanos)
                    for member in message.members.members
                ),
                message.members.more,
            )
        case "gap":
            gap = message.gap
            reason = _REASONS.get(gap.reason, GapReason.UNSPECIFIED)
            return Gap(gap.first_missed, gap.last_missed, reason)
        case "closing":
            return Closing(message.closing.reason, _seconds(message.closing.reconnect_after))
        case _:
            return None


# A newer server may send numbers that this version has no name for.
_KINDS: dict[int, Kind] = {kind.value: kind for kind in Kind if kind >= 0}
_CODES: dict[int, ErrorCode] = {code.value: code for code in ErrorCode}
_REASONS: dict[int, GapReason] = {reason.value: reason for reason in GapReason}


def _ack(ack: Ack) -> pb.Ack:
    return pb.Ack(seq=ack.seq, epoch=ack.epoch, duplicate=ack.duplicate, queued=ack.queued, refused=ack.refused)


def _duration(seconds: float) -> Duration:
    whole, nanos = divmod(round(seconds * _NS), _NS)
    return Duration(seconds=whole, nanos=nanos)


def _seconds(duration: Duration) -> float:
    return (duration.seconds * _NS + duration.nanos) / _NS
