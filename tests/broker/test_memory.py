"""What the broker in memory promises beyond the contract of all."""

from __future__ import annotations

from bcast_grpc.broker.memory import MemoryBroker

from .test_contract import Room, entries


def test_it_answers_before_publish_returns() -> None:
    """Without a store there is nothing to wait for."""
    broker, room = MemoryBroker(), Room()
    broker.open("lobby", room)
    broker.publish("lobby", entries("a"))
    assert len(room.accepted_entries) == 1


def test_a_publish_is_answered_as_a_whole() -> None:
    """Entries that came together have one time, and are told in one call."""
    broker, room = MemoryBroker(), Room()
    broker.open("lobby", room)
    broker.publish("lobby", entries("a", "b", "c"))
    assert len(room.times) == 1


def test_a_forgotten_room_begins_a_new_epoch() -> None:
    """Nothing is kept of a room that everyone has left."""
    broker = MemoryBroker()
    first = broker.open("lobby", Room())
    broker.forget("lobby")
    second = broker.open("lobby", Room())
    assert first.epoch != second.epoch
    assert second.seq == 0


def test_nothing_is_kept() -> None:
    """Memory does not grow with messages, nor with rooms that are gone."""
    broker = MemoryBroker()
    for number in range(100):
        broker.open(f"room {number}", Room())
        broker.publish(f"room {number}", entries("a", "b"))
        broker.forget(f"room {number}")
    assert broker._orders == {}
    broker.open("lobby", Room())
    broker.close()
    assert broker._orders == {}
