"""The order of one room in a log that many servers share."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from nats.aio.msg import Msg

from bcast_grpc.broker.base import Accepted, Began, Deliver, DeliverEvents, Lose, Outcome, Refused, Repeated
from bcast_grpc.broker.history import History
from bcast_grpc.broker.ids import Ids
from bcast_grpc.broker.nats import actions
from bcast_grpc.broker.nats.log import RoomLog
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Entry

if TYPE_CHECKING:
    import asyncio

    from bcast_grpc.broker.nats.broker import NatsBroker

_NS = 1_000_000_000


class _Awaited(NamedTuple):
    """Something that is due when so many entries have been answered.

    Attributes:
        answered: how many.
        messages: how many were submitted together; 0 for a callback.
        bytes: their size.
    """

    answered: int
    messages: int
    bytes: int
    callback: Callable[[], None] | None = None


class LogOrder:
    """An ``Order`` whose entries get their ``seq`` when a record with them is in the log.

    Attributes:
        room: the room's name.
        log: this server's side of the log.
        history: the messages that are kept in memory.
        ids: the ids of the messages in the log.
        epoch: the name of this order; empty until the log has been read.
        used: whether a room uses it.
        waiting: how many calls wait for it to be opened.
        idle_since_ns: since when no room uses it.
    """

    def __init__(self, broker: NatsBroker, room: str) -> None:
        self.room = room
        self.epoch = ""
        self.history = History(broker.retention)
        self.ids = Ids(broker.retention)
        self.log = RoomLog(broker.me, self.ids, broker.clock, broker.random, broker.limits)
        self.used = False
        self.waiting = 0
        self.idle_since_ns = broker.clock.now_ns()
        self._broker = broker
        self._deliver: Deliver | None = None
        self._lose: Lose | None = None
        self._submitted = 0
        self._answered = 0
        self._awaited: deque[_Awaited] = deque()
        self._opened: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._arrived_ns = -(2**62)  # by the steady clock, which may have begun after the log
        self._ended = False

    # --- for a room

    @property
    def head(self) -> int:
        """The ``seq`` of the last message that was accepted; 0 if none was."""
        return self.history.head

    @property
    def oldest(self) -> int:
        """The ``seq`` of the oldest message that is kept in memory; ``head + 1`` if none is."""
        return self.history.first

    @property
    def full(self) -> bool:
        """Whether so much waits for the log that no more should be submitted for now."""
        return self.log.full or self._broker.backlog.full

    def begin(self, deliver: Deliver, lose: Lose) -> None:
        """Call ``deliver`` with outcomes from now on."""
        self._deliver, self._lose = deliver, lose
        self.used = True

    def submit(self, entries: Sequence[Entry]) -> None:
        """Have the entries appended to the log. The outcomes are delivered later."""
        size = sum(len(entry.message) + len(entry.data) for entry in entries)
        self._submitted += len(entries)
        self._await(_Awaited(self._submitted, len(entries), size))
        self.perform(self.log.submit(entries))

    def after_answers(self, callback: Callable[[], None]) -> None:
        """Call back when everything before has been answered; at once, if there is nothing to wait for."""
        if self._awaited:
            self._await(_Awaited(self._submitted, 0, 0, callback))
        elif self._broker.backlog.full:  # because of other rooms
            self._broker.when_clear(callback)
        else:
            callback()

    def read(self, after: int, count: int, max_bytes: int, deliver: DeliverEvents) -> None:
        """Deliver the messages after a seq, before returning."""
        deliver(self.history.after(after, count, max_bytes))

    def release(self) -> None:
        """Keep the order for a while, for clients that come back."""
        self._deliver = self._lose = None
        self.used = False
        self.idle_since_ns = self._broker.clock.now_ns()
        self._broker.released(self)

    # --- for the broker

    def is_open(self) -> bool:
        """Whether the log was read to its end once."""
        return bool(self.epoch) and not self._opened and (self.log.level or self.used)

    @property
    def unanswered(self) -> int:
        """How many entries, and callbacks after them, wait."""
        return len(self._awaited)

    def when_open(self, callback: Callable[[], None]) -> None:
        """Call back once, when the log has been read to its end, or will not be."""
        self._opened.append(callback)
        self._open_if_level()

    def live(self, message: Msg) -> None:
        """Take a live record."""
        headers = message.headers or {}
        try:
            sequence, previous = int(headers["Nats-Sequence"]), int(headers["Nats-Last-Sequence"])
        except (KeyError, ValueError):
            return  # not from the stream
        self.perform(self.log.live(sequence, previous, message.data))

    def perform(self, asked: Iterable[actions.Action]) -> None:
        """Do what the log asks for, and deliver what it says."""
        if self._ended:
            return
        outcomes: list[Outcome] = []
        for action in asked:
            match action:
                case actions.Append() | actions.ReadAfter() | actions.ReadEnd() | actions.Forward():
                    self._broker.carry(self, action)
                case actions.WakeAt(time_ns):
                    self._wake_at(time_ns)
                case actions.Stopped(reason):
                    self.lose(CallError(ErrorCode.BROKER_UNAVAILABLE, reason))
                case actions.Began(epoch, after):
                    outcomes.append(self._begin(epoch, after))
                case Accepted():
                    self._keep(action)
                    outcomes.append(action)
                case Repeated():
                    outcomes += _by_author(action)
                case Refused():
                    outcomes.append(action)
        if outcomes:
            self._tell(outcomes)
        self._open_if_level()

    def lose(self, error: CallError) -> None:
        """Give the order up."""
        lose, self._lose = self._lose, None
        if lose:
            lose(error)

    def expire(self, now_ns: int) -> None:
        """Drop what has expired."""
        self.history.expire(now_ns)
        self.ids.expire(now_ns)

    def end(self) -> None:
        """Stop: nothing is done or delivered any more."""
        self._ended = True
        if self._timer:
            self._timer.cancel()
            self._timer = None
        for awaited in self._awaited:
            self._broker.backlog.remove(awaited.messages, awaited.bytes)
        self._awaited.clear()
        opened, self._opened = self._opened, []
        for callback in opened:
            callback()

    # --- what follows

    def _await(self, awaited: _Awaited) -> None:
        self._awaited.append(awaited)
        self._broker.backlog.add(awaited.messages, awaited.bytes)

    def _begin(self, epoch: str, after: int) -> Began:
        self.epoch = epoch
        self.history = History(self._broker.retention, after)
        return Began(epoch, after)

    def _keep(self, accepted: Accepted) -> None:
        """Add messages to the history. They may have been in the log for some time."""
        clock = self._broker.clock
        age_ns = max(0, clock.wall_ns() - accepted.events[0].time_ns)
        self._arrived_ns = max(self._arrived_ns, clock.now_ns() - age_ns)
        self.history.extend(accepted.events, accepted.sizes, self._arrived_ns)

    def _tell(self, outcomes: Sequence[Outcome]) -> None:
        if self._deliver:
            self._deliver(outcomes)
        for outcome in outcomes:
            if isinstance(outcome, Accepted):
                self._answered += sum(entry is not None for entry in outcome.entries)
            elif not isinstance(outcome, Began):
                self._answered += len(outcome.entries)
        while self._awaited and self._awaited[0].answered <= self._answered:
            awaited = self._awaited.popleft()
            self._broker.backlog.remove(awaited.messages, awaited.bytes)
            if awaited.callback:
                awaited.callback()
        self._broker.answered()

    def _open_if_level(self) -> None:
        if self._opened and self.epoch and self.log.level:
            opened, self._opened = self._opened, []
            for callback in opened:
                callback()

    def _wake_at(self, time_ns: int) -> None:
        if self._timer:
            self._timer.cancel()
        delay_s = max(0, time_ns - self._broker.clock.now_ns()) / _NS
        self._timer = self._broker.loop.call_later(delay_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.perform(self.log.tick())


def _by_author(repeated: Repeated) -> Iterable[Repeated]:
    """Divide retries: each outcome is for one author."""
    pairs = zip(repeated.entries, repeated.places, strict=True)
    for _, group in groupby(pairs, lambda pair: pair[0].author.session):
        entries, places = zip(*group, strict=True)
        yield Repeated(entries, places)
