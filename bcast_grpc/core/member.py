"""One client in a room, as the room sees it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby

from bcast_grpc.core.batch import Frame
from bcast_grpc.core.limits import SlowPolicy
from bcast_grpc.core.outbox import Outbox, OutboxClosed
from bcast_grpc.core.replay import Replay
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Author, Event, Kind, Members

logger = logging.getLogger(__name__)

_FEW_MEMBERS = 64

_IN_ORDER = frozenset({Kind.MESSAGE, Kind.PROGRESS})
"""What would be wrong ahead of messages that are still to come: a place to resume from would skip them."""


@dataclass(slots=True, eq=False)
class Member:
    """Who a client is, what it wants, and its outbox.

    Attributes:
        author: who it is to the others.
        outbox: what is queued for it.
        kinds: which kinds of the events that go to all it wants; messages are always among them.
        echo: whether it wants its own messages too.
        reader: whether it only reads (``Subscribe``).
        policy: what becomes of it when its queue is full.
        since_ns: since when it is connected, in nanoseconds since 1970.
        start: the number of the first run that it is to get.
        notices_from: the number of the first run that may be a notice for it: notices from before it came may still be
            behind messages that the broker has not answered.
        arrival: the room's head when it came.
        replay: how far it has been fed from the history, until it is level with the others.
        last_words: what it is to be told when it is level, and then its call ends; None while it stays.
        owed: how many answers to its own requests are still to be queued.
    """

    author: Author
    outbox: Outbox
    kinds: frozenset[Kind] = frozenset({Kind.MESSAGE})
    echo: bool = False
    reader: bool = False
    policy: SlowPolicy = SlowPolicy.DISCONNECT
    since_ns: int = field(default_factory=time.time_ns)
    start: int = 0
    notices_from: float = 0
    arrival: int = 0
    replay: Replay | None = None
    last_words: Sequence[Event] | None = None
    owed: int = 0

    @property
    def backlogged(self) -> bool:
        """Whether more than half of its queue is taken by what is queued and by the answers that are still to come."""
        outbox = self.outbox
        return outbox.half_full or outbox.queued_messages + self.owed > outbox.max_messages // 2

    @property
    def kinds_while_fed(self) -> frozenset[Kind]:
        """Which notices it is given beside what it is fed with from the history."""
        return self.kinds - _IN_ORDER

    def answer(self, answers: Sequence[Event]) -> None:
        """Queue answers to this client's own requests."""
        if not answers:
            return
        self.owed = max(0, self.owed - sum(1 for answer in answers if answer.id and not _goes_on(answer)))
        codec = self.outbox.codec
        for is_list, some in groupby(answers, _is_long):
            if is_list:
                with suppress(OutboxClosed):
                    self.outbox.tell(codec.encode([answer])[0][0] for answer in list(some))
            else:
                self.offer(codec.frames(list(some)), reserve=self.policy is not SlowPolicy.DISCONNECT)

    def offer(self, frames: Sequence[Frame], *, wake: bool = True, reserve: bool = False) -> bool | None:
        """Queue ``frames``; see ``Outbox.offer``. A client whose queue is full is disconnected, unless it may drop.

        Returns:
            False if the queue refused them; None if the client is leaving and gets nothing more.
        """
        outbox = self.outbox
        dropping = outbox.dropping
        try:
            if outbox.offer(frames, wake=wake, drop=self.policy is SlowPolicy.DROP, reserve=reserve):
                if outbox.dropping and not dropping:
                    self.log_slow("the oldest messages are dropped")
                return True
        except OutboxClosed:
            return None
        self.log_slow("disconnected")
        outbox.close(slow_consumer(outbox), discard=True)
        return False

    def try_offer(self, frames: Sequence[Frame], *, wake: bool = True) -> bool | None:
        """As ``offer``, but a client whose queue is full falls behind instead: it is to be fed from the history."""
        outbox = self.outbox
        try:
            return outbox.offer(frames, wake=wake)
        except OutboxClosed:
            return None

    def log_slow(self, what: str) -> None:
        """Log that the client reads too slowly, and what becomes of it."""
        logger.warning(
            "slow consumer: session %s, %d messages queued: %s", self.author.session, self.outbox.queued_messages, what
        )


def _goes_on(answer: Event) -> bool:
    """Whether the next answer belongs to the same request."""
    return isinstance(answer.detail, Members) and answer.detail.more


def _is_long(answer: Event) -> bool:
    """Whether an answer may be more than a queue holds."""
    detail = answer.detail
    return isinstance(detail, Members) and (detail.more or len(detail.members) > _FEW_MEMBERS)


def slow_consumer(outbox: Outbox) -> CallError:
    """Return what ends the call of a client that does not read what is queued for it."""
    last = f"; the last message that was sent to it is {outbox.seq}" if outbox.seq else ""
    return CallError(
        ErrorCode.SLOW_CONSUMER,
        f"this client read too slowly: {outbox.max_messages} messages or {outbox.max_bytes} bytes is what is queued"
        f" for one{last}",
    )
