"""What reads a store beside the writer reads that store, and nothing that has come to its name."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.sqlite import SqliteBroker

from .desk import Desk, kept
from .kinds import KEEPING, ManualClock, Room, entries, wait


def open_many(broker: Desk[SqliteBroker]) -> None:
    """Open rooms at once, so that all readers are needed."""

    async def open_all() -> None:
        await asyncio.gather(*(broker.broker.open(f"room {n}") for n in range(5)), return_exceptions=True)

    broker.loop.run_until_complete(open_all())


def test_rooms_opened_after_the_file_was_moved_away_leave_its_log(tmp_path: Path) -> None:
    """Whoever puts it back finds all that was acknowledged."""
    store, away = tmp_path / "chat.db", tmp_path / "away.db"
    broker = Desk(SqliteBroker(store, KEEPING, ManualClock()))
    broker.open("lobby", Room())
    broker.publish("lobby", entries(*map(str, range(50))))
    wait(broker)
    store.rename(away)
    open_many(broker)
    store.unlink(missing_ok=True)
    away.rename(store)
    broker.close()
    again = Desk(SqliteBroker(store, KEEPING, ManualClock()))
    assert len(kept(again.open("lobby", Room()))) == 50
    again.close()


def test_what_was_put_in_the_place_of_the_file_stays_as_it_is(tmp_path: Path) -> None:
    """A backup that comes while the server runs is not written into, by no room that is opened then."""
    store, backup, away = tmp_path / "chat.db", tmp_path / "backup.db", tmp_path / "away.db"
    broker = Desk(SqliteBroker(store, KEEPING, ManualClock()))
    broker.open("lobby", Room())
    broker.publish("lobby", entries("in the backup"))
    wait(broker)
    with closing(sqlite3.connect(store)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE")
    put = backup.read_bytes()
    broker.publish("lobby", entries("later"))
    wait(broker)
    store.rename(away)
    backup.rename(store)
    open_many(broker)
    broker.close()
    assert store.read_bytes() == put


def test_a_new_epoch_is_not_trimmed_as_the_one_before_it(tmp_path: Path) -> None:
    """Its first messages have the places of those that were to go, and its row may be the same."""
    store, clock = tmp_path / "chat.db", ManualClock()
    broker = Desk(SqliteBroker(store, Retention(age_s=10, dedup_s=20), clock))
    old = broker.open("lobby", Room())
    broker.publish("lobby", entries(*map(str, range(100))))
    wait(broker)
    broker.release("lobby")
    clock.pass_s(15)
    begun, gate = threading.Event(), threading.Event()

    def take_long() -> None:
        begun.set()
        gate.wait(60)

    broker.broker._writer.add(take_long)
    assert begun.wait(60)
    broker.expire()  # what this asks for is done after the writer's next messages
    clock.pass_s(15)
    room = Room()
    new = broker.open("lobby", room)
    assert new.epoch != old.epoch
    broker.publish("lobby", [entry._replace(id="") for entry in entries(*map(str, range(10)))])
    gate.set()
    wait(broker)
    broker.close()
    assert [seq for seq, _ in room.accepted_entries] == list(range(1, 11))
    with closing(sqlite3.connect(store)) as connection:
        assert connection.execute("SELECT count(*) FROM message").fetchone() == (10,)
