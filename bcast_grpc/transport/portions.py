"""Shares the loop among connections that are fed with what they have received in portions."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from time import perf_counter
from typing import Protocol

_PASS_S = 0.001


class Fed(Protocol):
    """A connection that processes what it has received in portions."""

    def feed(self) -> None:
        """Process the next portion."""


class Portions:
    """Feeds connections in turn: in each pass of the loop, as many as fit into a millisecond."""

    __slots__ = ("_loop", "_running", "_waiting")

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._running = False
        self._waiting: dict[Fed, None] = {}

    def ask(self, connection: Fed) -> None:
        """Feed a connection when it is its turn."""
        self._waiting[connection] = None
        self._run()

    def withdraw(self, connection: Fed) -> None:
        """Do not feed a connection any more."""
        self._waiting.pop(connection, None)

    def _run(self) -> None:
        if not self._running:
            self._running = True
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        self._running = False
        over_at = perf_counter() + _PASS_S
        try:
            for connection in list(self._waiting):
                if self._waiting.pop(connection, self) is None:  # a feed before it may have withdrawn it
                    connection.feed()
                if perf_counter() >= over_at:
                    break
        finally:  # an error at one, which the loop logs, must not stop the others
            if self._waiting:
                self._run()
