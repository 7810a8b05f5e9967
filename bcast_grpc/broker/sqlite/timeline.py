"""A time line that continues over restarts, and that setting the system's clock does not change."""

from __future__ import annotations

from dataclasses import dataclass

from bcast_grpc.broker.clock import Clock


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment on several clocks.

    Attributes:
        wall_ns: the wall clock.
        line_ns: the store's time line.
        boot_ns: the time since the machine was started.
        boot: the id of that start.
    """

    wall_ns: int
    line_ns: int
    boot_ns: int
    boot: str


class TimeLine:
    """Measures the ages of what is in a file. It never goes back, and ignores steps of the wall clock.

    While a server runs, it follows the steady clock. Between two servers it follows the time since the machine was
    started; if the machine was restarted in between, only the wall clock is left.

    Args:
        clock: the clocks of this process.
        last: the last moment that the previous server noted.
    """

    def __init__(self, clock: Clock, last: Moment) -> None:
        self.clock = clock
        self._boot = clock.boot()
        same_boot = self._boot and self._boot == last.boot
        passed_ns = clock.boot_ns() - last.boot_ns if same_boot else clock.wall_ns() - last.wall_ns
        self._from_clock_ns = last.line_ns + max(0, passed_ns) - clock.now_ns()

    def now_ns(self) -> int:
        """Return the present time on this line."""
        return self.at(self.clock.now_ns())

    def at(self, now_ns: int) -> int:
        """Convert a time of this process's steady clock to this line."""
        return now_ns + self._from_clock_ns

    def since(self, line_ns: int) -> int:
        """Convert a past time on this line to this process's steady clock."""
        return min(line_ns - self._from_clock_ns, self.clock.now_ns())

    def moment(self) -> Moment:
        """Return the present moment, for the next server."""
        return Moment(self.clock.wall_ns(), self.now_ns(), self.clock.boot_ns(), self._boot)
