"""Virtual time: what is to happen, and when."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from random import Random

from bcast_grpc.broker.clock import Clock

MS = 1_000_000
SECOND = 1_000_000_000
WALL_NS = 1_700_000_000 * SECOND


class Agenda:
    """Runs what is due, in the order of time.

    Attributes:
        now_ns: the time.
        random: of the schedule.
    """

    def __init__(self, seed: int) -> None:
        self.now_ns = SECOND
        self.random = Random(seed)
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    def after(self, ns: int, run: Callable[[], None]) -> None:
        """Run something ``ns`` from now."""
        self.at(self.now_ns + ns, run)

    def at(self, time_ns: int, run: Callable[[], None]) -> None:
        """Run something at a time; at once, if that has passed."""
        self._count += 1
        heappush(self._heap, (max(time_ns, self.now_ns), self._count, run))

    def run(self, until_ns: int) -> None:
        """Run what is due until then."""
        heap = self._heap
        while heap and heap[0][0] <= until_ns:
            self.now_ns, _, run = heappop(heap)
            run()
        self.now_ns = max(self.now_ns, until_ns)

    def ms(self, least: float, most: float) -> int:
        """Return a random time in nanoseconds."""
        return int(self.random.uniform(least, most) * MS)


class VirtualClock(Clock):
    """The clocks of one server. Its wall clock is wrong."""

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._skew_ns = agenda.ms(-2000, 2000)

    def now_ns(self) -> int:
        """The steady clock."""
        return self._agenda.now_ns

    def wall_ns(self) -> int:
        """The clock on the wall."""
        return WALL_NS + self._agenda.now_ns + self._skew_ns
