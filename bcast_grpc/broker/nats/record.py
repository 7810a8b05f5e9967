"""The records of a room's log, and how they are encoded (``protos/bcast_grpc/log/v1/record.proto``)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple

from google.protobuf.message import DecodeError

from bcast_grpc.events import Author, Entry
from bcast_grpc.log.v1 import record_pb2 as pb

VERSION = 1
"""The version of what this server writes, and the highest that it reads."""

Encoded = pb.Item
"""An item in the form in which it is written."""

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
    """A record that only a newer version of the server can read."""

    def __init__(self, version: int) -> None:
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
    return pb.Item(
        uid=uid, session=author.session, name=author.name, key=author.key, message=message, data=data, id=id_
    )


def encode(record: Record, items: Iterable[Encoded]) -> bytes:
    """Return the record's payload. ``items`` are the encoded ones of the record."""
    epoch, first, id_, previous, time_ns, writer, _ = record
    written = pb.Record(
        version=VERSION, epoch=epoch, first=first, id=id_, previous=previous, time_ns=time_ns, writer=writer
    )
    written.items.extend(items)
    return written.SerializeToString()


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
    written.items.extend(items)
    return written.SerializeToString()


def decode_forward(data: bytes) -> Forwarded | None:
    """Return the request; None if it cannot be read, or only by a newer version."""
    try:
        read = pb.Forward.FromString(data)
    except DecodeError:
        return None
    if read.version > VERSION:
        return None
    return Forwarded(read.sequence, read.record, [(_item(one), one) for one in read.items])


def _void(data: bytes) -> Record:
    return Record("", 0, f"?{blake2b(data, digest_size=15).hexdigest()}", "", 0, "")


def _item(read: Encoded) -> Item:
    author = _new(Author, (read.session, read.name, read.key))
    entry = _new(Entry, (author, read.message, read.data, read.id, False))
    return _new(Item, (read.uid, entry))
