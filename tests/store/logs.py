"""Logs in NATS as servers leave them, whole or damaged, and commands on them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from secrets import token_hex

from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.nats.cluster import Cluster
from bcast_grpc.broker.nats.connection.target import Target
from bcast_grpc.broker.nats.jetstream.stream import prepare, wanted
from bcast_grpc.broker.nats.log.record import Item, Record, encode, encode_item
from bcast_grpc.events import Author, Entry
from bcast_grpc.store.cli import run
from bcast_grpc.store.cluster.log import Log
from tests.nats_server import NatsServer

_ANA = Author("s1", "ana", "ana's")


def item(text: str, *, id_: str = "", uid: str = "") -> Item:
    """A message of Ana's."""
    return Item(uid or token_hex(4), Entry(_ANA, f"ana: {text}", b"", id_, False))


def chain(*texts: str, epoch: str = "e1", ago_ns: int = 0) -> list[Record]:
    """Records as a server writes them: one that begins an epoch, then one for each text, which is its id, too."""
    time_ns = time.time_ns() - ago_ns
    records = [Record(epoch, 0, token_hex(4), "", time_ns, "w")]
    for seq, text in enumerate(texts, 1):
        records.append(Record(epoch, seq, token_hex(4), records[-1].id, time_ns, "w", [item(text, id_=text)]))
    return records


def write(nats: NatsServer, cluster: str, records: Iterable[Record | bytes], room: str = "lobby") -> None:
    """Append records to a room's log, whatever they are."""

    async def appended() -> None:
        async with Log(Cluster(Target([nats.url]), cluster)) as log:
            await prepare(log.connection, wanted(log.names, Retention(), 1, log.connection.max_bytes), create=True)
            for record in records:
                last = await log.last(log.names.log(room))
                data = record if isinstance(record, bytes) else encode(record, map(encode_item, record.items))
                assert await log.append(log.names.log(room), data, last.sequence if last else 0)

    asyncio.run(appended())


def call(command: str, nats: NatsServer, cluster: str, *more: str) -> int:
    """Run a command on the log."""
    return run([command, nats.url, *more, "--cluster", cluster])
