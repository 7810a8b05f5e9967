"""A room as its clock sees it, and the writers that a flush sets off."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bcast_grpc.core.clock import WRITING_SHARE, FlushClock

from .scheduler import ManualScheduler

PAUSE = 1 / WRITING_SHARE - 1
"""How long the first pause is, in rounds."""


class Pen:
    """A writer that says when it is done only if it is asked to.

    Args:
        write: what it does when it may write; returns whether it has nothing left to write.
    """

    def __init__(self, write: Callable[[], object] = lambda: None) -> None:
        self._write = write

    def send(self) -> bool:
        """Write."""
        return bool(self._write())


class Flushes:
    """A room as its clock sees it: something is pending, and a flush sets writers off.

    Attributes:
        at: when each flush came.
        pending: how much there is to flush.
        writers: how many writers each flush sets off from now on.
        behind: those that were offered something and still write what they had before.
        during: what else happens in the next flush.
    """

    def __init__(self) -> None:
        self.scheduler = ManualScheduler()
        self.at: list[float] = []
        self.pending = 0
        self.patience_s = 0.0
        self.writers = 0
        self.behind: Sequence[Pen] = ()
        self._busy: dict[int, list[Pen]] = {}
        self.during: Callable[[], None] | None = None
        self.clock = FlushClock(self.scheduler, self.flush, lambda: self.pending, lambda: self.patience_s)

    def flush(self) -> Sequence[Pen]:
        """Push what is pending."""
        self.at.append(self.scheduler.now)
        self.pending = 0
        during, self.during = self.during, None
        if during:
            during()
        pens = self._busy[len(self.at)] = [Pen() for _ in range(self.writers)]
        for pen in pens:
            self.clock.join(pen)
        return self.behind

    def written(self, round_: int) -> None:
        """Let a writer that the flush number ``round_`` set off be done."""
        self.clock.written(self._busy[round_].pop())

    def poke(self) -> None:
        """Something is pending."""
        self.pending += 1
        self.clock.poke()

    def start_round(self, writers: int) -> None:
        """Flush, and have that many writers set off."""
        self.writers = writers
        self.poke()
        self.scheduler.run_soon()

    def end_round_with_pending(self, round_s: float) -> None:
        """Flush; one writer is done after ``round_s``, and meanwhile something has come."""
        self.start_round(1)
        self.poke()
        self.scheduler.advance(round_s)
        self.written(1)
