"""One client in a room, as the room sees it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from itertools import groupby

from bcast_grpc.core.batch import Frame
from bcast_grpc.core.identity import ALL_RIGHTS, ANYONE, Identity, Rights
from bcast_grpc.core.limits import SlowPolicy
from bcast_grpc.core.outbox import Outbox, OutboxClosed
from bcast_grpc.core.presence import Present
from bcast_grpc.core.replay import Replay
from bcast_grpc.core.states import ARRIVING, Move, State
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Author, Event, Kind, Members

logger = logging.getLogger(__name__)

_FEW_MEMBERS = 64


class Offered(Enum):
    """What became of frames that were offered to a member."""

    QUEUED = "they are in its queue"
    BEHIND = "its queue is full, so it is fed from the history, which has them"
    DISCONNECTED = "its queue is full, so its call ends"
    TOO_LATE = "its call is ending already"


@dataclass(slots=True)
class Arrival:
    """Which pending runs were published before a member came, and are not for it.

    Attributes:
        seq: the room's head when it came.
        run: the number of the first run that it gets.
        notices: the number of the first run whose notice it gets; None until the broker has answered everything that
            was published before it came, because notices of earlier joins and departures wait for that.
    """

    seq: int
    run: int
    notices: int | None = None

    def skips(self, first: int, count: int) -> tuple[int, int]:
        """Return how many of the ``count`` runs from number ``first`` on it skips: for messages, and for notices."""
        notices = count if self.notices is None else min(max(0, self.notices - first), count)
        return max(0, self.run - first), notices

    def is_over(self, next_run: int) -> bool:
        """Whether no run from ``next_run`` on is to be skipped."""
        return self.notices is not None and max(self.run, self.notices) <= next_run


@dataclass(slots=True, eq=False)
class Member:
    """Who a client is, what it wants, and its outbox.

    Attributes:
        author: who it is for the others.
        outbox: what is queued for it.
        kinds: which kinds of the events that go to all members it gets; messages are always among them.
        echo: whether it wants its own messages too.
        reader: whether it only reads (``Subscribe``).
        policy: what happens to it when its queue is full.
        since_ns: when it connected, in nanoseconds since 1970.
        state: determines what it gets.
        arrival: which pending runs it skips; None once those have been flushed.
        replay: how far it has been fed from the history, while it is FED.
        last_words: the events that it gets once it has caught up, before its call ends; None while it stays.
        owed: how many answers to its own requests are still to be queued.
        identity: who it is for the server.
        rights: what it may do in its room.
        wants: which kinds of events it asked for; ``kinds`` are those of them that it has a right to.
        network: the address that limits count it under; empty if no limits apply.
        asked: its number in the order in which clients asked to come in.
    """

    author: Author
    outbox: Outbox
    kinds: frozenset[Kind] = frozenset({Kind.MESSAGE})
    echo: bool = False
    reader: bool = False
    policy: SlowPolicy = SlowPolicy.DISCONNECT
    since_ns: int = field(default_factory=time.time_ns)
    state: State = ARRIVING
    arrival: Arrival | None = None
    replay: Replay | None = None
    last_words: Sequence[Event] | None = None
    owed: int = 0
    identity: Identity = ANYONE
    rights: Rights = ALL_RIGHTS
    wants: frozenset[Kind] = frozenset()
    network: str = ""
    asked: int = 0

    def admit_as(self, identity: Identity, rights: Rights, wants: frozenset[Kind]) -> None:
        """Note who the client is, what it may do, and which kinds of events it asked for."""
        self.identity, self.rights, self.wants = identity, rights, wants

    def move(self, move: Move) -> None:
        """Change the client's state, because of what happened to it."""
        self.state = self.state.after(move)

    @property
    def present(self) -> Present:
        """What all servers know of it."""
        return Present(self.author, self.since_ns, self.reader, self.asked)

    @property
    def backlogged(self) -> bool:
        """Whether what is queued and the answers that are still to come fill more than half of its queue."""
        outbox = self.outbox
        return outbox.half_full or outbox.queued_messages + self.owed > outbox.max_messages // 2

    @property
    def held_bytes(self) -> int:
        """How many bytes are held until it has read them: queued, or taken from the queue or the history to be written.

        All end with its call, however little of that is in the queue.
        """
        outbox, replay = self.outbox, self.replay
        return outbox.queued_bytes + len(outbox.writing) + (replay.frames_bytes if replay else 0)

    def answer(self, answers: Sequence[Event]) -> None:
        """Queue answers to this client's own requests."""
        if not answers or not self.state.answered:
            return
        encoder = self.outbox.encoder
        kinds = [answer[0] for answer in answers]
        if not (only_acks := kinds.count(Kind.ACK) == len(kinds)):
            self.outbox.counts.told(answers)
        if only_acks or Kind.MEMBERS not in kinds:  # almost always
            self.owed = max(0, self.owed - len([answer for answer in answers if answer[6]]))
            self.offer(encoder.frames(answers))
            return
        self.owed = max(0, self.owed - sum(1 for answer in answers if answer.id and not _goes_on(answer)))
        for is_list, some in groupby(answers, _is_long):
            if is_list:
                with suppress(OutboxClosed):
                    self.outbox.tell(encoder.encode([answer])[0][0] for answer in list(some))
            else:
                self.offer(encoder.frames(list(some)))

    def offer(self, frames: Sequence[Frame], *, in_history: bool = False, wake: bool = True) -> Offered:
        """Queue ``frames``. Here, and only here, is decided what happens to a client that reads too slowly.

        Args:
            frames: all or none of them are queued.
            in_history: whether the messages in them are in the history, so that the client can be fed with them later.
            wake: see ``Outbox.offer``.
        """
        outbox, policy = self.outbox, self.policy
        dropping = outbox.dropping
        may_fall_behind = in_history and policy is SlowPolicy.CATCH_UP
        reserve = policy is not SlowPolicy.DISCONNECT and not may_fall_behind
        try:
            if outbox.offer(frames, wake=wake, drop=policy is SlowPolicy.DROP, reserve=reserve):
                if outbox.dropping and not dropping:
                    self._note_slow("dropping the oldest messages")
                return Offered.QUEUED
        except OutboxClosed:
            return Offered.TOO_LATE
        if may_fall_behind:
            self._note_slow("fed from the history")
            return Offered.BEHIND
        self.disconnect()
        return Offered.DISCONNECTED

    def begin_anew(self, frames: Sequence[Frame], seq: int) -> bool:
        """Queue the news of a new order, which has come to ``seq``, if there is room; return whether there was."""
        if self.policy is SlowPolicy.DROP:
            self.outbox.drop_messages(seq)  # a GAP for some of them could not tell the two orders apart
        try:
            return self.outbox.offer(frames, wake=False)
        except OutboxClosed:
            return True

    def disconnect(self, why: str = "") -> None:
        """End the client's call, since it reads too slowly; what is queued for it is dropped."""
        self._note_slow("disconnected")
        self.outbox.close(slow_consumer(self.outbox, why), discard=True)
        self.move(Move.END)

    def _note_slow(self, what: str) -> None:
        self.outbox.counts.slow += 1
        logger.warning(
            "slow consumer: session %s, %d messages queued: %s", self.author.session, self.outbox.queued_messages, what
        )


def _goes_on(answer: Event) -> bool:
    """Whether the next answer belongs to the same request."""
    return isinstance(answer.detail, Members) and answer.detail.more


def _is_long(answer: Event) -> bool:
    """Whether an answer may be too long for a queue."""
    detail = answer.detail
    return isinstance(detail, Members) and (detail.more or len(detail.members) > _FEW_MEMBERS)


def slow_consumer(outbox: Outbox, why: str = "") -> CallError:
    """Return the error that ends the call of a client that does not read what is queued for it.

    Args:
        outbox: its queue.
        why: the limit that was reached; if empty, one of the queue itself.
    """
    why = why or f"its queue reached the limit of {outbox.max_messages} messages or {outbox.max_bytes} bytes"
    last = f"; the last message sent to it is {outbox.seq}" if outbox.seq else ""
    return CallError(ErrorCode.SLOW_CONSUMER, f"this client read too slowly: {why}{last}")
