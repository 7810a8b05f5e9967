"""Encodes messages, and acks, that follow each other: what they have in common once, and the rest in one go.

Bytes are put together as text of which each character is a byte (Latin-1): joining many short pieces of text, and
encoding the result, takes half as long as making and serialising an object for each event. ``tests/wire`` compares
the result with what protobuf makes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from bcast_grpc.events import NOBODY, Ack, Author, Event, Kind
from bcast_grpc.v1 import chat_pb2 as pb

Head: TypeAlias = Callable[[int], bytes]
"""Returns what stands before an event of so many bytes."""

_MOST = 128
_MOST_CHARACTERS = 1024
"""So many events are encoded together, with texts of at most so many characters: less than a frame may hold."""

_BYTES = "latin-1"
_SIZED = 2  # a field whose value begins with its size; that of a number has 0 here
_TEXT = chr(pb.ConnectResponse.MESSAGE_FIELD_NUMBER << 3 | _SIZED)
_ID = chr(pb.ConnectResponse.ID_FIELD_NUMBER << 3 | _SIZED)
_ACK = chr(pb.ConnectResponse.ACK_FIELD_NUMBER << 3 | _SIZED)


def _places(number: int) -> tuple[Sequence[str], Sequence[str]]:
    """Return a field with the lower seven bits of a place: where that is all of it, and where upper bits follow."""
    tag = chr(number << 3)
    return [tag + chr(low) for low in range(128)], [tag + chr(low | 0x80) for low in range(128)]


_PLACES = _places(pb.ConnectResponse.SEQ_FIELD_NUMBER)
_PLACES_OF_ACKS = _places(pb.Ack.SEQ_FIELD_NUMBER)


def is_alone(event: Event) -> bool:
    """Whether an event is encoded by itself: it is long, or neither a message without data nor an ack of one."""
    _, text, _, seq, _, data, id_, detail = event
    if type(detail) is Ack:
        return not (id_ and detail[0]) or len(id_) > _MOST_CHARACTERS
    return not seq or bool(data or id_) or detail is not None or len(text) > _MOST_CHARACTERS


def encode_messages(
    events: Sequence[Event], begin: int, head: Head, common: Callable[[Kind, Author, int], bytes]
) -> tuple[bytes, int]:
    """Encode as many short messages as follow each other from ``begin`` on, and join them.

    Args:
        events: among them the messages.
        begin: where to begin.
        head: makes their heads.
        common: returns the fields that follow from an event's kind, author and time.

    Returns:
        The bytes, and the number of messages in them: 0 if the first event ``is_alone``.
    """
    same_kind, same_author, same_time_ns, shared = Kind.UNSPECIFIED, NOBODY, 0, ""
    high, low, tail = -1, _PLACES[0], ""  # the upper bits of `seq` change seldom
    heads: dict[int, str] = {}
    parts: list[str] = []
    for kind, text, author, seq, time_ns, data, id_, detail in events[begin : begin + _MOST]:
        if not seq or data or id_ or detail is not None or len(text) > _MOST_CHARACTERS:  # as is_alone()
            break
        if not text.isascii():
            text = text.encode().decode(_BYTES)
        size = len(text)
        if author is not same_author or time_ns != same_time_ns or kind is not same_kind:
            same_kind, same_author, same_time_ns = kind, author, time_ns
            shared = common(kind, author, time_ns).decode(_BYTES)
            high = -1
        if seq >> 7 != high:
            high = seq >> 7
            low, tail = _PLACES[high > 0], _upper(high) + shared
            heads = {}
        before = heads.get(size)
        if before is None:
            field = _TEXT + _varint(size) if size else ""
            whole = len(field) + size + len(low[0]) + len(tail)
            before = heads[size] = head(whole).decode(_BYTES) + field
        parts += (before, text, low[seq & 0x7F], tail)
    return "".join(parts).encode(_BYTES), len(parts) // 4


def encode_acks(
    events: Sequence[Event], begin: int, head: Head, common: Callable[[Event, Ack], tuple[bytes, bytes]]
) -> tuple[bytes, int]:
    """Encode as many acks as follow each other from ``begin`` on, and join them.

    Args:
        events: among them the acks.
        begin: where to begin.
        head: makes their heads.
        common: returns the fields of an event beside its id and its ack, and those of an ack beside its ``seq``.

    Returns:
        The bytes, and the number of acks in them: 0 if the first event ``is_alone``, or is no ack.
    """
    same: tuple[object, ...] = ()
    same_ack: tuple[object, ...] = ()
    shared = rest = field_of_ack = tail = ""
    high, low = -1, _PLACES_OF_ACKS[0]
    heads: dict[int, str] = {}
    parts: list[str] = []
    for event in events[begin : begin + _MOST]:
        id_, detail = event[6], event[7]
        if type(detail) is not Ack or not (id_ and detail[0]) or len(id_) > _MOST_CHARACTERS:  # as is_alone()
            break
        if not id_.isascii():
            id_ = id_.encode().decode(_BYTES)
        seq, size = detail[0], len(id_)
        if event[:6] != same or detail[1:] != same_ack:
            same, same_ack = event[:6], detail[1:]
            shared, rest = (fields.decode(_BYTES) for fields in common(event, detail))
            high = -1
        if seq >> 7 != high:
            high = seq >> 7
            low, upper = _PLACES_OF_ACKS[high > 0], _upper(high)
            field_of_ack = _ACK + _varint(len(low[0]) + len(upper) + len(rest))
            tail = upper + rest + shared
            heads = {}
        before = heads.get(size)
        if before is None:
            field = _ID + _varint(size)
            whole = len(field) + size + len(field_of_ack) + len(low[0]) + len(tail)
            before = heads[size] = head(whole).decode(_BYTES) + field
        parts += (before, id_, field_of_ack, low[seq & 0x7F], tail)
    return "".join(parts).encode(_BYTES), len(parts) // 5


def _upper(high: int) -> str:
    """Return the upper bits of a place; nothing if there are none."""
    return _varint(high) if high else ""


def _varint(number: int) -> str:
    encoded = ""
    while number > 0x7F:
        encoded += chr(number & 0x7F | 0x80)
        number >>= 7
    return encoded + chr(number)
