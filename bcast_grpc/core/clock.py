"""When a room flushes: as soon as it can without getting in its own way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol

MAX_ROUND_S = 0.05
"""A round of writes that takes longer is over for the clock: somebody in it has stopped reading."""

LATE_S = MAX_ROUND_S / 10
"""A loop that comes later than this to the end of a round was busy itself, and cannot tell who has stopped reading."""

MAX_EXTENSIONS = 4
"""How many times ``MAX_ROUND_S`` a round may go on because of that."""

WRITING_SHARE = 3 / 4
"""Writing takes at most this share of the time: after each round there is a pause for reading."""

SCARCE_SHARE = 1 / 8
"""Where reading is the bottleneck, pauses follow each other until writing takes only this share of the time."""

SCARCE_READS = 1 / 4
"""Reading is the bottleneck where a pause brought more messages than this share of the writes that it had time for."""

FEW_WRITERS = 16
"""A round with fewer writers counts as one with so many: its time says more about the other rooms than about writes.
So many write in one go, whatever they take."""

MAX_PAUSE_S = 0.01
"""The longest single pause: so much later, at the most, is a message because of those that might follow it."""

MAX_PAUSES_S = 0.05
"""The longest time of all pauses between two flushes, where reading is the bottleneck."""

SLICE_S = 0.002
"""So much is written in one go, by what the last writes took; then others have their turn."""

_LEAST_S = 1e-6

SMALL_BYTES = 65_536
"""A writer counts once more towards that for each of these in its frames."""


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> object:
        """Do not make it."""


class Scheduler(Protocol):
    """The transports' event loop, as far as the core needs it."""

    def time(self) -> float:
        """Return seconds on the clock of ``call_later``, which never goes back; it may count in milliseconds."""

    def precise_time(self) -> float:
        """Return seconds on a clock that never goes back and shows microseconds, unrelated to ``time``."""

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call back from the loop, as soon as it comes to it. Any thread may ask."""

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call back from the loop after ``delay_s``."""

    def start(self, work: Coroutine[Any, Any, None]) -> Timer:
        """Do some work in the loop, which waits for something that is not in the core."""


class Writer(Protocol):
    """Writes to one client what its outbox holds."""

    @property
    def wake(self) -> Callable[[], None]:
        """Tells it that there is something to write."""


class FlushClock:
    """Decides when the next flush is due, from the writes that the last one set off.

    Idle, the first message is flushed at once. While the writes of a flush are out, messages are collected. When they
    are done there is a pause for reading, in proportion to the time that the round of writes took; then what was
    collected is flushed, or the clock is idle again. If messages came densely in the pause, beside what writes cost,
    reading is what is scarce: another pause follows, as long as the round, and so on, until writing takes a small share
    of the time. A flush that has all that it can take waits for no pause. So batches grow with the load by themselves.

    All of this follows from what the last round was measured to cost: it is the same on a slow machine as on a fast
    one, and at a door whose writes cost much as at one whose writes cost little. What is fixed in seconds bounds how
    long a message waits.

    A round ends when seven in eight of its writers are done, at the latest after ``MAX_ROUND_S``; writers that were
    still busy when the flush came are not part of it. So clients that stop reading do not hold the others up. Where all
    were still busy, it ends when the first of them is done, or flush would follow flush until every queue is full. A
    loop that was too busy to see the writers' answers blames nobody: the round goes on for a while.

    What may wait in an idle room, such as the notices of a flood of joins, is flushed a while later, or with whatever
    may not wait.

    Args:
        flush: pushes what is pending, and sets writers off. Returns those that were offered something, but had not
            written what they had before; it is looked into only where none was set off.
        pending: how many messages there are to flush; 0 if there is nothing to do.
        patience_s: how long what is pending may wait for more.

    Attributes:
        at_once: how many writers may be set off in one go, or write in the flush itself: as many as take ``SLICE_S``.
        passed_on: how many writers a flush did not have to set off, as they have written already; it says so here.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        flush: Callable[[], Iterable[Writer]],
        pending: Callable[[], int],
        patience_s: Callable[[], float],
    ) -> None:
        self._scheduler = scheduler
        self._push = flush
        self._pending = pending
        self._patience_s = patience_s
        self._busy = False
        self._dozing = False
        self._writers: set[Writer] = set()
        self._tolerated = 0
        self._began = 0.0
        self._due = 0.0
        self._extensions = 0
        self._sleeping: deque[tuple[Writer, int]] = deque()
        self._timer: Timer | None = None
        self._reading = self._full = False
        self._round_s = 0.0
        self._pauses_end = 0.0
        self._paused = self._pause_s = 0.0
        self._round_writers = 0
        self._seen = 0
        self.at_once = FEW_WRITERS
        self.passed_on = 0

    def poke(self, *, full: bool = False) -> None:
        """Say that something is pending; ``full``: as much as a flush can take."""
        if not self._busy:
            wait_s = self._patience_s()
            if not wait_s:
                self._busy, self._dozing = True, False
                self._scheduler.call_soon(self._flush)
            elif not self._dozing:
                self._dozing = True
                self._scheduler.call_soon(lambda: self._doze(wait_s))
        elif full and not self._full:
            self._full = True
            if self._reading:
                self._reading = False
                self._scheduler.call_soon(self._flush)

    def end(self) -> None:
        """Flush nothing more, and drop the references to the room, which keeps this clock."""
        self._push = _nothing
        self._pending = self._patience_s = lambda: 0

    def set_off(self, writer: Writer, size: int, *, awaited: bool = True) -> None:
        """Wake a writer with ``size`` bytes as soon as it is its turn; the round waits for it if it is ``awaited``.

        To be called during a flush, as is ``join``.
        """
        if awaited:
            self._writers.add(writer)
        self._sleeping.append((writer, size))

    def join(self, writer: Writer) -> None:
        """Have the round wait for a writer that was woken already."""
        self._writers.add(writer)

    def written(self, writer: Writer) -> None:
        """Say that a writer has written everything."""
        if writer in self._writers:
            self._writers.remove(writer)
            if len(self._writers) <= self._tolerated and not self._sleeping:
                self._end_round()

    def forget(self, writer: Writer) -> None:
        """Wait for a writer no more. May be said during a flush."""
        if writer in self._writers:
            self._scheduler.call_soon(lambda: self.written(writer))

    def _doze(self, wait_s: float) -> None:
        if self._dozing:
            self._stop_timer()
            self._timer = self._scheduler.call_later(wait_s, self._end_doze)

    def _end_doze(self) -> None:
        if not self._dozing:
            return  # a flush is due already
        self._busy, self._dozing = True, False
        self._flush()

    def _flush(self) -> None:
        self._stop_timer()
        self._reading = self._full = False
        self._writers.clear()
        self._began = self._scheduler.precise_time()
        self.passed_on = 0
        busy: Iterable[Writer] = ()
        try:
            busy = self._push()
        finally:  # a fault in one flush must not be the end of the room
            if self.passed_on:  # nothing else is in the time of these writes
                self.at_once = _as_many_as_fit(self.passed_on, self._scheduler.precise_time() - self._began)
            writers = len(self._writers) + self.passed_on
            self._round_writers = max(writers, FEW_WRITERS)
            self._tolerated = writers // 8
            if not writers:
                self._writers.update(busy)
                self._tolerated = max(0, len(self._writers) - 1)
            self._extensions = 0
            self._wake_some()

    def _wake_some(self) -> None:
        weight = 0
        while self._sleeping and weight < self.at_once:
            writer, size = self._sleeping.popleft()
            weight += 1 + size // SMALL_BYTES
            writer.wake()
        if self._sleeping:
            self._scheduler.call_soon(self._wake_some)
        elif len(self._writers) > self._tolerated:
            self._limit_round(self._scheduler.time())
        else:
            self._end_round()

    def _limit_round(self, now: float) -> None:
        self._due = now + MAX_ROUND_S
        self._timer = self._scheduler.call_later(MAX_ROUND_S, self._time_out)

    def _time_out(self) -> None:
        now = self._scheduler.time()
        if now > self._due + LATE_S and self._extensions < MAX_EXTENSIONS:
            self._extensions += 1
            self._limit_round(now)
        else:
            self._end_round()

    def _end_round(self) -> None:
        self._writers.clear()
        self._stop_timer()
        now = self._scheduler.precise_time()
        self._round_s = now - self._began
        if not self.passed_on:
            self.at_once = _as_many_as_fit(self._round_writers, self._round_s)
        if self._full:
            self._scheduler.call_soon(self._flush)
            return
        self._pauses_end = now + min(self._round_s / SCARCE_SHARE - self._round_s, MAX_PAUSES_S)
        self._seen = self._pending()
        self._reading = True
        self._pause(now, self._round_s / WRITING_SHARE - self._round_s)

    def _pause(self, now: float, pause_s: float) -> None:
        self._paused, self._pause_s = now, min(pause_s, MAX_PAUSE_S)
        self._timer = self._scheduler.call_later(self._pause_s, self._end_pause)

    def _end_pause(self) -> None:
        if not self._reading:
            return  # a flush is due already
        self._stop_timer()  # else it and this clock would keep each other
        now, pending = self._scheduler.precise_time(), self._pending()
        wait_s = self._patience_s() if pending else 0
        if pending and not wait_s:
            if self._reading_is_scarce(now, pending):
                self._pause(now, min(self._round_s, self._pauses_end - now))
            else:
                self._flush()
            return
        self._busy = self._reading = False
        if wait_s:
            self._dozing = True
            self._doze(wait_s)

    def _reading_is_scarce(self, now: float, pending: int) -> bool:
        read, self._seen = pending - self._seen, pending
        pause_s = min(now - self._paused, self._pause_s)  # it may have ended early, or late in a loop that was busy
        dense = read * self._round_s > SCARCE_READS * self._round_writers * pause_s
        return dense and now < self._pauses_end

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None


def _as_many_as_fit(writers: int, took_s: float) -> int:
    """Return how many writers fit into a slice, by the time that so many took."""
    return max(FEW_WRITERS, int(SLICE_S * writers / max(took_s, _LEAST_S)))


def _nothing() -> Iterable[Writer]:
    return ()
