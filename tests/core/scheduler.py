"""A clock that is moved by hand."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

Callback: TypeAlias = Callable[[], None]
T = TypeVar("T")


@dataclass(slots=True, eq=False)
class ManualTimer:
    """A call that is due later."""

    due: float
    callback: Callback
    cancelled: bool = False
    work: Coroutine[Any, Any, None] | None = None

    def cancel(self) -> None:
        """Do not make it."""
        self.cancelled = True
        if self.work:
            self.work.close()


class ManualScheduler:
    """A core ``Scheduler`` in which nothing happens by itself.

    Attributes:
        now: its time in seconds.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._soon: deque[Callback] = deque()
        self._timers: list[ManualTimer] = []

    def time(self) -> float:
        """Return the time that it was moved to."""
        return self.now

    def precise_time(self) -> float:
        """Return the same."""
        return self.now

    def work(self, seconds: float) -> None:
        """Be busy for so long: time passes, and nobody is called."""
        self.now += seconds

    def call_soon(self, callback: Callback) -> None:
        """Remember a call for the next move."""
        self._soon.append(callback)

    def call_later(self, delay_s: float, callback: Callback) -> ManualTimer:
        """Remember a call for when the time has been moved so far."""
        timer = ManualTimer(self.now + delay_s, callback)
        self._timers.append(timer)
        return timer

    def start(self, work: Coroutine[Any, Any, None]) -> ManualTimer:
        """Do some work, which must not wait for anything, with the next move."""
        timer = self.call_later(0, lambda: run(work))
        timer.work = work
        return timer

    async def do(self, _: str, work: Callable[[], T]) -> T:
        """Do a small piece of work: nobody else has any."""
        return work()

    @property
    def scheduled(self) -> list[Callback]:
        """All calls that are still to be made, the next one first."""
        return [*self._soon, *(timer.callback for timer in self._due())]

    def next_due(self, otherwise: float) -> float:
        """Return when the next call is due that is to be made later."""
        return next((timer.due for timer in self._due()), otherwise)

    def run_soon(self) -> None:
        """Make the calls that are due now, and those that they ask for."""
        while self._soon:
            self._soon.popleft()()

    def advance(self, seconds: float) -> None:
        """Let time pass, and make each call when it is due."""
        until = self.now + seconds
        self.run_soon()
        while (timers := self._due()) and timers[0].due <= until:
            self._fire(timers[0])
            self.run_soon()
        self.now = max(self.now, until)

    def step(self) -> bool:
        """Make one call, letting time pass if none is due now; return False if there is none."""
        if self._soon:
            self._soon.popleft()()
        elif timers := self._due():
            self._fire(timers[0])
        else:
            return False
        return True

    def settle(self) -> None:
        """Make every call, until there is none left."""
        while self.step():
            pass

    def _due(self) -> list[ManualTimer]:
        self._timers = sorted((timer for timer in self._timers if not timer.cancelled), key=lambda timer: timer.due)
        return self._timers

    def _fire(self, timer: ManualTimer) -> None:
        self._timers.remove(timer)
        self.now = max(self.now, timer.due)
        timer.callback()


def run(work: Coroutine[Any, Any, None]) -> None:
    """Do some work that does not wait for anything."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits")
