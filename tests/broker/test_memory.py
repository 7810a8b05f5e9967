"""What the broker in memory promises beyond the contract of all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import TypeAlias

import pytest

from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.memory import MemoryBroker

from .desk import Desk
from .kinds import ManualClock, Room, entries

MakeDesk: TypeAlias = Callable[[MemoryBroker], Desk[MemoryBroker]]

NOTHING = Retention(messages=0, bytes=0, age_s=0, dedup_s=0)


@pytest.fixture
def desk() -> Iterator[MakeDesk]:
    """Make desks, which are closed at the end."""
    with ExitStack() as stack:
        yield lambda broker: stack.enter_context(closing(Desk(broker)))


def test_it_answers_before_publish_returns(desk: MakeDesk) -> None:
    """Without a store there is nothing to wait for."""
    broker, room = desk(MemoryBroker()), Room()
    broker.open("lobby", room)
    broker.publish("lobby", entries("a"))
    assert len(room.accepted_entries) == 1


def test_a_publish_is_answered_as_a_whole(desk: MakeDesk) -> None:
    """Entries that came together have one time."""
    broker, room = desk(MemoryBroker()), Room()
    broker.open("lobby", room)
    broker.publish("lobby", entries("a", "b", "c"))
    assert len({event.time_ns for event in room.events}) == 1


def test_where_nothing_is_kept_a_forgotten_room_begins_a_new_epoch(desk: MakeDesk) -> None:
    """There is nothing that anyone could come back for."""
    broker = desk(MemoryBroker(NOTHING))
    first = broker.open("lobby", Room())
    broker.publish("lobby", entries("a"))
    broker.release("lobby")
    second = broker.open("lobby", Room())
    assert first.epoch != second.epoch
    assert second.head == 0


def test_nothing_is_kept_for_ever(desk: MakeDesk) -> None:
    """Rooms that everyone has left are kept while there is memory, however many they are, until they are too old."""
    clock = ManualClock()
    broker = desk(MemoryBroker(Retention(age_s=60, dedup_s=10), clock))
    for number in range(1500):
        broker.open(f"room {number}", Room())
        broker.publish(f"room {number}", entries("a", "b"))
        broker.release(f"room {number}")
    assert len(broker.broker._idle) == 1500
    assert broker.open("room 1499", Room()).head == 2
    clock.pass_s(61)
    broker.expire()
    assert len(broker.broker._idle) == 0
    broker.close()
    assert broker.broker._used == {}
