"""The contract's events in protobuf, as clients read them."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError

from bcast_grpc.errors import ErrorCode
from bcast_grpc.events import Ack, Author, Closing, Detail, Error, Event, Gap, GapReason, Kind, Member, Members, Welcome
from bcast_grpc.v1 import chat_pb2 as pb
from bcast_grpc.wire.fields import MalformedFrame

_NS = 1_000_000_000


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


def _seconds(duration: Duration) -> float:
    return (duration.seconds * _NS + duration.nanos) / _NS
