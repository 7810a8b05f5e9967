"""What the core needs of the event loop that it runs in."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Timer(Protocol):
    """A call that was scheduled."""

    def cancel(self) -> object:
        """Cancel the call."""


class Scheduler(Protocol):
    """The transports' event loop, as far as the core needs it."""

    def time(self) -> float:
        """Return seconds on the clock of ``call_later``, which never goes back; it may count in milliseconds."""

    def precise_time(self) -> float:
        """Return seconds on a clock that never goes back and shows microseconds, unrelated to ``time``."""

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call back from the loop in its next pass. May be called from any thread."""

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call back from the loop after ``delay_s``."""

    def start(self, work: Coroutine[Any, Any, None]) -> Timer:
        """Run a coroutine in the loop, for work that waits for something outside the core."""

    async def do(self, peer: str, work: Callable[[], T]) -> T:
        """Do a small piece of work when it is the turn of the client at ``peer``, and return its result."""
