"""What a server does now and then, beside serving clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from bcast_grpc.core.hub import Hub
from bcast_grpc.server.machine.memory import ProcessMemory

EXPIRE_S = 5.0
"""How often what has expired is dropped."""

DAY_S = 86_400.0

_RELIEVE_S, _SHORT_RELIEVE_S = 1.0, 0.2


class Chores:
    """Tasks that last until ``stop()``."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, works: Iterable[Coroutine[Any, Any, None]]) -> None:
        """Start a task for each of these."""
        self._tasks += map(asyncio.create_task, works)

    def stop(self) -> None:
        """Cancel all tasks."""
        for task in self._tasks:
            task.cancel()


async def every(interval_s: float, chore: Callable[[], None]) -> None:
    """Call ``chore`` after each interval."""
    while True:
        await asyncio.sleep(interval_s)
        chore()


async def relieve(hub: Hub, memory: ProcessMemory) -> None:
    """Count and bound the memory; soon again while queues take a part that may grow quickly, or much is taken."""
    budget = hub.capacity.budget
    while True:
        hub.relieve()
        soon = memory.filling or budget.queues * 8 > budget.max_bytes
        await asyncio.sleep(_SHORT_RELIEVE_S if soon else _RELIEVE_S)
