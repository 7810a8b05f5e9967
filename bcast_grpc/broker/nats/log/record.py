"""The records of a room's log, and how they are encoded (``protos/bcast_grpc/log/v1/record.proto``)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple, TypeAlias

from google.protobuf.message import DecodeError

from bcast_grpc.events import Author, Entry
from bcast_grpc.log.v1 import record_pb2 as pb

VERSION = 1
"""The version of what this server writes, and the highest that it reads."""

OVERHEAD_BYTES = 1024
"""More than a record takes beside its items."""

_CACHED = 1024
_LENGTH_DELIMITED = 2

Encoded: TypeAlias = bytes
"""An item in the form in which it is written, without what stands before it."""

_RECORD_ITEMS = pb.Record.ITEMS_FIELD_NUMBER
_FORWARD_ITEMS = pb.Forward.ITEMS_FIELD_NUMBER

_new = tuple.__new__  # as in broker/order.py: this is made for each message


class Item(NamedTuple):
    """One message in a record: its id in the cluster, and what its author said."""

    uid: str
    entry: Entry


class Record(NamedTuple):
    """Messages that follow each other in an order.

    Attributes:
        epoch: the order's name.
        first: the ``seq`` of the first item; 0 for the record that begins the epoch and has no items.
        id: unique in the cluster.
        previous: the id of the record before it in this epoch.
        time_ns: when it was written, in nanoseconds since 1970.
        writer: the incarnation of the server that wrote it.
        items: may be empty.
    """

    epoch: str
    first: int
    id: str
    previous: str
    time_ns: int
    writer: str
    items: Sequence[Item] = ()


class UnknownVersionError(Exception):
    """A record that only a newer version of the server can read.

    Attributes:
        version: of the record.
    """

    def __init__(self, version: int) -> None:
        self.version = version
        super().__init__(
            f"the room's log has a record of version {version}, and this server reads up to {VERSION}:"
            " update this server to the version of the others"
        )


class Forwarded(NamedTuple):
    """Messages that another server asks to take along.

    Attributes:
        sequence: the place in the stream of the last record that it knows. The items are in none up to it.
        record: the id of that record.
        items: the messages, each with its encoded form.
    """

    sequence: int
    record: str
    items: Sequence[tuple[Item, Encoded]]


def encode_item(item: Item) -> Encoded:
    """Return the item as it is written. Cost: about 1 µs."""
    uid, (author, message, data, id_, _) = item
    return _encoded_author(*author) + pb.Item(uid=uid, message=message, data=data, id=id_).SerializeToString()


@lru_cache(maxsize=_CACHED)
def _encoded_author(session: str, name: str, key: str) -> bytes:
    return pb.Item(session=session, name=name, key=key).SerializeToString()


def encode(record: Record, items: Iterable[Encoded]) -> bytes:
    """Return the record's payload. ``items`` are the encoded ones of the record."""
    epoch, first, id_, previous, time_ns, writer, _ = record
    written = pb.Record(
        version=VERSION, epoch=epoch, first=first, id=id_, previous=previous, time_ns=time_ns, writer=writer
    )
    return _with_items(written.SerializeToString(), _RECORD_ITEMS, items)


def _with_items(written: bytes, field: int, items: Iterable[Encoded]) -> bytes:
    """Add items to a message: they stand one after the other, each behind its size."""
    parts = [written]
    for item in items:
        parts += _head(field, len(item)), item
    return b"".join(parts)


@lru_cache(maxsize=_CACHED)
def _head(field: int, size: int) -> bytes:
    """Return what stands before an item of so many bytes."""
    head = bytearray((field << 3 | _LENGTH_DELIMITED,))
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head)


def decode(data: bytes) -> Record:
    """Return the record. What is none becomes a record without an epoch, which is void.

    Raises:
        UnknownVersionError: it is one of a higher version.
    """
    try:
        read = pb.Record.FromString(data)
    except DecodeError:
        return _void(data)
    if read.version > VERSION:
        raise UnknownVersionError(read.version)
    items = [_item(one) for one in read.items]
    if not read.epoch or not read.id or (items and not read.first):
        return _void(data)
    return Record(read.epoch, read.first, read.id, read.previous, read.time_ns, read.writer, items)


def encode_forward(sequence: int, record: str, items: Iterable[Encoded]) -> bytes:
    """Return the request to take ``items`` along, by a server that knows the log up to ``sequence``."""
    written = pb.Forward(version=VERSION, sequence=sequence, record=record)
    return _with_items(written.SerializeToString(), _FORWARD_ITEMS, items)


def decode_forward(data: bytes, largest_bytes: int) -> Forwarded | None:
    """Return the request; None if it cannot be read, or only by a newer version, or a record cannot hold all of it."""
    try:
        read = pb.Forward.FromString(data)
    except DecodeError:
        return None
    if read.version > VERSION:
        return None
    items = [(_item(one), one.SerializeToString()) for one in read.items]
    if any(len(encoded) + OVERHEAD_BYTES > largest_bytes for _, encoded in items):
        return None
    return Forwarded(read.sequence, read.record, items)


def _void(data: bytes) -> Record:
    return Record("", 0, f"?{blake2b(data, digest_size=15).hexdigest()}", "", 0, "")


@lru_cache(maxsize=_CACHED)
def _author(session: str, name: str, key: str) -> Author:
    """Return the same object for the same author, which is cheap to compare, and whose events are cheap to encode."""
    return Author(session, name, key)


def _item(read: pb.Item) -> Item:
    entry = _new(Entry, (_author(read.session, read.name, read.key), read.message, read.data, read.id, False))
    return _new(Item, (read.uid, entry))
