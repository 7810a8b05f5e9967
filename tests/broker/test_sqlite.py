"""What the durable broker promises beyond the contract of all, when the file lets it down."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bcast_grpc.broker.sqlite import SqliteBroker, tables
from bcast_grpc.errors import ErrorCode

from .desk import Desk
from .kinds import KEEPING, ManualClock, Room, entries, wait


class Faulty:
    """A connection whose commits fail.

    Attributes:
        fault: whether they do: not at all, before anything is written, or after all is.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.fault = ""
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        """Execute, or fail."""
        if sql != "COMMIT" or not self.fault:
            return self._connection.execute(sql, *values)
        self._connection.execute("ROLLBACK" if self.fault == "before" else "COMMIT")
        raise sqlite3.OperationalError("disk I/O error")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Desk[SqliteBroker]]:
    """One in a new file."""
    broker = Desk(SqliteBroker(tmp_path / "store", KEEPING, ManualClock()))
    yield broker
    broker.close()


@pytest.fixture
def faulty(broker: Desk[SqliteBroker]) -> Faulty:
    """The broker's connection, which now can be told to fail."""
    faulty = Faulty(broker.broker._file.writer)
    broker.broker._file.writer = faulty  # type: ignore[assignment]
    return faulty


def test_what_is_not_written_is_refused_and_its_place_given_again(broker: Desk[SqliteBroker], faulty: Faulty) -> None:
    """All that was published meanwhile is refused; a retry is no repetition, and there is no hole."""
    room = Room()
    order = broker.open("lobby", room)
    broker.publish("lobby", entries("a"))
    wait(broker)
    faulty.fault = "before"
    broker.publish("lobby", entries("b", "c"))
    broker.publish("lobby", entries("c"))
    wait(broker)
    faulty.fault = ""
    broker.publish("lobby", entries("c", "d"))
    wait(broker)
    assert [(event.seq, event.message) for event in room.events] == [(1, "ana: a"), (2, "ana: c"), (3, "ana: d")]
    assert [entry.id for entry, _ in room.refused_entries] == ["id b", "id c", "id c"]
    assert {error.code for _, error in room.refused_entries} == {ErrorCode.BROKER_UNAVAILABLE}
    assert (order.head, room.repeated_entries) == (3, [])


def test_what_is_written_in_spite_of_a_fault_is_accepted(broker: Desk[SqliteBroker], faulty: Faulty) -> None:
    """The file decides, not the error: a refusal would give a place again that is taken."""
    room = Room()
    broker.open("lobby", room)
    faulty.fault = "after"
    broker.publish("lobby", entries("a"))
    wait(broker)
    faulty.fault = ""
    broker.publish("lobby", entries("b"))
    wait(broker)
    assert [event.seq for event in room.events] == [1, 2]
    assert room.refused_entries == []


def test_a_fault_of_the_servers_own_is_not_the_end(
    broker: Desk[SqliteBroker], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What goes wrong while writing or telling is logged, what is not written is refused, the next is answered."""
    room = Room()
    broker.open("lobby", room)
    with monkeypatch.context() as patched:
        patched.setattr(tables.Insertion, "place", lambda *_: 1 // 0)
        broker.publish("lobby", entries("a"))
        wait(broker)
    with monkeypatch.context() as patched:
        patched.setattr(Room, "__call__", lambda *_: 1 // 0)
        broker.publish("lobby", entries("b"))
        wait(broker)
    broker.publish("lobby", entries("a", "c"))
    wait(broker)
    assert [(event.seq, event.message) for event in room.events] == [(2, "ana: a"), (3, "ana: c")]
    assert [entry.id for entry, _ in room.refused_entries] == ["id a"]
    assert [record.exc_info is not None for record in caplog.records if record.exc_info] == [True] * 2
