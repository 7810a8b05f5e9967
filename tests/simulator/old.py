"""Records of long ago: their messages may be served, and the ids in them count no more."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from bcast_grpc.broker.nats.log.record import Item, Record, encode, encode_item
from bcast_grpc.events import Author, Entry
from tests.simulator.agenda import SECOND, WALL_NS

AGE_NS = 300 * SECOND


def old_records(count: int, random: Random) -> Iterator[bytes]:
    """Return the records of one epoch, by a server that is gone."""
    head, previous = 0, ""
    for number in range(count):
        texts = [f"old {head + one}" for one in range(random.randrange(1, 4))] if number else []
        items = [
            Item(f"old-{seq:x}", Entry(Author("old", "", "old"), text, b"", text))
            for seq, text in enumerate(texts, head)
        ]
        first, id_ = (head + 1, f"old {number}") if number else (0, "old")
        yield encode(Record("old", first, id_, previous, WALL_NS - AGE_NS, "old", items), map(encode_item, items))
        head, previous = head + len(items), id_
