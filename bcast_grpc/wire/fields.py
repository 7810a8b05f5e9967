"""Walks over the fields of a serialised protobuf message without parsing their contents.

A parser makes an object from each field before they can be counted. A walk over tags and sizes can stop at a bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

Field: TypeAlias = tuple[int, int, int, int]
"""The number of a field, and the offsets at which its tag, its value and the next field begin."""

MAX_FIELDS = 64
"""The most fields that a request may have, besides its batch; the contract has five."""

_VARINT, _FIXED64, _SIZED, _GROUP, _GROUP_END, _FIXED32 = range(6)
_VARINT_BYTES = 10
_MAX_NUMBER = (1 << 29) - 1


class MalformedFrame(ValueError):
    """The bytes are not a message of the contract."""


def fields(message: bytes, at: int = 0, end: int | None = None) -> Iterator[Field]:
    """Walk over the fields of ``message``, or of the message inside it from ``at`` to ``end``.

    A field within a group is counted, too, with the number 0: the contract has no groups.

    Raises:
        MalformedFrame: a field ends outside of the message, or is not valid.
    """
    end = len(message) if end is None else end
    groups = 0
    while at < end:
        start = at
        tag = message[at]
        at += 1
        if tag >= 0x80:
            tag, at = _varint(message, start, end)
        number, wire_type, value = tag >> 3, tag & 7, at
        if not 0 < number <= _MAX_NUMBER:
            raise MalformedFrame("a field has an invalid tag")
        if wire_type == _SIZED:
            size, value = _varint(message, at, end)
            at = value + size
        elif wire_type == _VARINT:
            _, at = _varint(message, at, end)
        elif wire_type in (_FIXED32, _FIXED64):
            at += 4 if wire_type == _FIXED32 else 8
        elif wire_type == _GROUP:
            groups += 1
        elif wire_type == _GROUP_END and groups:
            groups -= 1
        else:
            raise MalformedFrame("a field has an invalid tag")
        if at > end:
            raise MalformedFrame("the message ends in the middle of a field")
        yield 0 if groups or wire_type == _GROUP_END else number, start, value, at
    if groups:
        raise MalformedFrame("the message ends in the middle of a group")


def check_number_of_fields(message: bytes) -> None:
    """Check that a message without repeated fields has few fields.

    Raises:
        MalformedFrame: it has more than ``MAX_FIELDS``, or fields that do not fit.
    """
    for count, _ in enumerate(fields(message), 1):
        if count > MAX_FIELDS:
            raise MalformedFrame(f"more than {MAX_FIELDS} fields")


def _varint(message: bytes, at: int, end: int) -> tuple[int, int]:
    """Return the number that begins at ``at``, and the offset at which it ends."""
    if at < end and message[at] < 0x80:
        return message[at], at + 1
    number = 0
    for place, byte in enumerate(message[at : min(end, at + _VARINT_BYTES)]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, at + place + 1
    raise MalformedFrame("the message ends in the middle of a number")
