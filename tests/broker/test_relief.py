"""When memory runs short, histories go: those of rooms that everyone has left first, and the largest of them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from bcast_grpc.broker.base import Broker
from bcast_grpc.broker.budget import Budget
from bcast_grpc.broker.history import Retention
from bcast_grpc.events import Author, Entry

from .desk import Desk, kept
from .kinds import BROKERS, BrokerKind, ManualClock, Room, wait

ANA = Author("session", "ana", ":ana")
MIB = 2**20


@pytest.fixture
def budget() -> Budget:
    """Of one MiB."""
    return Budget(MIB)


@pytest.fixture
def broker(kind: BrokerKind, tmp_path: Path, budget: Budget, clock: ManualClock) -> Iterator[Desk[Broker]]:
    """A broker that keeps more in one room than the process may hold."""
    broker = Desk(kind.make(tmp_path, Retention(bytes=4 * MIB, budget=budget), clock))
    yield broker
    broker.close()


def fill(broker: Desk[Broker], room: str, size: int, *, leave: bool = True) -> int:
    """Say something of this size in a room; return how many of its messages are kept then."""
    order = broker.open(room, Room())
    for _ in range(10):
        broker.publish(room, [Entry(ANA, "", bytes(size // 10))])
    wait(broker)
    if leave:
        broker.release(room)
    return len(kept(order))


def test_what_is_kept_is_counted_and_given_back(broker: Desk[Broker], budget: Budget, clock: ManualClock) -> None:
    """Histories, rooms and what waits count for as long as they are there."""
    fill(broker, "a", 100_000)
    assert 100_000 <= budget.histories < 120_000
    assert budget.rooms > 0
    assert budget.waiting == 0
    clock.pass_s(4000)
    broker.expire()
    wait(broker)
    gc.collect()
    assert (budget.histories, budget.ids) == (0, 0)


def test_the_largest_that_nobody_is_in_goes_first(
    broker: Desk[Broker], kind: BrokerKind, budget: Budget, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are kept, and one line in the log says so."""
    assert fill(broker, "here", 300_000, leave=False) == 10
    for room, size in [("small", 50_000), ("large", 400_000), ("middle", 100_000), ("new", 200_000)]:
        fill(broker, room, size)
    assert budget.used < 0.9 * MIB
    left = {room: len(kept(broker.open(room, Room()))) for room in ("small", "large", "middle", "new")}
    assert left == {"small": 10, "large": 10 if kind.durable else 0, "middle": 10, "new": 10}
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "memory runs short, so the largest histories are dropped"
    ]
    assert "max-memory" in caplog.text


def test_rooms_with_somebody_in_them_are_cut_to_one_size(
    broker: Desk[Broker], kind: BrokerKind, budget: Budget
) -> None:
    """When nothing else is left, the largest lose their oldest messages, which a store still has."""
    orders = {room: broker.open(room, Room()) for room in ("small", "large", "larger")}
    for room, size in [("small", 50_000), ("large", 450_000), ("larger", 900_000)]:
        for _ in range(50):
            broker.publish(room, [Entry(ANA, "", bytes(size // 50))])
            wait(broker)
    broker.relieve()
    assert budget.used < 0.9 * MIB
    left = {
        room: len(kept(order)) * size for (room, order), size in zip(orders.items(), (1000, 9000, 18_000), strict=True)
    }
    assert len(kept(orders["small"])) == 50
    if kind.durable:
        assert [len(kept(order)) for order in orders.values()] == [50, 50, 50]
    else:
        assert left["small"] < left["large"] <= left["larger"] < 500_000
    assert orders["larger"].head == 50


@pytest.mark.parametrize("kind", [kind for kind in BROKERS.values() if kind.durable])
def test_a_store_keeps_what_only_memory_drops(broker: Desk[Broker], budget: Budget) -> None:
    """What a durable room has lost from memory is read again when somebody comes."""
    for room in "abcdefgh":
        fill(broker, room, 300_000)
    broker.expire()
    wait(broker)
    assert budget.used < 0.9 * MIB
    assert len(kept(broker.open("a", Room()))) == 10
