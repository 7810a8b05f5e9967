"""Whatever happens in a room: rounds end in time, and no flush is lost."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bcast_grpc.core.clock import (
    MAX_PAUSE_S,
    MAX_PAUSES_S,
    MAX_ROUND_S,
    SCARCE_READS,
    SCARCE_SHARE,
    FlushClock,
)
from bcast_grpc.core.slices import FEW_WRITERS

from .flushes import PAUSE, Pen
from .scheduler import ManualScheduler


class ClockMachine(RuleBasedStateMachine):
    """A clock beside a model that says when the next flush is due."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = ManualScheduler()
        self.clock = FlushClock(self.scheduler, self.flush, self.count_pending, lambda: 0)
        self.pending = 0
        self.rounds = 0
        self.began = 0.0
        self.set_off = 0
        self.busy: dict[int, list[Pen]] = {}  # writers by round
        self.round_open = False
        self.due: float | None = None
        self.round_s = 0.0
        self.pauses_end = self.paused = self.pause_s = 0.0
        self.in_pause = False
        self.seen = 0
        self.cut_short = False
        self.full = False  # during a round
        self.next_writers = 0
        self.comes_meanwhile = 0

    @property
    def done(self) -> bool:
        """Whether the round may end."""
        late = self.scheduler.now >= self.began + MAX_ROUND_S
        return late or len(self.busy[self.rounds]) <= self.set_off // 8

    def flush(self) -> Sequence[Pen]:
        """Take a flush when it is due, and only then."""
        if self.full and self.round_open:
            assert self.done
            self.round_open = False
        else:
            assert self.due == pytest.approx(self.scheduler.now)
        assert not self.round_open
        self.full = False
        self.rounds += 1
        self.pending, self.due, self.in_pause, self.cut_short = 0, None, False, False
        comes_meanwhile, self.comes_meanwhile = self.comes_meanwhile, 0
        for _ in range(comes_meanwhile):
            self.poke()
        self.began, self.set_off, self.round_open = self.scheduler.now, self.next_writers, True
        self.busy[self.rounds] = [Pen() for _ in range(self.next_writers)]
        for pen in self.busy[self.rounds]:
            self.clock.join(pen)
        return ()

    def count_pending(self) -> int:
        """Be asked at the end of a round, which must be over then, or of a pause for reading."""
        now = self.scheduler.now
        if self.round_open:
            assert self.done
            self.round_open = False
            self.round_s = now - self.began
            self.pauses_end = now + min(self.round_s * (1 / SCARCE_SHARE - 1), MAX_PAUSES_S)
            pause_s, self.in_pause = self.round_s * PAUSE, True
        else:
            assert self.in_pause
            assert self.due == pytest.approx(now)
            pause_s = min(self.pause_s, now - self.paused)
            dense = (self.pending - self.seen) * self.round_s > SCARCE_READS * max(self.set_off, FEW_WRITERS) * pause_s
            self.in_pause = self.pending > 0 and dense and now < self.pauses_end
            pause_s = min(self.round_s, self.pauses_end - now)
        self.seen, self.paused, self.pause_s = self.pending, now, min(pause_s, MAX_PAUSE_S)
        if self.in_pause:
            self.due = now + self.pause_s
        elif not self.pending:
            self.due = None
        return self.pending

    @rule(writers=st.integers(0, 20), comes_meanwhile=st.sampled_from([0, 0, 2]))
    def plan(self, writers: int, comes_meanwhile: int) -> None:
        """Decide how many writers a flush sets off from now on, and what comes during the next one."""
        self.next_writers, self.comes_meanwhile = writers, comes_meanwhile

    @rule()
    def poke(self) -> None:
        """Have something pending; an idle clock flushes it at once."""
        idle = not self.round_open and self.due is None and not self.in_flush
        self.pending += 1
        self.clock.poke()
        if idle:
            self.due = self.scheduler.now

    @rule()
    def fill(self) -> None:
        """Have as much pending as a flush can take, which ends a pause for reading."""
        idle = not self.round_open and self.due is None
        self.pending += 50
        self.clock.poke(full=True)
        self.full = self.round_open
        if self.in_pause and not self.cut_short:
            self.cut_short, self.due = True, self.scheduler.now
        if idle:
            self.due = self.scheduler.now

    @precondition(lambda self: any(self.busy.values()))
    @rule(pick=st.integers(0, 1000), count=st.integers(1, 20))
    def write(self, pick: int, count: int) -> None:
        """Let writers of some round be done."""
        rounds = [busy for busy in self.busy.values() if busy]
        busy = rounds[pick % len(rounds)]
        for _ in range(min(count, len(busy))):
            self.clock.written(busy.pop())

    @rule(seconds=st.sampled_from([0, 0.001, 0.004, 0.011, 0.03, MAX_ROUND_S]))
    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.scheduler.advance(seconds)

    @property
    def in_flush(self) -> bool:
        """Whether a flush is at work."""
        return len(self.busy) < self.rounds

    @invariant()
    def a_round_ends_in_time(self) -> None:
        """A round is open only as long as it may be."""
        assert not (self.round_open and self.done) or self.full

    @invariant()
    def nothing_is_asked_twice_and_no_wake_up_is_lost(self) -> None:
        """The loop is to make one call where there is something to wait for, and none where not."""
        assert len(self.scheduler.scheduled) == (self.round_open or self.due is not None) + self.cut_short
        assert not self.pending or self.round_open or self.due is not None


ClockMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)

TestClock = ClockMachine.TestCase
