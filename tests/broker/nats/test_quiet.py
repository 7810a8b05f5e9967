"""Rooms that nobody speaks in cost little, and all of them are woken in time."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from secrets import token_hex

from bcast_grpc.broker.nats.alarms import Alarms
from bcast_grpc.broker.nats.broker import Cluster, NatsBroker
from bcast_grpc.broker.nats.connection.target import Target
from tests.nats_server import NatsServer

_MOST_BYTES = 7000


class Sleeper:
    """Writes down when it is woken."""

    def __init__(self, name: str, woken: list[str]) -> None:
        self.alarm_s: float | None = None
        self._name = name
        self._woken = woken

    def tick(self) -> None:
        """It is woken."""
        self._woken.append(self._name)


async def test_sleepers_are_woken_in_turn_at_the_last_time_that_was_set() -> None:
    """Also where many were replaced or cancelled, and where one asks again when it is woken."""
    woken: list[str] = []
    done = asyncio.Event()
    alarms = Alarms(asyncio.get_running_loop())
    one, two, three = (Sleeper(name, woken) for name in ("one", "two", "three"))

    class Again(Sleeper):
        def tick(self) -> None:
            super().tick()
            if woken.count("again") < 3:
                alarms.set(self, 0)
            else:
                done.set()

    for _ in range(1000):
        alarms.set(one, 3600)
    assert len(alarms._heap) < 200
    alarms.set(two, 0.01)
    alarms.set(one, 0.002)
    alarms.set(three, 0.001)
    alarms.cancel(three)
    alarms.set(Again("again", woken), 0.02)
    await done.wait()
    assert woken == ["one", "two", "again", "again", "again"]
    alarms.end()


async def test_a_quiet_room_takes_little(shared_nats: NatsServer) -> None:
    """Neither a task, nor a queue, nor a timer of its own."""
    broker = NatsBroker(Cluster(Target([shared_nats.url]), token_hex(4)))
    await broker.start(lambda _: None)

    async def open_rooms(first: int, count: int) -> None:
        for order in await asyncio.gather(*(broker.open(f"room {n}") for n in range(first, first + count))):
            order.begin(lambda _: None, lambda _: None)

    await open_rooms(0, 50)
    gc.collect()
    tracemalloc.start()
    try:
        await open_rooms(50, 200)
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] / 200
    finally:
        tracemalloc.stop()
        await broker.close()
    assert taken < _MOST_BYTES
