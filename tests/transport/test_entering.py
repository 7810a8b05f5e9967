"""Clients of doors that serve each in a task wait for their turn to be admitted, and may vanish at any moment."""

from __future__ import annotations

import asyncio

import pytest

from bcast_grpc.core.entrance import Admitting, Entrance
from bcast_grpc.core.hello import Hello
from bcast_grpc.core.identity import Caller
from bcast_grpc.transport.entering import admit
from bcast_grpc.transport.scheduler import LoopScheduler
from tests.core.world import World


@pytest.mark.parametrize("passes", range(6))
async def test_whoever_is_cancelled_on_its_way_in_holds_no_room(monkeypatch: pytest.MonkeyPatch, passes: int) -> None:
    """Also between its admission and the moment at which it hears of it."""
    world, scheduler = World(), LoopScheduler()
    world.join()
    room = next(iter(world.hub._rooms.values()))
    begin, admitted = Entrance.begin, list[Admitting]()

    def noted(*args: object, **options: object) -> Admitting:
        admitted.append(begin(*args, **options))  # type: ignore[arg-type]
        return admitted[-1]

    monkeypatch.setattr(Entrance, "begin", noted)
    task = asyncio.create_task(admit(world.hub, scheduler, Hello(), Caller("10.0.0.1:1")))
    scheduler.turns.soon("", lambda: None)  # or it would be let in at once
    for _ in range(passes):
        await asyncio.sleep(0)
    if not task.cancel():
        task.result().release()
    await asyncio.wait([task])
    assert room.holds == 0
    assert len(admitted) == (passes > 0)
