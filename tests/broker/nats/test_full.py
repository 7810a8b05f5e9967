"""A stream that is full drops its oldest records; a NATS server that has no room is told of, until it has."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex

import pytest

from bcast_grpc.broker.base import Accepted, Outcome, Refused
from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.nats.broker import Cluster, NatsBroker
from bcast_grpc.broker.nats.connection.target import Target
from bcast_grpc.broker.nats.jetstream.stream import wanted
from bcast_grpc.broker.nats.names import Names
from bcast_grpc.broker.nats.order import LogOrder
from bcast_grpc.errors import ErrorCode
from bcast_grpc.events import Author, Entry
from tests.nats_server import NatsServer, running

from .conftest import Connect
from .servers import read_all, until

_MESSAGE_BYTES = 20_000


class Room:
    """A broker with one room, and what it has said.

    Attributes:
        seqs: of the messages that were accepted.
        refusals: why others were not.
        reports: what the broker has reported.
    """

    order: LogOrder

    def __init__(self, nats: NatsServer, cluster: str, patience_s: float = 15) -> None:
        target = Target([nats.url])
        self.broker = NatsBroker(Cluster(target, cluster, patience_s=patience_s), Retention(bytes=1 << 30))
        self.seqs: list[int] = []
        self.refusals: list[str] = []
        self.reports: list[str] = []

    def deliver(self, outcomes: Sequence[Outcome]) -> None:
        """Take note of what became of messages."""
        for outcome in outcomes:
            if isinstance(outcome, Accepted):
                self.seqs += [event.seq for event in outcome.events]
            elif isinstance(outcome, Refused):
                assert outcome.error.code is ErrorCode.BROKER_UNAVAILABLE
                self.refusals.append(str(outcome.error))

    async def say(self, number: int) -> None:
        """Say something large, and wait until it is answered."""
        done = asyncio.Event()
        self.order.submit([Entry(Author("session", "ana", "key"), f"{number}", bytes(_MESSAGE_BYTES), f"{number}")])
        self.order.after_answers(done.set)
        await asyncio.wait_for(done.wait(), 30)


@asynccontextmanager
async def room_on(nats: NatsServer, cluster: str, patience_s: float = 15) -> AsyncIterator[Room]:
    """Open a room."""
    room = Room(nats, cluster, patience_s)
    await room.broker.start(room.reports.append)
    try:
        room.order = await room.broker.open("a room")
        room.order.begin(room.deliver, lambda _: None)
        yield room
    finally:
        await room.broker.close()


async def test_the_operators_max_bytes_is_kept_and_the_oldest_go(
    shared_nats: NatsServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is refused; who asks for what is gone gets what is left."""
    connection, cluster = (await connect(shared_nats)).connection, token_hex(4)
    configuration = wanted(Names(cluster), Retention(), 1, connection.max_bytes) | {"max_bytes": 15 * _MESSAGE_BYTES}
    await connection.request(f"$JS.API.STREAM.CREATE.BCAST_{cluster}", json.dumps(configuration).encode(), 5)
    async with room_on(shared_nats, cluster) as room:
        for number in range(40):
            await room.say(number)
        assert room.seqs == list(range(1, 41))
        room.order.shrink(0)
        left = await read_all(room.order)
        assert 40 - 15 < room.order.oldest == left[0].seq < 40
        assert [event.seq for event in left] == list(range(room.order.oldest, 41))
        answer = await connection.request(f"$JS.API.STREAM.INFO.BCAST_{cluster}", b"", 5)
        assert json.loads(answer.data)["config"]["max_bytes"] == 15 * _MESSAGE_BYTES
        async with room_on(shared_nats, cluster) as other:
            assert other.order.oldest == room.order.oldest
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_without_room_messages_are_refused_until_there_is_some(
    nats_program: Path, tmp_path: Path, connect: Connect
) -> None:
    """With what NATS says; it is reported, and so is that there is room again, though nobody says anything."""
    store = f'jetstream {{ store_dir: "{tmp_path}/js", max_mem: 1MB, max_file: 1MB }}'
    with running(nats_program, tmp_path, store, store=False) as nats:
        async with room_on(nats, "full", patience_s=3) as room:
            number = 0
            while not room.broker._courier.trouble:
                await room.say(number)
                number += 1
            await room.say(number)
            number += 1
            assert "(NATS says: insufficient resources)" in room.refusals[-1]
            await until(lambda: room.reports[-1:] == ["NATS does not store messages: insufficient resources"])
            accepted = len(room.seqs)
            connection = (await connect(nats)).connection
            await connection.request("$JS.API.STREAM.PURGE.BCAST_full", b'{"keep": 3}', 5)
            room.order.release()  # as clients go elsewhere
            room.order.idle_since_ns = -(10**15)
            room.broker.expire()
            await until(lambda: not room.reports[-1])
            room.order.begin(room.deliver, lambda _: None)
            await room.say(number)
            assert room.seqs == list(range(1, accepted + 2))
