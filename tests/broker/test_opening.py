"""Opening a room of the store: by another thread, in slices, once for all who ask for it at the same time."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.sqlite import SqliteBroker, tables
from bcast_grpc.broker.sqlite.readers import Readers
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Author, Entry

from .desk import Desk
from .kinds import KEEPING, ManualClock, Room, entries

MESSAGES, IDS = 100_000, 300_000


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where the store is: an empty one."""
    store = tmp_path / "chat.db"
    Desk(SqliteBroker(store, KEEPING, ManualClock())).close()
    return store


class Gate:
    """What reading in a store waits for.

    Attributes:
        error: raised then.
        reads: how many reads of rooms have begun.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.begun = threading.Event()
        self.error: Exception | None = None
        self.reads = 0
        load = tables.load

        def wait_and_load(*arguments: Any) -> Any:
            self.reads += 1
            self.begun.set()
            self.open.wait(30)
            if self.error:
                raise self.error
            return load(*arguments)

        monkeypatch.setattr(tables, "load", wait_and_load)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """A disk on which nothing is found until it is told to."""
    gate = Gate(monkeypatch)
    yield gate
    gate.open.set()


def fill(store: Path, at_ns: int) -> None:
    """Put a large room into a store."""
    with closing(sqlite3.connect(store)) as connection:
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
        connection.execute("INSERT INTO room VALUES (1, 'large', 'old', ?)", (MESSAGES,))
        connection.execute(
            f"INSERT INTO message {numbers} SELECT 1, i, ?, 's', 'ana', 'key', 'ana: x', 'x', ? FROM n",
            (MESSAGES, at_ns, at_ns),
        )
        connection.execute(
            f"INSERT INTO known {numbers} SELECT 1, 'key', 'id ' || i, i % {MESSAGES} + 1, ?, ? FROM n",
            (IDS, at_ns, at_ns),
        )
        connection.commit()


async def answered(order: Any) -> None:
    """Wait until everything that was submitted has been answered."""
    event = asyncio.Event()
    order.after_answers(event.set)
    await asyncio.wait_for(event.wait(), 30)


async def until(event: threading.Event) -> None:
    """Wait for a thread."""
    assert await asyncio.to_thread(event.wait, 30)


@asynccontextmanager
async def open_until_end(broker: SqliteBroker) -> AsyncIterator[SqliteBroker]:
    """Close a broker in the end."""
    try:
        yield broker
    finally:
        await broker.close()


async def test_a_large_room_holds_nobody_up(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows are read by a thread that pauses after each slice; messages are answered meanwhile; no id is lost."""
    clock = ManualClock()
    fill(store, clock.wall_ns())
    slices: list[int] = []
    pause = Readers.pause

    def note_and_pause(readers: Readers) -> None:
        slices.append(threading.get_ident())
        pause(readers)

    monkeypatch.setattr(Readers, "pause", note_and_pause)
    async with open_until_end(SqliteBroker(store, Retention(MESSAGES, 1 << 30, 60, 10), clock)) as broker:
        room, small = Room(), Room()
        talking = await broker.open("small")
        talking.begin(small, print)
        slices.clear()
        opening = asyncio.create_task(broker.open("large"))
        said = 0
        while not opening.done():
            talking.submit(entries(f"{said}"))
            await answered(talking)
            said += 1
        order = await opening
        order.begin(room, print)
        assert said > 1
        assert len(small.events) == said
        assert threading.get_ident() not in slices
        assert len(slices) >= MESSAGES // (4 * tables.SLICE_ROWS)
        assert (order.epoch, order.oldest, order.head) == ("old", 1, MESSAGES)
        for after in (0, 50_000, MESSAGES - 100):  # in the file, and in memory
            found: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            order.read(after, 100, 1 << 20, found.set_result)
            assert found.done() == (after == MESSAGES - 100)
            assert [event.seq for event in await found] == list(range(after + 1, after + 101))
        order.submit([Entry(Author("s", "ana", "key"), "again", id=f"id {IDS}"), *entries("new")])
        await answered(order)
        assert [place.seq for _, place in room.repeated_entries] == [IDS % MESSAGES + 1]
        assert [event.seq for event in room.events] == [MESSAGES + 1]


async def test_those_who_come_at_once_share_an_opening(store: Path, gate: Gate) -> None:
    """The file is read once, and all have the same order."""
    async with open_until_end(SqliteBroker(store, KEEPING, ManualClock())) as broker:
        openings = [asyncio.create_task(broker.open("lobby")) for _ in range(5)]
        await until(gate.begun)
        gate.open.set()
        orders = await asyncio.gather(*openings)
        assert len(set(orders)) == 1
        assert gate.reads == 1


async def test_who_goes_away_meanwhile_leaves_nothing(store: Path, gate: Gate) -> None:
    """The others who wait get their order; where nobody waits any more, the next one finds what was read."""
    async with open_until_end(SqliteBroker(store, KEEPING, ManualClock())) as broker:
        openings = [asyncio.create_task(broker.open("lobby")) for _ in range(2)]
        await until(gate.begun)
        openings[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await openings[0]
        gate.open.set()
        order = await openings[1]
        assert (len(broker._used), len(broker._openings)) == (0, 0)
        assert await broker.open("lobby") is order
        assert gate.reads == 1


async def test_an_opening_that_fails_is_tried_again(store: Path, gate: Gate) -> None:
    """All who wait are told why; the next one reads the file again."""
    gate.error = sqlite3.OperationalError("disk I/O error")
    async with open_until_end(SqliteBroker(store, KEEPING, ManualClock())) as broker:
        openings = [asyncio.create_task(broker.open("lobby")) for _ in range(3)]
        await until(gate.begun)
        gate.open.set()
        failed = await asyncio.gather(*openings, return_exceptions=True)
        assert [error.code for error in failed if isinstance(error, CallError)] == [ErrorCode.BROKER_UNAVAILABLE] * 3
        gate.error = None
        assert (await broker.open("lobby")).head == 0
        assert gate.reads == 2


async def test_a_room_that_is_left_is_at_hand_at_once(store: Path, gate: Gate) -> None:
    """What its last members have said, and the store has not answered, is there for those who come back."""
    gate.open.set()
    async with open_until_end(SqliteBroker(store, KEEPING, ManualClock())) as broker:
        room = Room()
        order = await broker.open("lobby")
        order.begin(room, print)
        order.submit(entries("a"))
        order.release()
        again = await broker.open("lobby")
        assert again is order
        again.begin(room, print)
        await answered(again)
        assert [event.seq for event in room.events] == [1]
        assert gate.reads == 1
