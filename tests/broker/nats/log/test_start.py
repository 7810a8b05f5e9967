"""A server that opens a long log reads what it serves and the ids that count, and not the rest."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from secrets import token_hex
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcast_grpc.broker.clock import Clock
from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.nats.broker import Cluster, NatsBroker
from bcast_grpc.broker.nats.connection.target import Target
from bcast_grpc.broker.nats.log.actions import ReadEnd, ReadSince
from bcast_grpc.broker.nats.log.limits import Limits
from bcast_grpc.broker.nats.log.record import Item, Record
from bcast_grpc.broker.nats.log.start import Start
from bcast_grpc.broker.nats.order import LogOrder
from bcast_grpc.events import Author, Entry
from tests.broker.nats.servers import PATIENCE_S, read_all
from tests.nats_server import NatsServer

ANA = Author("session", "ana", "key")
S = 1_000_000_000
CLOCKS_S = 30
COUNT, EACH, KEPT = 1500, 20, 100


# --- a log


class Stored(NamedTuple):
    """A record of a log, its place, and when NATS stored it."""

    sequence: int
    time_ns: int
    record: Record


@st.composite
def logs(draw: st.DrawFn) -> list[Stored]:
    """A log of some epochs, among records of other rooms."""
    epochs = draw(st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=40), min_size=1, max_size=3))
    stored, sequence, time_ns = [], 0, 1_000_000 * S
    for number, sizes in enumerate(epochs):
        first = draw(st.sampled_from([0, 1, 500]))  # begun here, or trimmed
        for size in sizes if first else [0, *sizes]:
            sequence += draw(st.sampled_from([1, 1, 1, 2, 1000]))
            time_ns += draw(st.sampled_from([0, S // 1000, S, 50 * S]))
            items = [Item("", Entry(ANA, "", b"", ""))] * (size if first else 0)
            stored.append(Stored(sequence, time_ns, Record(f"e{number}", first, "", "", time_ns, "", items)))
            first = max(first, 1) + len(items)
    return stored


def found(log: list[Stored], start: Start) -> tuple[int, int]:
    """Answer everything that is asked for; return where to begin, and how many requests that took."""
    for number in range(1, 200):
        match start.ask(7):
            case ReadEnd():
                answers = log[-1:]
            case ReadSince(_, time_ns):
                answers = [one for one in log if one.time_ns >= time_ns]
            case asked:
                assert asked.leader
                answers = [one for one in log if one.sequence > asked.sequence]
        begin = start.take(answers[0].sequence, answers[0].record) if answers else start.take(0, None)
        if begin is not None:
            return begin, number
    raise AssertionError("no end")


@given(log=logs(), wanted=st.sampled_from([0, 1, 10, 100]), ids_s=st.sampled_from([0.0, 20.0, 120.0]))
def test_it_begins_where_all_that_is_needed_is_behind_it(log: list[Stored], wanted: int, ids_s: float) -> None:
    """The last messages of the last epoch, and all of the time in which ids count."""
    now_ns = log[-1].time_ns + S
    begin, asks = found(log, Start(log[0].sequence, log[0].record, now_ns, Limits(history_items=wanted, ids_s=ids_s)))
    assert begin in [one.sequence for one in log]
    before = [one for one in log if one.sequence < begin]
    read = [one for one in log if one.sequence >= begin]
    last = log[-1].record
    kept = sum(len(one.record.items) for one in read if one.record.epoch == last.epoch)
    assert kept >= wanted or not any(one.record.epoch == last.epoch and one.record.items for one in before)
    assert all(one.record.epoch != last.epoch or one.time_ns < now_ns - ids_s * S for one in before)
    assert asks <= 2 + 2 * log[-1].sequence.bit_length()


def test_little_more_is_read_and_few_records_are_asked_for() -> None:
    """Of a hundred thousand messages, a thousand and at most a quarter more are read."""
    items = [Item("", Entry(ANA, "", b"", ""))] * 5
    log = [
        Stored(3 * number + 1, number * S, Record("e", 5 * number + 1, "", "", 0, "", items))
        for number in range(20_000)
    ]
    begin, asks = found(log, Start(1, log[0].record, 10**6 * S, Limits(ids_s=1)))
    assert 1000 <= 5 * sum(one.sequence >= begin for one in log) <= 1250 + 5
    assert asks <= 6


def test_an_answer_that_cannot_be_begins_at_the_oldest() -> None:
    """There was no record since then, though the last one is younger: two leaders have answered."""
    old, last = Record("e", 1, "", "", 0, ""), Record("e", 5000, "", "", 100 * S, "")
    start = Start(3, old, 110 * S, Limits())
    start.take(900, last)
    assert start.take(0, None) == 3


# --- with NATS


class Fetched:
    """Counts what a broker gets from NATS by asking for it."""

    def __init__(self, broker: NatsBroker) -> None:
        self.requests = self.messages = self.bytes = 0
        for name in ("request", "collect"):
            setattr(broker._connection, name, self._counted(getattr(broker._connection, name)))

    def _counted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        async def ask(*what: Any, **more: Any) -> Any:
            self.requests += 1
            answer = await real(*what, **more)
            for message in answer if isinstance(answer, list) else [answer]:
                self.messages += 1
                self.bytes += len(message.data)
            return answer

        return ask


class Late(Clock):
    """A clock on the wall that stands still."""

    def __init__(self, wall_ns: int) -> None:
        self._wall_ns = wall_ns

    def wall_ns(self) -> int:
        """Return its time."""
        return self._wall_ns


Opened = tuple[LogOrder, Fetched]


@pytest.fixture
async def opened(shared_nats: NatsServer) -> AsyncIterator[Callable[..., Any]]:
    """Open a room at a new server."""
    brokers: list[NatsBroker] = []

    async def one(cluster: str, clock: Clock | None = None, **kept: Any) -> Opened:
        broker = NatsBroker(Cluster(Target([shared_nats.url]), cluster), Retention(**kept), clock)
        await broker.start(lambda _: None)
        brokers.append(broker)
        fetched = Fetched(broker)
        order = await broker.open("a room")
        order.begin(lambda _: None, lambda _: None)
        return order, fetched

    yield one
    for broker in brokers:
        await broker.close()


async def say(order: LogOrder, first: int) -> None:
    """Have a record appended."""
    done = asyncio.Event()
    order.submit([Entry(ANA, f"text {seq}", b"x" * 500, f"id {seq}") for seq in range(first, first + EACH)])
    order.after_answers(done.set)
    await asyncio.wait_for(done.wait(), PATIENCE_S)


async def test_a_server_that_opens_a_long_log_fetches_what_it_needs(opened: Callable[..., Any]) -> None:
    """Its last messages, and those whose ids count; of a short log it fetches all, in one go."""
    cluster, halves = token_hex(4), []
    here, _ = await opened(cluster)
    for first in range(1, COUNT, EACH):
        halves.append(time.time_ns())
        await say(here, first)
        if first == 1:
            _, short = await opened(cluster)
            assert short.requests == 2
    middle = len(halves) // 2
    late = time.time_ns() + S
    for ids_s, since_ns, needed in ((0, late, KEPT), (10, late, KEPT), (10, halves[middle], COUNT - middle * EACH)):
        clock = Late(since_ns + (ids_s + CLOCKS_S) * S)
        order, fetched = await opened(cluster, clock, messages=KEPT, dedup_s=ids_s)
        assert [event.seq for event in await read_all(order)] == list(range(COUNT - KEPT + 1, COUNT + 1))
        assert (order.epoch, order.head) == (here.epoch, here.head)
        few_bytes = 256 * 1024
        assert fetched.bytes > 500 * needed
        assert fetched.bytes < few_bytes + 700 * (1.25 * needed + 20 * EACH), fetched.__dict__
        assert fetched.requests < 20


async def test_what_is_trimmed_meanwhile_is_passed_over(opened: Callable[..., Any], shared_nats: NatsServer) -> None:
    """The record where reading was to begin has gone when it is read."""
    cluster = token_hex(4)
    here, _ = await opened(cluster)
    for first in range(1, COUNT, EACH):
        await say(here, first)
    stream, kept = here._broker._names.stream, here.places.of(COUNT - 30)
    broker = here._broker

    real = Start.take

    def take(self: Start, *answer: Any) -> int | None:
        begin = real(self, *answer)
        if begin is not None:
            purge = broker._connection.request(f"$JS.API.STREAM.PURGE.{stream}", json.dumps({"seq": kept}).encode(), 5)
            purged.append(asyncio.ensure_future(purge))
        return begin

    purged: list[asyncio.Future[Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Start, "take", take)
        order, _ = await opened(cluster, messages=KEPT, dedup_s=0)
    await asyncio.gather(*purged)
    assert order.head == COUNT
    assert (await read_all(order))[-1].seq == COUNT
