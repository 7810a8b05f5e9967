"""What is done beside writing: the file is trimmed in slices, and its log stays short."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.sqlite import SqliteBroker, caretaker
from bcast_grpc.broker.sqlite.file import StoreFile
from bcast_grpc.broker.sqlite.trimmer import SLICE_ROWS
from bcast_grpc.events import Author, Entry

from .desk import Desk, kept
from .kinds import KEEPING, ManualClock, Room, entries, wait


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where the store is."""
    return tmp_path / "chat.db"


@pytest.fixture
def slices(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each transaction has changed that need not be on the disk at once, as the trimmer's."""
    sizes: list[int] = []
    original = StoreFile.transaction

    @contextmanager
    def transaction(self: StoreFile, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        before = self.writer.total_changes
        with original(self, durable=durable) as connection:
            yield connection
        if not durable:
            sizes.append(self.writer.total_changes - before)

    monkeypatch.setattr(StoreFile, "transaction", transaction)
    return sizes


def eventually(true: Callable[[], bool]) -> None:
    """Wait until it is true."""
    until = time.monotonic() + 60
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)  # there is no event to wait for


def fill(store: Path, rooms: int, messages: int, time_ns: int) -> None:
    """Put rooms with messages and ids into a store."""
    Desk(SqliteBroker(store, KEEPING, ManualClock())).close()
    with closing(sqlite3.connect(store)) as connection:
        connection.executemany(
            "INSERT INTO room VALUES (?, ?, 'old', ?)", [(n, f"room {n}", messages) for n in range(1, rooms + 1)]
        )
        rows = [(n, seq) for n in range(1, rooms + 1) for seq in range(1, messages + 1)]
        connection.executemany(
            "INSERT INTO message VALUES (?, ?, ?, 's', 'ana', 'key', 'ana: x', 'x', ?)",
            [(n, seq, time_ns, time_ns) for n, seq in rows],
        )
        connection.executemany(
            "INSERT INTO known VALUES (?, 'key', ?, ?, ?, ?)", [(n, f"{seq}", seq, time_ns, time_ns) for n, seq in rows]
        )
        connection.commit()


def count(store: Path) -> tuple[int, int, int]:
    """How many rooms, messages and ids there are."""
    with closing(sqlite3.connect(store)) as connection:
        ((rooms, messages, ids),) = connection.execute(
            "SELECT (SELECT count(*) FROM room), (SELECT count(*) FROM message), (SELECT count(*) FROM known)"
        )
        return rooms, messages, ids


@pytest.mark.parametrize(("rooms", "messages"), [(20_000, 1), (20, 1000)])
def test_what_is_too_old_goes_in_slices(store: Path, slices: list[int], rooms: int, messages: int) -> None:
    """Rooms, messages and ids that nobody asks for: no slice is large, and messages are written in between."""
    clock = ManualClock()
    fill(store, rooms, messages, clock.wall_ns() - 3600 * 10**9)
    with closing(Desk(SqliteBroker(store, KEEPING, clock))) as broker:
        room = Room()
        broker.open("lobby", room)
        broker.expire()
        at = []
        for n in range(10):
            broker.publish("lobby", entries(f"{n}"))
            wait(broker)
            at.append(len(slices))
        eventually(lambda: count(store) == (1, 10, 10))
        assert [event.seq for event in room.events] == list(range(1, 11))
    assert max(slices) <= SLICE_ROWS + 10
    assert len(slices) > 10
    assert at[-1] < len(slices)


def test_less_is_to_be_kept_than_there_is(store: Path, slices: list[int]) -> None:
    """After a change of the settings a room is trimmed in slices too, whether it is written to or not."""
    clock = ManualClock()
    fill(store, 2, 5000, clock.wall_ns())
    with closing(Desk(SqliteBroker(store, Retention(100, 1 << 30, 60, 10), clock))) as broker:
        orders = [broker.open(f"room {n}", Room()) for n in (1, 2)]
        broker.publish("room 1", entries("new"))
        wait(broker)
        broker.expire()
        eventually(lambda: count(store)[1] == 200)
        assert [[event.seq for event in kept(order)] for order in orders] == [
            list(range(4902, 5002)),
            list(range(4901, 5001)),
        ]
    assert max(slices) <= SLICE_ROWS + 10


def test_ids_go_when_they_are_forgotten(store: Path, slices: list[int]) -> None:
    """As many as there are, in slices."""
    clock = ManualClock()
    fill(store, 1, 10_000, clock.wall_ns() - 20 * 10**9)
    with closing(Desk(SqliteBroker(store, Retention(100_000, 1 << 30, 60, 10), clock))) as broker:
        broker.expire()
        eventually(lambda: count(store) == (1, 10_000, 0))
    assert max(slices) <= SLICE_ROWS + 10


def test_a_room_that_is_trimmed_away_while_somebody_comes(store: Path) -> None:
    """What is said in it then is there at the next start, with its epoch."""
    clock = ManualClock()
    with closing(Desk(SqliteBroker(store, KEEPING, clock))) as broker:
        order = broker.open("lobby", Room())
        broker.publish("lobby", entries("a"))
        wait(broker)
        with broker.broker._file.transaction() as connection:  # nothing else is written now
            for table in ("room", "message", "known"):
                connection.execute(f"DELETE FROM {table}")
        broker.publish("lobby", entries("b"))
        wait(broker)
    with closing(Desk(SqliteBroker(store, KEEPING, clock))) as broker:
        again = broker.open("lobby", Room())
        assert (again.epoch, [event.message for event in kept(again)]) == (order.epoch, ["ana: b"])


def log_bytes(store: Path) -> int:
    """How long the log is."""
    return Path(f"{store}-wal").stat().st_size


def test_a_log_that_a_reader_has_made_long_gets_short_again(store: Path) -> None:
    """Soon after the reader has gone, whether anything is written meanwhile or not."""
    with closing(Desk(SqliteBroker(store, KEEPING, ManualClock()))) as broker:
        room = Room()
        broker.open("lobby", room)
        broker.publish("lobby", entries("a"))
        wait(broker)
        reader = sqlite3.connect(store, isolation_level=None)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM message").fetchone() == (1,)
        while log_bytes(store) <= 2 * caretaker.MAX_BYTES:
            broker.publish("lobby", [Entry(Author("s", "ana", "key"), "x", bytes(60_000))] * 20)
            wait(broker)
        assert reader.execute("SELECT count(*) FROM message").fetchone() == (1,)
        reader.close()
        eventually(lambda: log_bytes(store) <= caretaker.MAX_BYTES)
        assert room.refused_entries == []


def test_a_log_stays_short_under_load(store: Path) -> None:
    """It is begun anew while messages are written."""
    with closing(Desk(SqliteBroker(store, KEEPING, ManualClock()))) as broker:
        room = Room()
        broker.open("lobby", room)
        written, longest, until = 0, 0, time.monotonic() + 60
        while written < 3 * caretaker.MAX_BYTES or log_bytes(store) >= longest:
            assert time.monotonic() < until
            broker.publish("lobby", [Entry(Author("s", "ana", "key"), "x", bytes(60_000))] * 2)
            wait(broker)
            written += 120_000
            longest = max(longest, log_bytes(store))
        assert room.refused_entries == []
