"""Wakes the logs of many rooms with one timer: a timer of the loop for each takes 0.7 KB."""

from __future__ import annotations

import asyncio
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Protocol

_MOST_STALE = 64


class Sleeper(Protocol):
    """Something to be woken.

    Attributes:
        alarm_s: when, by the loop's clock; None if it is not to be woken. Only ``Alarms`` changes it.
    """

    alarm_s: float | None

    def tick(self) -> None:
        """Do what is due."""


class Alarms:
    """Calls ``tick`` of each sleeper at its time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._numbers = count()
        self._heap: list[tuple[float, int, Sleeper]] = []  # with some that have been replaced since
        self._most = _MOST_STALE
        self._rings_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def set(self, sleeper: Sleeper, delay_s: float) -> None:
        """Wake a sleeper after some time, and not when it was to be woken before. Cost: O(log sleepers)."""
        due_s = sleeper.alarm_s = self._loop.time() + delay_s
        heappush(self._heap, (due_s, next(self._numbers), sleeper))
        if len(self._heap) > self._most:
            self._heap = [one for one in self._heap if one[2].alarm_s == one[0]]
            heapify(self._heap)
            self._most = 2 * len(self._heap) + _MOST_STALE
        if self._timer is None or due_s < self._rings_s:
            self._wait()

    def cancel(self, sleeper: Sleeper) -> None:
        """Do not wake a sleeper."""
        sleeper.alarm_s = None

    def end(self) -> None:
        """Wake nobody any more."""
        self._heap.clear()
        if self._timer:
            self._timer.cancel()

    def _wait(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._rings_s = self._heap[0][0]
        self._timer = self._loop.call_at(self._rings_s, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now_s = self._loop.time()
        while self._heap and self._heap[0][0] <= now_s:
            due_s, _, sleeper = heappop(self._heap)
            if sleeper.alarm_s == due_s:
                sleeper.alarm_s = None
                sleeper.tick()
        if self._heap and self._timer is None:
            self._wait()
