"""What is not in memory is read from the log: as it was told, once for all who ask, and bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from secrets import token_hex

import pytest

from bcast_grpc.broker.budget import Budget
from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.nats.broker import Cluster, NatsBroker
from bcast_grpc.broker.nats.connection.target import Target
from bcast_grpc.broker.nats.log.places import Places
from bcast_grpc.broker.nats.log.record import Item, Record
from bcast_grpc.broker.nats.order import LogOrder
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Author, Entry, Event
from tests.broker.nats.servers import PATIENCE_S, read_all, until
from tests.nats_server import NatsServer

ANA = Author("session", "ana", "key")
COUNT = 300


@pytest.fixture
async def start(shared_nats: NatsServer) -> AsyncIterator[Callable[[NatsServer, str], object]]:
    """Start brokers, each with a room, of which nothing is in memory."""
    brokers: list[NatsBroker] = []

    async def one(nats: NatsServer, cluster: str = "", patience_s: float = 15) -> LogOrder:
        broker = NatsBroker(Cluster(Target([nats.url]), cluster or token_hex(4), patience_s=patience_s), Retention())
        await broker.start(lambda _: None)
        brokers.append(broker)
        order = await broker.open("a room")
        order.begin(lambda _: None, lambda _: None)
        return order

    yield one
    for broker in brokers:
        await broker.close()


async def say(order: LogOrder, *texts: str) -> None:
    """Have messages appended."""
    done = asyncio.Event()
    order.submit([Entry(ANA, text, b"x" * 40, "") for text in texts])
    order.after_answers(done.set)
    await asyncio.wait_for(done.wait(), PATIENCE_S)


async def filled(order: LogOrder) -> LogOrder:
    """Have many messages appended, in records of several, and drop all from memory."""
    for first in range(0, COUNT, 30):
        await say(order, *(f"text {number}" for number in range(first + 1, first + 31)))
    order.shrink(0)
    assert order.history.first_in_memory == COUNT + 1
    return order


async def read(order: LogOrder, after: int, count: int = 256, max_bytes: int = 1 << 20) -> Sequence[Event] | CallError:
    """Read as a client that is fed does."""
    answer: asyncio.Future[Sequence[Event] | CallError] = asyncio.get_running_loop().create_future()
    order.read(after, count, max_bytes, answer.set_result)
    return await asyncio.wait_for(answer, PATIENCE_S)


Start = Callable[..., object]


async def test_it_is_read_as_it_was_told(shared_nats: NatsServer, start: Start) -> None:
    """By any server, from any place on, up to what was asked for."""
    cluster = token_hex(4)
    here: LogOrder = await start(shared_nats, cluster)  # type: ignore[misc]
    await filled(here)
    there: LogOrder = await start(shared_nats, cluster)  # type: ignore[misc]
    in_memory = await read_all(there)
    there.shrink(0)
    assert (here.oldest, there.oldest) == (1, 1)
    assert await read_all(here) == await read_all(there) == in_memory
    some = await read(here, 44, 7)
    assert not isinstance(some, CallError)
    assert [event.message for event in some] == [f"text {number}" for number in range(45, 52)]
    one = await read(here, 44, 7, max_bytes=1)
    assert not isinstance(one, CallError)
    assert [event.seq for event in one] == [45], "a single one is delivered, however large it is"


async def test_many_that_ask_for_the_same_cause_one_reading(shared_nats: NatsServer, start: Start) -> None:
    """Also for other messages of the same record."""
    order: LogOrder = await start(shared_nats)  # type: ignore[misc]
    await filled(order)
    asked: list[int] = []
    library = order._broker.readings._library
    some = library.some

    async def counted(room: str, sequence: int) -> Sequence[tuple[int, bytes]]:
        asked.append(sequence)
        return await some(room, sequence)

    library.some = counted  # type: ignore[method-assign]
    answers = await asyncio.gather(*(read(order, after, 5) for after in [31, 31, 33, 40] * 25))
    assert len(asked) == 1
    assert {len(events) for events in answers if not isinstance(events, CallError)} == {5}
    await read(order, 35, 5)
    assert len(asked) == 1, "what was read last is kept"


async def test_what_the_log_has_lost_is_no_longer_there(shared_nats: NatsServer, start: Start) -> None:
    """Nothing is delivered, and the oldest message is the first that the log has."""
    order: LogOrder = await start(shared_nats)  # type: ignore[misc]
    await filled(order)
    broker = order._broker
    assert isinstance(broker, NatsBroker)
    kept = order.places.of(151)
    await broker._connection.request(f"$JS.API.STREAM.PURGE.{broker._names.stream}", b'{"seq": %d}' % kept, 5)
    assert await read(order, 0) == []
    assert order.oldest == 151
    assert [event.seq for event in await read_all(order)] == list(range(151, COUNT + 1))


async def test_while_nats_is_away_it_waits_and_then_gives_up(mortal_nats: NatsServer, start: Start) -> None:
    """With an error that says to try again; who asks again once NATS is back gets it."""
    order: LogOrder = await start(mortal_nats, patience_s=1)  # type: ignore[misc]
    await filled(order)
    mortal_nats.kill()
    error = await read(order, 0)
    assert isinstance(error, CallError)
    assert error.code is ErrorCode.BROKER_UNAVAILABLE
    mortal_nats.start()
    await until(lambda: order.log.level)
    assert [event.seq for event in await read_all(order)] == list(range(1, COUNT + 1))


# --- where the log has messages


def record(first: int, *texts: str, id_: str = "", epoch: str = "e") -> Record:
    """A record."""
    items = [Item(text, Entry(ANA, text, b"", "")) for text in texts]
    return Record(epoch, first, id_ or f"id {first}", "before", 5, "server", items)


def test_only_what_was_told_is_taken_for_it() -> None:
    """Void records are passed over; where another record is in its place, nothing after it counts."""
    budget = Budget()
    places = Places(budget)
    for first, sequence in [(1, 5), (3, 9), (4, 11)]:
        places.add(first, sequence, f"id {first}")
    assert [places.of(seq) for seq in (1, 2, 3, 4, 9)] == [5, 5, 9, 11, 11]
    log = [(5, record(1, "a", "b")), (7, record(3, "void", id_="void")), (9, record(3, "c")), (11, record(4, "d"))]
    assert [(event.seq, event.message) for event in places.events("e", log)] == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]
    other = [*log[:2], (9, record(3, "other", id_="another one")), log[3]]
    assert [event.seq for event in places.events("e", other)] == [1, 2]
    assert places.events("another", log) == []
    assert places.events("e", [log[0], log[3]])[-1].seq == 2, "with a hole, up to that"
    places.drop_before(4)
    assert places.of(3) == 0
    assert places.first_from(6) == 4
    assert budget.rooms > 0
    del places
    assert budget.rooms == 0
