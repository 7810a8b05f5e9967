"""The order of one room in a store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from bcast_grpc.broker.base import Accepted, Deliver, DeliverEvents, Lose, Outcome
from bcast_grpc.broker.history import History
from bcast_grpc.broker.order import accepted
from bcast_grpc.events import Entry

if TYPE_CHECKING:
    from bcast_grpc.broker.sqlite.broker import SqliteBroker

IN_MEMORY_BYTES = 2 * 1024 * 1024
"""How much memory the newest messages of one order use at most; older ones are read from the file."""


class Publish(NamedTuple):
    """Entries to be put in order, and when they arrived: by the steady clock and by the wall clock."""

    order: StoredOrder
    entries: Sequence[Entry]
    now_ns: int
    wall_ns: int
    bytes: int


class Marker(NamedTuple):
    """A call to be made when everything before it has been answered."""

    order: StoredOrder
    callback: Callable[[], None]


class StoredOrder:
    """An ``Order`` whose entries get their ``seq`` when they are written.

    The writer's thread owns ``row``, ``written`` and ``trimmed``, and reads ``oldest``. The loop owns everything else.

    Attributes:
        room: the room's name.
        epoch: the name of this order.
        history: the messages that are kept, up to the last one that was accepted.
        oldest: the ``seq`` of the oldest of them.
        ids_until_ns: until when the file may remember an id, by the steady clock.
        unanswered: how many publishes and markers have not been answered.
        row: its row in the file; 0 until it has one.
        written: the last ``seq`` that was written.
        trimmed: the messages up to this ``seq`` have been deleted from the file.
    """

    def __init__(
        self, broker: SqliteBroker, room: str, epoch: str, history: History, row: int = 0, ids_until_ns: int = 0
    ) -> None:
        self._broker = broker
        self.room = room
        self.epoch = epoch
        self.history = history
        self.oldest = history.first
        self.ids_until_ns = ids_until_ns
        self.unanswered = 0
        self.row = row
        self.written = history.head
        self.trimmed = 0
        self._deliver: Deliver | None = None

    @property
    def head(self) -> int:
        """The ``seq`` of the last message that was accepted; 0 if none was."""
        return self.history.head

    @property
    def displaced(self) -> int:
        """The ``seq`` of the last message that newer ones took the place of; 0 if there was none."""
        return self.history.displaced

    @property
    def full(self) -> bool:
        """Whether the writer has enough to do for some time."""
        return self._broker.backlog.full

    def begin(self, deliver: Deliver, _: Lose) -> None:
        """Call ``deliver`` with outcomes from now on."""
        self._deliver = deliver
        self._broker.in_use(self)

    def submit(self, entries: Sequence[Entry]) -> None:
        """Queue entries to be written. The outcomes are delivered afterwards."""
        self.unanswered += 1
        self._broker.submit(self, entries)

    def after_answers(self, callback: Callable[[], None]) -> None:
        """Call back when everything before has been written or refused; at once, if there is nothing to wait for."""
        if self.unanswered or self.full:  # other rooms may have filled the backlog
            self.unanswered += 1
            self._broker.mark(self, callback)
        else:
            callback()

    def read(self, after: int, count: int, max_bytes: int, deliver: DeliverEvents) -> None:
        """Deliver the messages after a seq: from memory at once, or from the file later."""
        if after + 1 >= self.history.first_in_memory:
            deliver(self.history.after(after, count, max_bytes))
        else:
            self._broker.read(self, after, count, max_bytes, deliver)

    def release(self) -> None:
        """Keep the order in memory, for clients that come back soon."""
        self._deliver = None
        self._broker.released(self)

    def answer(self, outcomes: Sequence[Outcome], now_ns: int, window_ns: int) -> None:
        """Add what was written to the history, and deliver all outcomes to the room.

        Args:
            outcomes: the outcomes of one publish.
            now_ns: when it arrived, by the steady clock.
            window_ns: how long an id is remembered.
        """
        for _, events, sizes in accepted(outcomes):
            self.history.extend(events, sizes, now_ns)
        if any(_has_ids(outcome) for outcome in accepted(outcomes)):
            self.ids_until_ns = now_ns + window_ns
        self.history.unload(IN_MEMORY_BYTES)
        self.oldest = self.history.first
        if self._deliver:
            self._deliver(outcomes)

    def expire(self, now_ns: int) -> None:
        """Drop what has expired."""
        self.history.expire(now_ns)
        self.oldest = self.history.first

    @property
    def held(self) -> int:
        """About how many bytes of memory the messages take."""
        return self.history.held

    def shrink(self, held: int) -> None:
        """Drop the oldest messages from memory, until the others take at most ``held`` bytes."""
        self.history.unload(held)

    def is_over(self, now_ns: int) -> bool:
        """Whether there is nothing left to resume from: no messages, no ids, and nothing to be answered."""
        return not len(self.history) and now_ns >= self.ids_until_ns and not self.unanswered


def _has_ids(outcome: Accepted) -> bool:
    return any(entry.id for entry in outcome.entries if entry)
