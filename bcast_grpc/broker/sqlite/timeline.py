"""A time line that goes on over restarts, and that nobody can set."""

from __future__ import annotations

from dataclasses import dataclass

from bcast_grpc.broker.clock import Clock


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment on four clocks.

    Attributes:
        wall_ns: on the wall's clock.
        line_ns: on the store's time line.
        boot_ns: since the machine was started.
        boot: the name of that start.
    """

    wall_ns: int
    line_ns: int
    boot_ns: int
    boot: str


class TimeLine:
    """Ages of what is in a file are measured on it. It never goes back, and steps of the wall's clock are not on it.

    While a server runs it goes on with the steady clock. Between two servers it goes on with the time since the machine
    was started; if the machine was restarted meanwhile, with the wall's clock, which is all that is left then.

    Args:
        clock: of this process.
        last: what is known of the time before.
    """

    def __init__(self, clock: Clock, last: Moment) -> None:
        self.clock = clock
        self._boot = clock.boot()
        same_boot = self._boot and self._boot == last.boot
        passed_ns = clock.boot_ns() - last.boot_ns if same_boot else clock.wall_ns() - last.wall_ns
        self._from_clock_ns = last.line_ns + max(0, passed_ns) - clock.now_ns()

    def now_ns(self) -> int:
        """Return where it is now."""
        return self.at(self.clock.now_ns())

    def at(self, now_ns: int) -> int:
        """Return where it was at a time of this process's steady clock."""
        return now_ns + self._from_clock_ns

    def since(self, line_ns: int) -> int:
        """Return the time of this process's steady clock at a moment in the past."""
        return min(line_ns - self._from_clock_ns, self.clock.now_ns())

    def moment(self) -> Moment:
        """Return what the next server has to know."""
        return Moment(self.clock.wall_ns(), self.now_ns(), self.clock.boot_ns(), self._boot)
