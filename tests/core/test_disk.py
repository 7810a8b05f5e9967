"""A history that is on a disk: it is read once for all who want it, while the rest goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

import pytest

from bcast_grpc.broker.base import DeliverEvents
from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.memory import MemoryBroker, MemoryOrder
from bcast_grpc.core.limits import Limits
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Kind

from .received import gaps
from .world import Client, World


class DiskOrder(MemoryOrder):
    """An order whose history is read when its broker is told to."""

    def __init__(self, room: str, broker: DiskBroker) -> None:
        super().__init__(room, broker)
        self._reads = broker.reads

    def read(self, after: int, count: int, max_bytes: int, deliver: DeliverEvents) -> None:
        """Read later."""
        self._reads.append(partial(self._read, after, count, max_bytes, deliver))

    def _read(self, after: int, count: int, max_bytes: int, deliver: DeliverEvents) -> None:
        if after + 1 < self.oldest:
            deliver([])
        else:
            super().read(after, count, max_bytes, deliver)


class DiskBroker(MemoryBroker):
    """A broker with such orders.

    Attributes:
        reads: what is to be read, the first one first.
    """

    def __init__(self, retention: Retention) -> None:
        super().__init__(retention)
        self.reads: deque[Callable[[], None]] = deque()

    async def open(self, room: str) -> MemoryOrder:
        """Return the order that is in use, or a new one."""
        return self._used.get(room) or DiskOrder(room, self)


@pytest.mark.parametrize("messages", [300, 2000])
def test_who_waits_for_a_disk(messages: int) -> None:
    """All get everything once and in order, while more is said; what two of them want is read once."""
    broker = DiskBroker(Retention(messages=messages))
    world = World(Limits(), broker)
    ana = world.join("ana")
    ana.say(*(f"{n}" for n in range(1000)))
    world.settle()
    listeners = [world.join(history=messages) for _ in range(2)]
    for _ in range(20):
        ana.say("more")
        world.settle()
        assert len(broker.reads) <= 1
        if broker.reads:
            broker.reads.popleft()()
    world.settle()
    assert not broker.reads
    heard = [[event.seq for event in listener.received if event.kind is Kind.MESSAGE] for listener in listeners]
    missing = [gaps(listener.received) for listener in listeners]
    assert heard[0] == heard[1]
    if messages == 2000:
        assert heard[0] == list(range(1, 1021))
        assert missing == [[], []]
    else:  # what was dropped meanwhile is said to be missing
        lost = [seq for gap in missing[0] for seq in range(gap.first_missed, gap.last_missed + 1)]
        assert heard[0] == sorted(set(heard[0]))
        assert sorted(heard[0] + lost) == list(range(701, 1021))


def waiting_for_the_disk() -> tuple[World, DiskBroker, Client]:
    """A client that wants the last two messages, which have not been read yet."""
    broker = DiskBroker(Retention())
    world = World(Limits(), broker)
    world.join("ana").say("1", "2")
    world.settle()
    bob = world.join(history=2)
    world.settle()
    return world, broker, bob


def test_who_goes_away_while_the_disk_is_read() -> None:
    """What is read then is for nobody, and nothing of it is kept."""
    world, broker, bob = waiting_for_the_disk()
    bob.close()
    broker.reads.popleft()()
    world.settle()
    assert world.hub._rooms["lobby"].feed.kept_bytes == 0


def test_a_history_that_cannot_be_read_ends_the_call() -> None:
    """The client may come again."""
    world, broker, bob = waiting_for_the_disk()
    broker.reads.clear()
    (takes,) = world.hub._rooms["lobby"].feed._replays._reading.values()
    takes[0](CallError(ErrorCode.BROKER_UNAVAILABLE, "disk I/O error"))
    world.settle()
    assert bob.error
    assert bob.error.code is ErrorCode.BROKER_UNAVAILABLE
