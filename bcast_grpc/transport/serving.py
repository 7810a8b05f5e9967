"""The connections that a door serves, so that the door can be closed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Connection(Protocol):
    """A connection that has no task at times."""

    def finish(self) -> None:
        """Disconnect the client at once."""


class Serving:
    """The tasks and connections of a door's clients.

    Attributes:
        connections: the connections that may have no task.
    """

    def __init__(self) -> None:
        self.connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._last: asyncio.Future[None] | None = None

    def start(self, serve: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Serve a client in a task of its own."""
        task = asyncio.create_task(serve)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def forget(self, connection: Connection) -> None:
        """Forget a connection, which has ended."""
        self.connections.discard(connection)
        self._look()

    @contextmanager
    def here(self) -> Iterator[None]:
        """Count the running task among the door's while it is in the ``with`` block."""
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            yield
        finally:
            self._done(task)

    async def end(self, grace_s: float) -> None:
        """Wait until all have ended, and end those that have not after ``grace_s``."""
        if not self.empty:
            self._last = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._last], timeout=grace_s)
        late = set(self._tasks)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for connection in list(self.connections):
            connection.finish()

    @property
    def empty(self) -> bool:
        """Whether no client is served."""
        return not (self._tasks or self.connections)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._look()

    def _look(self) -> None:
        if self._last and self.empty and not self._last.done():
            self._last.set_result(None)
