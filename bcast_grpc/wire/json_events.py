"""The contract's events in JSON: the proto3 mapping, with the field names of the ``.proto``.

What ``google.protobuf.json_format`` makes of them, by hand: it takes a tenth of the time. Three shapes go to a client:
an object for each event, a line for each event, and an array of events, for a client that asked for batches.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from time import gmtime, strftime
from typing import TypeAlias

from pydantic_core import to_json

from bcast_grpc.errors import ErrorCode
from bcast_grpc.events import Ack, Closing, Detail, Error, Event, Gap, GapReason, Kind, Members, Welcome
from bcast_grpc.wire.json_syntax import VALUE
from bcast_grpc.wire.protobuf import MAX_BATCH_BYTES as MAX_BATCH_BYTES

Object: TypeAlias = dict[str, object]

PIECE_BYTES = MAX_BATCH_BYTES - 2
"""The size up to which pieces of events are joined; closing the array adds a byte."""

_NS = 1_000_000_000


def encode_event(event: Event) -> str:
    """Encode an event as one line of JSON; unset fields are left out."""
    return to_json(_event(event)).decode()


def encode_singly(events: Sequence[Event]) -> list[tuple[bytes, int]]:
    """Encode each event as a frame of its own, for a client that did not ask for batches."""
    return [(to_json(_event(event)), 1) for event in events]


def encode_lines(events: Sequence[Event]) -> list[tuple[bytes, int]]:
    """Encode events as lines, pieces of which can be joined with others.

    Returns:
        Each piece with the number of events in it. None is larger than ``PIECE_BYTES``, one of a single event apart.
    """
    return _pieces(events, lambda events: b"".join([to_json(_event(event)) + b"\n" for event in events]))


def encode_arrays(events: Sequence[Event]) -> list[tuple[bytes, int]]:
    """Encode events as pieces of an array; ``close_array`` makes joined pieces an array.

    Returns:
        As for ``encode_lines``.
    """
    return _pieces(events, lambda events: b"," + to_json([_event(event) for event in events])[1:-1])


def close_array(frame: bytes) -> bytes:
    """Return joined pieces of ``encode_arrays``, at least one, as the array that a client reads."""
    return b"".join((b"[", memoryview(frame)[1:], b"]"))


def split_lines(frame: bytes, max_bytes: int) -> Iterator[bytes]:
    """Cut lines into frames of at most ``max_bytes``; a single longer line is a frame of its own."""
    begin = 0
    while begin < len(frame):
        end = frame.rfind(b"\n", begin, begin + max_bytes) + 1 or frame.find(b"\n", begin) + 1 or len(frame)
        yield frame[begin:end]
        begin = end


def split_arrays(frame: bytes, max_bytes: int) -> Iterator[bytes]:
    """Cut joined pieces of ``encode_arrays`` into parts of at most ``max_bytes``; a single larger event is one part."""
    begin = end = 0
    while end < len(frame) and (event := VALUE.match(frame, end + 1)):
        if event.end() - begin > max_bytes and end > begin:
            yield frame[begin:end]
            begin = end
        end = event.end()
    yield frame[begin:]


def _pieces(events: Sequence[Event], encode: Callable[[Sequence[Event]], bytes]) -> list[tuple[bytes, int]]:
    if not events:
        return []
    piece = encode(events)
    if len(piece) <= PIECE_BYTES or len(events) == 1:
        return [(piece, len(events))]
    middle = len(events) // 2
    return _pieces(events[:middle], encode) + _pieces(events[middle:], encode)


def _event(event: Event) -> Object:
    kind, text, author, seq, time_ns, data, id_, detail = event
    fields: Object = {}
    if text:
        fields["message"] = text
    if kind:
        fields["kind"] = _KINDS.get(kind, kind)
    if author.name:
        fields["sender"] = author.name
    if author.session:
        fields["session"] = author.session
    if seq:
        fields["seq"] = str(seq)
    if time_ns:
        fields["time"] = _timestamp(time_ns)
    if data:
        fields["data"] = b2a_base64(data, newline=False).decode()
    if id_:
        fields["id"] = id_
    if detail is not None:
        fields.update(_detail(detail))
    return fields


def _detail(detail: Detail) -> Object:
    match detail:
        case Ack(seq, epoch, duplicate, queued, refused):
            return {"ack": _set(seq=_number(seq), epoch=epoch, duplicate=duplicate, queued=queued, refused=refused)}
        case Error(code, reason, retryable, retry_after_s):
            retry_after = _duration(retry_after_s) if retry_after_s else ""
            error = _set(code=_CODES.get(code), reason=reason, retryable=retryable, retry_after=retry_after)
            return {"error": error}
        case Welcome(session, room, epoch, resumed, members):
            return {"welcome": _set(session=session, room=room, epoch=epoch, resumed=resumed, members=members)}
        case Members(members, more):
            shown = [_set(session=one.session, name=one.name, since=_timestamp(one.since_ns)) for one in members]
            return {"members": _set(members=shown, more=more)}
        case Gap(first, last, reason):
            return {"gap": _set(first_missed=_number(first), last_missed=_number(last), reason=_REASONS.get(reason))}
        case Closing(reason, reconnect_after_s):
            return {"closing": _set(reason=reason, reconnect_after=_duration(reconnect_after_s))}
        case _:  # the client library's own
            return {}


def _set(**fields: object) -> Object:
    return {key: value for key, value in fields.items() if value}


_KINDS: dict[int, str] = {kind: f"EVENT_KIND_{kind.name}" for kind in Kind if kind > 0}
_CODES: dict[int, str] = {code: f"ERROR_CODE_{code.name}" for code in ErrorCode if code}
_REASONS: dict[int, str] = {reason: f"GAP_REASON_{reason.name}" for reason in GapReason if reason}


def _number(number: int) -> str:
    return str(number) if number else ""


@lru_cache(maxsize=256)  # messages that were accepted together have one time
def _timestamp(time_ns: int) -> str:
    seconds, nanos = divmod(time_ns, _NS)
    return f"{_date_and_time(seconds)}{_fraction(nanos)}Z"


@lru_cache(maxsize=16)
def _date_and_time(seconds: int) -> str:
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(seconds))


def _duration(seconds: float) -> str:
    whole, nanos = divmod(round(seconds * _NS), _NS)
    return f"{whole}{_fraction(nanos)}s"


def _fraction(nanos: int) -> str:
    """Return a fraction of a second with 3, 6 or 9 digits, as few as possible."""
    if nanos % 1000:
        return f".{nanos:09}"
    if nanos % 1_000_000:
        return f".{nanos // 1000:06}"
    return f".{nanos // 1_000_000:03}" if nanos else ""
