"""The order of one room in a log that many servers share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from nats.aio.msg import Msg

from bcast_grpc.broker.base import Accepted, Began, Deliver, DeliverEvents, Lose, Outcome, Refused, Repeated
from bcast_grpc.broker.history import History
from bcast_grpc.broker.ids import Ids
from bcast_grpc.broker.nats.jetstream.readings import Stored
from bcast_grpc.broker.nats.log import actions
from bcast_grpc.broker.nats.log.places import Places
from bcast_grpc.broker.nats.log.room_log import RoomLog
from bcast_grpc.broker.nats.log.seeks import Seek, Seeks
from bcast_grpc.broker.nats.services import Services
from bcast_grpc.broker.nats.unanswered import Unanswered
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Entry, ResumePoint

IN_MEMORY_BYTES = 2 * 1024 * 1024
"""How much memory the newest messages of one order use at most; older ones are read from the log."""

_NS = 1_000_000_000


class LogOrder:
    """An ``Order`` whose entries get their ``seq`` when a record with them is in the log.

    Attributes:
        room: the room's name.
        log: this server's side of the log.
        history: the messages that are kept, the newest of them in memory.
        places: where the log has them.
        ids: the ids of the messages in the log.
        epoch: the name of this order; empty until the log has been read.
        used: whether a room uses it.
        waiting: how many calls wait for it to be opened.
        idle_since_ns: since when no room uses it.
        alarm_s: see ``Sleeper``.
    """

    __slots__ = (
        "_arrived_ns",
        "_broker",
        "_deliver",
        "_ended",
        "_lose",
        "_opened",
        "_seeks",
        "_unanswered",
        "alarm_s",
        "epoch",
        "history",
        "idle_since_ns",
        "ids",
        "log",
        "places",
        "room",
        "used",
        "waiting",
    )

    def __init__(self, broker: Services, room: str) -> None:
        self.room = room
        self.epoch = ""
        self.history = History(broker.retention)
        self.places = Places(broker.retention.budget)
        self.ids = Ids(broker.retention)
        self.log = RoomLog(broker.me, self.ids, broker.clock, broker.random, broker.limits)
        self.used = False
        self.waiting = 0
        self.idle_since_ns = broker.clock.now_ns()
        self._broker = broker
        self._deliver: Deliver | None = None
        self._lose: Lose | None = None
        self._unanswered = Unanswered(broker.backlog)
        self._opened: list[Callable[[], None]] = []
        self.alarm_s: float | None = None
        self._seeks = Seeks(self.log)
        self._arrived_ns = -(2**62)  # by the steady clock, which may have begun after the log
        self._ended = False

    # --- for a room

    @property
    def head(self) -> int:
        """The ``seq`` of the last message that was accepted; 0 if none was."""
        return self.history.head

    @property
    def oldest(self) -> int:
        """The ``seq`` of the oldest message that is kept, in memory or in the log; ``head + 1`` if none is."""
        return self.history.first

    @property
    def displaced(self) -> int:
        """The ``seq`` of the last message that newer ones took the place of; 0 if there was none."""
        return self.history.displaced

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
        self._unanswered.submit(len(entries), size)
        self.perform(self.log.submit(entries))

    def after_answers(self, callback: Callable[[], None]) -> None:
        """Call back when everything before has been answered; at once, if there is nothing to wait for."""
        if self._unanswered:
            self._unanswered.mark(callback)
        elif self._broker.backlog.full:  # because of other rooms
            self._broker.when_clear(callback)
        else:
            callback()

    def read(self, after: int, count: int, max_bytes: int, deliver: DeliverEvents) -> None:
        """Deliver the messages after a seq: from memory at once, or from the log later."""
        if after + 1 >= self.history.first_in_memory:
            deliver(self.history.after(after, count, max_bytes))
        else:
            stored = Stored(self.room, self.epoch, self.history, self.places)
            self._broker.readings.read(stored, after, count, max_bytes, deliver)

    def release(self) -> None:
        """Keep the order for a while, for clients that come back."""
        self._deliver = self._lose = None
        self.used = False
        self.idle_since_ns = self._broker.clock.now_ns()
        self._broker.released()

    # --- for the broker

    def is_open(self) -> bool:
        """Whether the log was read to its end once."""
        return bool(self.epoch) and not self._opened and (self.log.level or self.used)

    @property
    def unanswered(self) -> int:
        """How many entries, and callbacks after them, wait."""
        return len(self._unanswered)

    def when_open(self, callback: Callable[[], None]) -> None:
        """Call back once, when the log has been read to its end, or will not be."""
        self._opened.append(callback)
        self._open_if_level()

    async def reach(self, after: ResumePoint, patience_s: float) -> None:
        """Wait until the log was read as far as a place that another server told, or surely does not lead there.

        Raises:
            CallError: ``BROKER_UNAVAILABLE``: neither is known in time.
        """
        if self._seeks.leads_to(after):
            return
        found = asyncio.Event()
        seek = Seek(after, found.set)
        try:
            async with asyncio.timeout(patience_s):
                self.perform(self._seeks.add(seek))
                await found.wait()
        except TimeoutError:
            why = "this server cannot read as far in the room's log as you were; try again, or another one"
            raise CallError(ErrorCode.BROKER_UNAVAILABLE, why) from None
        finally:
            self._seeks.remove(seek)

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
                case actions.Append() | actions.Forward():
                    self._broker.carry(self, action)
                case actions.ReadAfter() | actions.ReadEnd() | actions.ReadSince():
                    self._broker.carry(self, action)
                case actions.AskHeads():
                    self._broker.ask_heads(self.room)
                case actions.WakeAt(time_ns):
                    self._wake_at(time_ns)
                case actions.Stopped(reason):
                    self.lose(CallError(ErrorCode.BROKER_UNAVAILABLE, reason))
                case actions.Began(epoch, after):
                    outcomes.append(self._begin(epoch, after))
                case actions.Placed(first, sequence, id_):
                    self.places.add(first, sequence, id_)
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
        if asked := self._seeks.look():
            self.perform(asked)

    @property
    def held(self) -> int:
        """About how many bytes of memory the messages take."""
        return self.history.held

    def shrink(self, held: int) -> None:
        """Drop the oldest messages from memory, until the others take at most ``held`` bytes. The log has them."""
        self.history.unload(held)
        self.places.drop_before(self.history.first)

    def lose(self, error: CallError) -> None:
        """Give the order up."""
        lose, self._lose = self._lose, None
        if lose:
            lose(error)

    def expire(self, now_ns: int) -> None:
        """Drop what has expired."""
        self.history.expire(now_ns)
        self.places.drop_before(self.history.first)
        self.ids.expire(now_ns)

    def end(self) -> None:
        """Stop: nothing is done or delivered any more."""
        self._ended = True
        self._broker.alarms.cancel(self)
        self._unanswered.clear()
        opened, self._opened = self._opened, []
        for callback in opened:
            callback()
        self._seeks.end()

    # --- what follows

    def _begin(self, epoch: str, after: int) -> Began:
        self.epoch = epoch
        self.history = History(self._broker.retention, after)
        self.places = Places(self._broker.retention.budget)
        return Began(epoch, after)

    def _keep(self, accepted: Accepted) -> None:
        """Add messages to the history. They may have been in the log for some time."""
        clock = self._broker.clock
        age_ns = max(0, clock.wall_ns() - accepted.events[0].time_ns)
        self._arrived_ns = max(self._arrived_ns, clock.now_ns() - age_ns)
        self.history.extend(accepted.events, accepted.sizes, self._arrived_ns)
        self.shrink(IN_MEMORY_BYTES)

    def _tell(self, outcomes: Sequence[Outcome]) -> None:
        if self._deliver:
            self._deliver(outcomes)
        self._unanswered.answer(outcomes)
        self._broker.answered()

    def _open_if_level(self) -> None:
        if self._opened and self.epoch and self.log.level:
            opened, self._opened = self._opened, []
            for callback in opened:
                callback()

    def _wake_at(self, time_ns: int) -> None:
        self._broker.alarms.set(self, max(0, time_ns - self._broker.clock.now_ns()) / _NS)

    def tick(self) -> None:
        """Do what is due."""
        self.perform(self.log.tick())


def _by_author(repeated: Repeated) -> Iterable[Repeated]:
    """Divide retries: each outcome is for one author."""
    pairs = zip(repeated.entries, repeated.places, strict=True)
    for _, group in groupby(pairs, lambda pair: pair[0].author.session):
        entries, places = zip(*group, strict=True)
        yield Repeated(entries, places)
