"""The writers of a large room are set off in turns, so that nobody else waits for all of them."""

from __future__ import annotations

import pytest

from bcast_grpc.core.clock import MAX_PAUSE_S, MAX_ROUND_S, SMALL_BYTES
from bcast_grpc.core.slices import FEW_WRITERS, SLICE_S

from .flushes import Flushes, Pen


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


def test_what_can_be_written_at_once_ends_the_round(room: Flushes) -> None:
    """Nobody has to report it, and others have their turn between the slices."""
    written: list[float] = []

    def write() -> bool:
        room.scheduler.work(SLICE_S / FEW_WRITERS)
        written.append(room.scheduler.now)
        return True

    def set_all_off() -> None:
        for _ in range(3 * FEW_WRITERS):
            room.clock.set_off(Pen(write), 100)

    room.during = set_all_off
    room.poke()
    seen = []
    while len(written) < 3 * FEW_WRITERS:
        room.scheduler.step()
        seen.append(len(written))
    assert seen == [FEW_WRITERS, 2 * FEW_WRITERS, 3 * FEW_WRITERS]
    room.poke()
    room.scheduler.advance(MAX_PAUSE_S)
    assert len(room.at) == 2


def test_who_wrote_in_the_flush_itself_is_part_of_the_round(room: Flushes) -> None:
    """The time counts for them as well, and one in eight that is late holds nobody up."""

    def pass_on() -> None:
        room.clock.slice.passed(7)
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
