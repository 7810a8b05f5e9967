"""The clock on machines of any speed, and at doors whose writes cost much or little: it still batches."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import pytest

from bcast_grpc.core.clock import MAX_PAUSE_S, WRITING_SHARE, FlushClock

from .flushes import Pen
from .scheduler import ManualScheduler

CLIENTS = 100
SPEEDS = [0.1, 1, 10]
DOORS = [(30e-6, 30e-6), (3e-6, 5e-6), (3e-6, 30e-6)]
"""What a read and a write cost, in seconds, at a speed of 1."""


class Machine:
    """A server with one room in a loop in which every read and every write costs time.

    Args:
        read_s: what it costs to read one message.
        write_s: what it costs to write to one client.
        every_s: how long after a message the next one comes; 0: there is always one to read.
        encode_s: what it costs to encode one message for all clients.

    Attributes:
        flushes: how many messages each flush took.
        waited_s: how long each message waited for its flush.
        writing_s: how long it has written in all.
    """

    def __init__(self, read_s: float, write_s: float, every_s: float = 0.0, encode_s: float = 0.0) -> None:
        self.scheduler = ManualScheduler()
        self.flushes: list[int] = []
        self.waited_s: list[float] = []
        self.writing_s = 0.0
        self._clock = FlushClock(self.scheduler, self._flush, lambda: len(self._pending), lambda: 0)
        self._pending: list[float] = []
        self._read_s, self._write_s, self._every_s, self._encode_s = read_s, write_s, every_s, encode_s
        self._comes = every_s

    def run(self, flushes: int) -> None:
        """Let it work until so many flushes have been written."""
        while len(self.flushes) < flushes:
            self.scheduler.advance(0)
            if self._comes <= self.scheduler.now:
                self._read()
            else:
                self.scheduler.advance(min(self._comes, self.scheduler.next_due(inf)) - self.scheduler.now)

    def _read(self) -> None:
        self.scheduler.work(self._read_s)
        self._pending.append(self._comes if self._every_s else self.scheduler.now)
        self._comes += self._every_s
        self._clock.poke()

    def _flush(self) -> Sequence[Pen]:
        self.flushes.append(len(self._pending))
        self.waited_s += [self.scheduler.now - came for came in self._pending]
        encoding_s = self._encode_s * len(self._pending)
        self._clock.slice.encode(lambda: self.scheduler.work(encoding_s))
        self._pending.clear()
        for _ in range(CLIENTS):
            self._set_one_off()
        return ()

    def _set_one_off(self) -> None:
        def wake() -> None:
            self.scheduler.call_soon(write)

        def write() -> None:
            self.scheduler.work(self._write_s)
            self.writing_s += self._write_s
            self._clock.written(pen)

        pen = Pen(wake)
        self._clock.set_off(pen, 100)


@pytest.mark.parametrize("slower", SPEEDS)
@pytest.mark.parametrize(("read_s", "write_s"), DOORS)
def test_under_full_load_most_of_the_time_is_for_reading(read_s: float, write_s: float, slower: float) -> None:
    """Otherwise a slow machine would write more and more often, with less and less in each write."""
    machine = Machine(read_s * slower, write_s * slower)
    machine.run(20)
    assert machine.writing_s / machine.scheduler.now < 0.5
    assert min(machine.flushes[2:]) > CLIENTS * write_s / read_s


@pytest.mark.parametrize("slower", SPEEDS)
@pytest.mark.parametrize(("read_s", "write_s"), DOORS)
def test_under_steady_load_messages_wait_for_little_more_than_a_round(
    read_s: float, write_s: float, slower: float
) -> None:
    """Where messages come twice in a round, none waits for those that might follow it longer than writing allows."""
    round_s = CLIENTS * write_s * slower
    machine = Machine(read_s * slower, write_s * slower, every_s=round_s / 2)
    machine.run(50)
    assert max(machine.flushes[2:]) <= 4
    assert max(machine.waited_s) <= round_s + min(round_s / WRITING_SHARE - round_s, MAX_PAUSE_S) + 4 * read_s * slower


@pytest.mark.parametrize("slower", SPEEDS)
@pytest.mark.parametrize(("read_s", "write_s"), DOORS)
def test_under_low_load_no_message_waits(read_s: float, write_s: float, slower: float) -> None:
    """Where a round is over before the next message comes, each is flushed as soon as it is read."""
    machine = Machine(read_s * slower, write_s * slower, every_s=2 * CLIENTS * write_s * slower)
    machine.run(20)
    assert machine.flushes == [1] * 20
    assert max(machine.waited_s) == pytest.approx(read_s * slower)


@pytest.mark.parametrize("slower", SPEEDS)
def test_what_encoding_costs_is_no_reason_to_wait(slower: float) -> None:
    """A message costs as much to encode if more of them are flushed together, so nothing is saved by waiting."""
    write_s, every_s = 3e-6 * slower, 50e-6 * slower
    plain = Machine(1e-6 * slower, write_s, every_s)
    dear = Machine(1e-6 * slower, write_s, every_s, encode_s=8e-6 * slower)
    plain.run(200)
    dear.run(200)
    assert max(dear.waited_s) < 2 * max(plain.waited_s)
