"""When a room flushes: at once when idle, and never faster than its own writers."""

from __future__ import annotations

import pytest

from bcast_grpc.core.clock import (
    LATE_S,
    MAX_EXTENSIONS,
    MAX_PAUSE_S,
    MAX_PAUSES_S,
    MAX_ROUND_S,
    SCARCE_READS,
    SCARCE_SHARE,
    WRITING_SHARE,
)

from .flushes import PAUSE, Flushes, Pen


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
