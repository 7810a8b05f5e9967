"""When a room flushes: as soon as it can without getting in its own way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from bcast_grpc.core.scheduling import Scheduler, Timer
from bcast_grpc.core.slices import FEW_WRITERS, Slice

MAX_ROUND_S = 0.05
"""The clock waits no longer than this for a round of writes: a client in it has stopped reading."""

LATE_S = MAX_ROUND_S / 10
"""If the time-out of a round is noticed later than this, the loop itself was busy, and no client is to blame."""

MAX_EXTENSIONS = 4
"""How many times a round is extended by ``MAX_ROUND_S`` because the loop was busy."""

WRITING_SHARE = 3 / 4
"""Writing takes at most this share of the time: after each round there is a pause for reading."""

SCARCE_SHARE = 1 / 8
"""If reading is the bottleneck, pauses follow each other until writing takes only this share of the time, not counting
the encoding, which costs the same for each message whether few or many are flushed together."""

SCARCE_READS = 1 / 4
"""Reading is the bottleneck if a pause brought more messages than this share of the writes that it had time for."""

MAX_PAUSE_S = 0.01
"""The longest single pause, and so the longest that one pause can delay a message."""

MAX_PAUSES_S = 0.05
"""The longest time of all pauses between two flushes, if reading is the bottleneck."""

SMALL_BYTES = 65_536
"""A writer with a large frame counts as one more writer for every so many bytes."""


_NOBODY: deque[tuple[Writer, int]] = deque(maxlen=0)
"""For a clock that has not set anyone off: a deque takes 0.7 KB, and most rooms are quiet."""


class Writer(Protocol):
    """Writes what one client's outbox holds."""

    def send(self) -> bool:
        """Write what there is to write, if that is possible at once, or begin; return whether all was written."""


class FlushClock:
    """Decides when the next flush is due, from the writes that the last one set off.

    Idle, the first message is flushed at once. While the writes of a flush are out, messages are collected. When they
    are done there is a pause for reading, in proportion to the time that the round of writes took; then what was
    collected is flushed, or the clock is idle again. If many messages came in the pause, compared with what writes
    cost, reading is the bottleneck: another pause follows, as long as the writes, and so on, until these take a small
    share of the time. A flush that is already full waits for no pause. So batches grow with the load by themselves.

    All of this follows from the measured cost of the last round, so it works alike on slow and fast machines, and for
    doors with expensive and with cheap writes. The constants in seconds only bound how long a message waits.

    A round ends when seven in eight of its writers are done, at the latest after ``MAX_ROUND_S``. Writers that were
    still busy when the flush came are not part of it, so clients that stop reading do not delay the others. If all
    writers were still busy, the round ends when the first of them is done; otherwise flush would follow flush until
    every queue is full. If the loop was too busy to notice the writers, the round is extended.

    What may wait in an idle room, such as the notices of a flood of joins, is flushed a while later, or together with
    the next message.

    Args:
        flush: pushes what is pending, and sets writers off. Returns the writers that were offered something but had not
            finished their last write; the clock reads these only if no writer was set off.
        pending: returns the number of messages to flush; 0 if there is nothing to do.
        patience_s: returns how long what is pending may wait for more.

    Attributes:
        slice: how many writers may be woken in one go, or be written to in the flush itself.
    """

    __slots__ = (
        "_began",
        "_busy",
        "_dozing",
        "_due",
        "_extensions",
        "_full",
        "_patience_s",
        "_pause_s",
        "_paused",
        "_pauses_end",
        "_pending",
        "_push",
        "_reading",
        "_round_s",
        "_round_writers",
        "_scheduler",
        "_seen",
        "_sleeping",
        "_timer",
        "_tolerated",
        "_writers",
        "_writing_s",
        "slice",
    )

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
        self._writers: dict[Writer, None] = {}  # an empty set takes three times as much memory
        self._tolerated = 0
        self._began = 0.0
        self._due = 0.0
        self._extensions = 0
        self._sleeping = _NOBODY
        self._timer: Timer | None = None
        self._reading = self._full = False
        self._round_s = self._writing_s = 0.0
        self._pauses_end = 0.0
        self._paused = self._pause_s = 0.0
        self._round_writers = 0
        self._seen = 0
        self.slice = Slice(scheduler.precise_time)

    def poke(self, *, full: bool = False) -> None:
        """Report that something is pending; ``full`` if it is as much as one flush can take."""
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
        """Stop flushing, and drop the references to the room, which refers to this clock."""
        self._push = _nothing
        self._pending = self._patience_s = lambda: 0

    def set_off(self, writer: Writer, size: int, *, awaited: bool = True) -> None:
        """Let a writer write ``size`` bytes when it is its turn; the round waits for it if it is ``awaited``.

        Call this, and ``join``, only during a flush.
        """
        if awaited:
            self._writers[writer] = None
        if self._sleeping is _NOBODY:
            self._sleeping = deque()
        self._sleeping.append((writer, size))

    def join(self, writer: Writer) -> None:
        """Make the round wait for a writer that was woken already."""
        self._writers[writer] = None

    def written(self, writer: Writer) -> None:
        """Report that a writer has written everything."""
        if writer in self._writers:
            del self._writers[writer]
            if len(self._writers) <= self._tolerated and not self._sleeping:
                self._end_round()

    def forget(self, writer: Writer) -> None:
        """Stop waiting for a writer. May be called during a flush."""
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
        self.slice.begin()
        busy: Iterable[Writer] = ()
        try:
            busy = self._push()
        finally:  # an error in one flush must not stop the room's clock
            writers = len(self._writers) + self.slice.passed_on
            self._round_writers = max(writers, FEW_WRITERS)
            self._tolerated = writers // 8
            if not writers:
                self._writers.update(dict.fromkeys(busy))
                self._tolerated = max(0, len(self._writers) - 1)
            self._extensions = 0
            self._send_some()

    def _send_some(self, *, next_slice: bool = False) -> None:
        if next_slice:
            self.slice.go_on()
        weight = sent = 0
        while self._sleeping and weight < self.slice.left:
            writer, size = self._sleeping.popleft()
            weight += 1 + size // SMALL_BYTES
            if writer.send():
                self._writers.pop(writer, None)
                sent += 1
        if sent:
            self.slice.passed(sent)
        if self._sleeping:
            self._scheduler.call_soon(partial(self._send_some, next_slice=True))
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
        if not self.slice.passed_on:
            self.slice.measure(self._round_writers, self._round_s)
        if self._full:
            self._scheduler.call_soon(self._flush)
            return
        self._writing_s = max(0.0, self._round_s - self.slice.encoding_s)
        self._pauses_end = now + min(self._writing_s / SCARCE_SHARE - self._writing_s, MAX_PAUSES_S)
        self._seen = self._pending()
        self._reading = True
        self._pause(now, self._round_s / WRITING_SHARE - self._round_s)

    def _pause(self, now: float, pause_s: float) -> None:
        self._paused, self._pause_s = now, min(pause_s, MAX_PAUSE_S)
        self._timer = self._scheduler.call_later(self._pause_s, self._end_pause)

    def _end_pause(self) -> None:
        if not self._reading:
            return  # a flush is due already
        self._stop_timer()  # breaks the reference cycle between the timer and this clock
        now, pending = self._scheduler.precise_time(), self._pending()
        wait_s = self._patience_s() if pending else 0
        if pending and not wait_s:
            if self._reading_is_scarce(now, pending):
                self._pause(now, min(self._writing_s, self._pauses_end - now))
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
        dense = read * self._writing_s > SCARCE_READS * self._round_writers * pause_s
        return dense and now < self._pauses_end

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None


def _nothing() -> Iterable[Writer]:
    return ()
