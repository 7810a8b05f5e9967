"""The connections that a door serves, so that it can be closed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any


class Serving:
    """The tasks that serve a door's clients."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, serve: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Serve a client in a task of its own."""
        task = asyncio.create_task(serve)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @contextmanager
    def here(self) -> Iterator[None]:
        """Count the running task among them while it is inside."""
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)

    async def end(self, grace_s: float) -> None:
        """Wait until all are done, and cancel those that are not after ``grace_s``."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=grace_s)
        late = set(self._tasks)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
