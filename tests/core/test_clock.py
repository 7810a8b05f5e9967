"""When a room flushes: at once when idle, and never faster than its own writers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bcast_grpc.core.clock import (
    FEW_WRITERS,
    LATE_S,
    MAX_EXTENSIONS,
    MAX_PAUSE_S,
    MAX_PAUSES_S,
    MAX_ROUND_S,
    SCARCE_READS,
    SCARCE_SHARE,
    SLICE_S,
    SMALL_BYTES,
    WRITING_SHARE,
    FlushClock,
)

from .scheduler import ManualScheduler

PAUSE = 1 / WRITING_SHARE - 1
"""How long the first pause is, in rounds."""


class Pen:
    """A writer that says when it is done only if it is asked to.

    Args:
        wake: what it does when it is woken.
    """

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        self.wake = wake


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


@pytest.fixture
def room() -> Flushes:
    """A room with nothing pending."""
    return Flushes()


def test_nothing_happens_until_something_is_pending(room: Flushes) -> None:
    """An idle clock asks nothing of the loop."""
    assert room.scheduler.scheduled == []


def test_idle_it_flushes_at_once(room: Flushes) -> None:
    """The first message of an idle room waits for nothing."""
    room.scheduler.advance(5)
    room.start_round(0)
    assert room.at == [5]


def test_a_flush_comes_from_the_loop(room: Flushes) -> None:
    """Whoever pokes does not flush: it may be in the middle of something."""
    room.poke()
    assert room.at == []


def test_pokes_before_the_flush_are_one(room: Flushes) -> None:
    """However much is pending, one flush takes it."""
    for _ in range(3):
        room.poke()
    room.scheduler.settle()
    assert room.at == [0]


def test_it_collects_while_a_round_is_out(room: Flushes) -> None:
    """What comes while writers of the last flush are busy waits for them."""
    room.start_round(1)
    room.poke()
    room.scheduler.advance(MAX_ROUND_S * 0.9)
    assert room.at == [0]
    room.written(1)
    room.scheduler.advance(MAX_PAUSE_S)
    assert len(room.at) == 2


@pytest.mark.parametrize("round_s", [0.0004, 0.004])
def test_reading_gets_a_pause_in_proportion_to_the_round(room: Flushes, round_s: float) -> None:
    """After a round during which something came, writing has taken no more than its share of the time."""
    room.end_round_with_pending(round_s)
    room.scheduler.settle()
    assert room.at == [0, pytest.approx(round_s / WRITING_SHARE)]


def test_while_reading_is_scarce_pauses_follow_each_other(room: Flushes) -> None:
    """Until writing takes a small share of the time."""
    room.end_round_with_pending(0.004)
    while len(room.at) == 1:
        room.pending += 1
        room.scheduler.work(0.0005)
        room.scheduler.advance(0)
    assert room.at == [0, pytest.approx(0.004 / SCARCE_SHARE, abs=0.0006)]


def test_pauses_that_follow_each_other_are_bounded(room: Flushes) -> None:
    """After a long round no message waits longer than ``MAX_PAUSES_S``."""
    room.end_round_with_pending(0.04)
    while len(room.at) == 1:
        room.pending += 1
        room.scheduler.work(0.0005)
        room.scheduler.advance(0)
    assert room.at == [0, pytest.approx(0.04 + MAX_PAUSES_S, abs=0.0006)]


def test_no_pause_is_long(room: Flushes) -> None:
    """After a long round, a single pause is bounded."""
    room.end_round_with_pending(0.04)
    room.scheduler.settle()
    assert room.at == [0, pytest.approx(0.04 + MAX_PAUSE_S)]


@pytest.mark.parametrize(("reads", "flushes"), [(SCARCE_READS * 1.2, 1), (SCARCE_READS * 0.8, 2)])
def test_reading_is_scarce_if_messages_come_densely_beside_what_a_write_costs(
    room: Flushes, reads: float, flushes: int
) -> None:
    """If fewer come, the loop has time to spare, and nobody waits for more of them."""
    writers = 300
    room.start_round(writers)
    room.scheduler.advance(0.006)
    for _ in range(writers * 7 // 8 + 1):
        room.written(1)
    room.pending += round(reads * writers * PAUSE)
    room.scheduler.advance(0.006 * PAUSE)
    assert len(room.at) == flushes


def test_a_pause_ends_when_a_flush_has_enough(room: Flushes) -> None:
    """To collect more than a flush can take is of no use."""
    room.start_round(1)
    room.poke()
    room.scheduler.advance(0.004)
    room.written(1)
    room.scheduler.advance(0.0005)
    room.clock.poke(full=True)
    room.clock.poke(full=True)
    room.scheduler.settle()
    assert room.at == [0, pytest.approx(0.0045)]


def test_a_pause_that_is_over_already_ends_once(room: Flushes) -> None:
    """The loop may come to the end of the pause first, and to the flush that was asked for meanwhile after that."""
    room.start_round(1)
    room.poke()
    room.scheduler.advance(0.004)
    room.written(1)
    (end_of_pause,) = room.scheduler.scheduled
    room.clock.poke(full=True)
    end_of_pause()
    assert room.at == [0]
    room.scheduler.run_soon()
    assert room.at == [0, pytest.approx(0.004)]


def test_what_may_wait_is_flushed_a_while_later_together() -> None:
    """Several pokes in the meantime are one flush, as late after the first as may be waited."""
    room = Flushes()
    room.patience_s = 0.5
    room.poke()
    room.scheduler.advance(0.2)
    room.poke()
    assert room.at == []
    room.scheduler.settle()
    assert room.at == [0.5]


def test_what_may_not_wait_takes_along_what_may() -> None:
    """It is flushed at once, and nothing is left to be flushed later."""
    room = Flushes()
    room.patience_s = 0.5
    room.poke()
    room.scheduler.advance(0.2)
    room.patience_s = 0.0
    room.poke()
    room.scheduler.settle()
    assert room.at == [0.2]


def test_what_came_during_a_round_and_may_wait_waits() -> None:
    """It waits from the end of the pause on that follows the round."""
    room = Flushes()
    room.writers = 1
    room.poke()
    room.scheduler.run_soon()
    room.patience_s = 0.5
    room.poke()
    room.scheduler.advance(0.01)
    room.written(1)
    room.scheduler.settle()
    assert room.at == pytest.approx([0.0, 0.01 / WRITING_SHARE + 0.5])


def test_after_a_round_and_its_pause_the_next_message_waits_for_nothing(room: Flushes) -> None:
    """If nothing came meanwhile, the clock is idle and asks nothing of the loop."""
    room.start_round(1)
    room.scheduler.advance(0.009)
    room.written(1)
    room.scheduler.settle()
    assert room.scheduler.scheduled == []
    room.start_round(0)
    assert room.at == [0, pytest.approx(0.009 / WRITING_SHARE)]


def test_a_message_that_comes_in_the_pause_is_flushed_at_its_end(room: Flushes) -> None:
    """Writing takes its share of the time and no more, even where nothing came while it wrote."""
    room.start_round(1)
    room.scheduler.advance(0.009)
    room.written(1)
    room.scheduler.advance(0.001)
    room.poke()
    room.scheduler.settle()
    assert room.at == [0, pytest.approx(0.009 / WRITING_SHARE)]


def test_what_fills_a_flush_during_a_round_waits_for_no_pause(room: Flushes) -> None:
    """Senders are held up already: a pause would read nothing."""
    room.start_round(1)
    room.clock.poke(full=True)
    room.scheduler.advance(0.004)
    room.written(1)
    room.scheduler.run_soon()
    assert room.at == [0, 0.004]


def test_a_flush_that_sets_nobody_off_is_over_at_once(room: Flushes) -> None:
    """Without writers there is nothing to wait for."""
    room.start_round(0)
    room.scheduler.settle()
    room.start_round(0)
    room.scheduler.settle()
    assert room.at == [0, 0]


@pytest.mark.parametrize(("writers", "needed"), [(1, 1), (7, 7), (8, 7), (15, 14), (16, 14), (100, 88)])
def test_seven_in_eight_writers_end_a_round(room: Flushes, writers: int, needed: int) -> None:
    """A round is over when seven in eight of its writers are done, and not one writer earlier."""
    room.start_round(writers)
    room.poke()
    for _ in range(needed - 1):
        room.written(1)
    room.scheduler.advance(MAX_ROUND_S * 0.9)
    assert len(room.at) == 1
    room.written(1)
    room.scheduler.advance(MAX_PAUSE_S)
    assert len(room.at) == 2


def test_a_writer_that_stopped_holds_the_clock_only_so_long(room: Flushes) -> None:
    """A round is over after ``MAX_ROUND_S``, whoever is still busy."""
    room.start_round(1)
    room.poke()
    room.scheduler.settle()
    assert room.at == [0, pytest.approx(MAX_ROUND_S + MAX_PAUSE_S)]


def test_a_loop_that_was_busy_itself_blames_nobody(room: Flushes) -> None:
    """A loop that comes too late to see its writers' answers gives them another ``MAX_ROUND_S``, a few times."""
    room.start_round(1)
    room.poke()
    for _ in range(MAX_EXTENSIONS):
        room.scheduler.now += MAX_ROUND_S + 2 * LATE_S
        room.scheduler.step()
        assert len(room.at) == 1
    room.scheduler.now += MAX_ROUND_S + 2 * LATE_S
    room.scheduler.settle()
    assert len(room.at) == 2


def test_where_all_are_busy_the_first_that_is_done_ends_the_round(room: Flushes) -> None:
    """Otherwise flush would follow flush at once, until every queue is full."""
    room.behind = [Pen() for _ in range(3)]
    room.start_round(0)
    room.poke()
    room.scheduler.advance(MAX_ROUND_S * 0.9)
    assert len(room.at) == 1
    room.clock.written(room.behind[1])
    room.scheduler.advance(MAX_PAUSE_S)
    assert len(room.at) == 2


def test_where_some_were_set_off_nobody_waits_for_those_that_were_busy(room: Flushes) -> None:
    """Who stopped reading holds up one flush."""
    room.behind = [Pen()]
    room.start_round(1)
    room.poke()
    room.written(1)
    room.scheduler.advance(MAX_PAUSE_S)
    assert len(room.at) == 2


def test_a_writer_that_is_gone_is_waited_for_no_more(room: Flushes) -> None:
    """It may go in the middle of a flush: the round ends afterwards."""
    room.behind = [Pen()]
    room.start_round(0)
    room.poke()
    room.clock.forget(room.behind[0])
    room.scheduler.advance(MAX_PAUSE_S)
    assert len(room.at) == 2


def test_an_old_round_is_over_for_good(room: Flushes) -> None:
    """A writer that comes late from an earlier round says nothing about this one."""
    room.start_round(1)
    room.scheduler.advance(MAX_ROUND_S + MAX_PAUSE_S)
    room.start_round(1)
    room.poke()
    room.written(1)
    room.scheduler.advance(MAX_ROUND_S * 0.9)
    assert len(room.at) == 2
    room.written(2)
    room.scheduler.advance(MAX_PAUSE_S)
    assert len(room.at) == 3


def test_late_writers_of_a_round_change_nothing(room: Flushes) -> None:
    """Those that were tolerated may still come when the round is over."""
    room.start_round(8)
    for _ in range(8):
        room.written(1)
    room.scheduler.settle()
    room.start_round(0)
    assert len(room.at) == 2


def test_a_poke_during_a_flush_is_not_lost(room: Flushes) -> None:
    """What becomes pending while a flush is at work gets a flush of its own."""
    room.during = room.poke
    room.start_round(0)
    room.scheduler.settle()
    assert room.at == [0, 0]
    assert room.pending == 0


def test_a_fault_in_a_flush_is_not_the_end_of_the_room(room: Flushes) -> None:
    """After a flush that failed the next one comes as if nothing had been."""

    def fail() -> None:
        raise ZeroDivisionError

    room.during = fail
    with pytest.raises(ZeroDivisionError):
        room.start_round(3)
    room.scheduler.settle()
    room.start_round(0)
    assert room.at == [0, 0]


# --- the writers of a large room


class Sleepers:
    """Writers that a flush sets off, each with so many bytes.

    Attributes:
        awake: how many of them were woken.
        others_saw: how many were awake each time that others had their turn.
    """

    def __init__(self, room: Flushes, count: int, size: int = 100) -> None:
        self.awake = 0
        self.others_saw: list[int] = []
        self._room = room
        room.during = lambda: self._fall_asleep(count, size)
        room.start_round(0)

    def _fall_asleep(self, count: int, size: int) -> None:
        for _ in range(count):
            self._room.clock.set_off(Pen(self._wake), size)
        self._room.scheduler.call_soon(self._have_a_turn)

    def _wake(self) -> None:
        self.awake += 1

    def _have_a_turn(self) -> None:
        self.others_saw.append(self.awake)
        if self._room.scheduler.scheduled and len(self.others_saw) < 100:
            self._room.scheduler.call_soon(self._have_a_turn)


def test_all_writers_of_a_room_are_set_off(room: Flushes) -> None:
    """However many there are, and once."""
    assert Sleepers(room, 5 * FEW_WRITERS + 1).awake == 5 * FEW_WRITERS + 1


def test_others_have_their_turn_between_the_writers(room: Flushes) -> None:
    """Whatever is asked of the loop meanwhile waits for some of them, not for all."""
    sleepers = Sleepers(room, 3 * FEW_WRITERS)
    assert sleepers.others_saw[:3] == [FEW_WRITERS, 2 * FEW_WRITERS, 3 * FEW_WRITERS]


def test_as_many_writers_are_set_off_as_fit_into_a_slice(room: Flushes) -> None:
    """What writes cost is seen from the last round, whatever machine and door that was."""
    room.start_round(FEW_WRITERS)
    room.scheduler.advance(SLICE_S / 4)
    for _ in range(FEW_WRITERS):
        room.written(1)
    room.scheduler.settle()
    sleepers = Sleepers(room, 9 * FEW_WRITERS)
    assert sleepers.others_saw[:3] == [4 * FEW_WRITERS, 8 * FEW_WRITERS, 9 * FEW_WRITERS]


def test_who_wrote_in_the_flush_itself_is_part_of_the_round(room: Flushes) -> None:
    """The time counts for them as well, and one in eight that is late holds nobody up."""

    def pass_on() -> None:
        room.clock.passed_on += 7
        room.clock.set_off(Pen(), 100)

    room.during = pass_on
    room.start_round(0)
    room.poke()
    room.scheduler.advance(MAX_PAUSE_S)
    assert len(room.at) == 2


def test_large_frames_count_for_more(room: Flushes) -> None:
    """What is written in one go is bounded in bytes as well."""
    sleepers = Sleepers(room, FEW_WRITERS, size=3 * SMALL_BYTES)
    assert sleepers.others_saw[0] == FEW_WRITERS // 4


def test_a_round_lasts_until_all_were_set_off(room: Flushes) -> None:
    """Seven in eight of the writers may be done before the last was woken: the next flush waits for that one too."""
    count = 10 * FEW_WRITERS
    done = []

    def set_one_off() -> None:
        def write() -> None:
            done.append(1)
            room.clock.written(pen)

        pen = Pen(write)
        room.clock.set_off(pen, 100)

    def set_all_off() -> None:
        for _ in range(count):
            set_one_off()

    room.during = set_all_off
    room.poke()
    room.scheduler.step()  # the flush, and the first of them
    room.poke()
    while len(done) < count:
        assert len(room.at) == 1
        room.scheduler.step()
    room.scheduler.settle()
    assert len(room.at) == 2


def test_the_time_of_a_round_begins_when_all_were_set_off(room: Flushes) -> None:
    """A round that takes long because there is so much to write blames nobody."""

    def slow_wake() -> None:
        room.scheduler.work(MAX_ROUND_S / FEW_WRITERS)

    def set_all_off() -> None:
        for _ in range(4 * FEW_WRITERS):
            room.clock.set_off(Pen(slow_wake), 100)

    room.during = set_all_off
    room.poke()
    room.scheduler.run_soon()
    room.poke()
    all_set_off = room.scheduler.now
    room.scheduler.settle()
    assert room.at == [0, pytest.approx(all_set_off + MAX_ROUND_S + MAX_PAUSE_S)]


def test_a_fault_in_a_flush_leaves_no_writer_asleep(room: Flushes) -> None:
    """Those that were set off before it are woken."""
    woken = []

    def fail() -> None:
        room.clock.set_off(Pen(lambda: woken.append(1)), 1)
        raise ZeroDivisionError

    room.during = fail
    with pytest.raises(ZeroDivisionError):
        room.start_round(1)
    assert woken == [1]


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
