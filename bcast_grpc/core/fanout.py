"""What a room has pending, and the flush that puts it into the members' outboxes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from bcast_grpc.broker.base import Accepted, Began
from bcast_grpc.core.answers import Answers
from bcast_grpc.core.batch import Batch, Run
from bcast_grpc.core.clock import FlushClock
from bcast_grpc.core.feed import Feed
from bcast_grpc.core.limits import Limits, SlowPolicy
from bcast_grpc.core.member import Arrival, Member
from bcast_grpc.core.outbox import Outbox
from bcast_grpc.core.pending import Pending
from bcast_grpc.core.push import Push
from bcast_grpc.core.roster import Roster
from bcast_grpc.core.scheduling import Scheduler
from bcast_grpc.core.slices import SLICE_S
from bcast_grpc.core.states import GONE, Move
from bcast_grpc.errors import CallError
from bcast_grpc.events import Event

NOTICES_SHARE = 1 / 8
"""Notices alone wait for more notices, so that writing them takes this share of the time. Otherwise a flood of joins
would cost a write to each member for each join."""

PATIENT_FROM = 100
"""Notices wait only in rooms with at least so many members."""

MAX_PATIENCE_S = 1.0
"""The longest time that notices wait."""


class _Leaving(NamedTuple):
    """A member whose call ends, with ``answers`` as its last events, once the runs before ``mark`` are flushed."""

    member: Member
    answers: Sequence[Event]
    error: CallError | None
    mark: int


class FanOut:
    """Collects the messages that the broker has put in order, and pushes them when the clock says so.

    Flushes run in the scheduler's loop, one after the other, which keeps the order in every outbox.

    Args:
        epoch: the name of the room's order.

    Attributes:
        clock: decides when to flush; writers report to it when they have written everything.
        answers: queues the answers to requests, in order.
    """

    __slots__ = (
        "_arriving",
        "_epoch",
        "_feed",
        "_leaving",
        "_limits",
        "_pending",
        "_roster",
        "_waiting",
        "answers",
        "clock",
    )

    def __init__(self, epoch: str, roster: Roster, feed: Feed, scheduler: Scheduler, limits: Limits) -> None:
        self._epoch = epoch
        self._roster = roster
        self._feed = feed
        self._limits = limits
        self._pending = Pending(limits.batch_messages, limits.batch_bytes(1))
        self._arriving: dict[Member, None] = {}
        self._leaving: list[_Leaving] = []
        self._waiting: list[Callable[[], None]] = []
        self.answers = Answers(roster.by_session, self._pending)
        self.clock = FlushClock(scheduler, self._flush, self._count_pending, self._patience_s)

    def end(self) -> None:
        """Stop flushing."""
        self.clock.end()

    @property
    def full(self) -> bool:
        """Whether as much is pending as one flush can take."""
        return self._pending.full

    def arrive(self, member: Member, seq: int) -> None:
        """Push to a client the messages that are accepted from now on, after ``seq``; no notices yet."""
        member.arrival = Arrival(seq, self._pending.mark())
        self._share()

    def give_notices(self, member: Member) -> None:
        """Push notices to a client from now on: the broker has answered all that was published before it came."""
        if member.arrival and member.state is not GONE:
            member.arrival.notices = self._pending.end
            self._arriving[member] = None
            self._end_arrival(member)
            if member.state.fed and member.outbox.idle:
                member.outbox.wake()  # its writer may have waited for this alone

    def _end_arrival(self, member: Member) -> None:
        """Give a client every flush from now on, if the runs that it skips have been flushed."""
        if member.arrival and member.arrival.is_over(self._pending.first):
            member.arrival = None
            member.move(Move.ARRIVED)
            del self._arriving[member]

    def depart(self, member: Member) -> None:
        """Stop waiting for a client's writer."""
        self._arriving.pop(member, None)
        self._share()
        self.clock.forget(member.outbox)

    def _share(self) -> None:
        """The more members there are, the less is pushed to all of them at once."""
        self._pending.batch_bytes = self._limits.batch_bytes(max(1, len(self._roster.by_session)))

    def add_messages(self, accepted: Accepted) -> None:
        """Push messages to everyone but their authors, with the next flush that has room for them."""
        self._pending.extend(*accepted)
        self.clock.poke(full=self._pending.full)

    def add_notice(self, notice: Event) -> None:
        """Push a notice to everyone but its author who wants its kind."""
        self._pending.append(Run.of_notice(notice))
        self.clock.poke()

    def begin_anew(self, began: Began) -> None:
        """Change to a new order, once everything of the old one has been flushed."""
        self._pending.append(Run.of_beginning(began.epoch))
        self._feed.begin_anew(began.head)
        self.clock.poke()

    def when_flushed(self, callback: Callable[[], None]) -> None:
        """Call back once, after the next flush."""
        self._waiting.append(callback)
        self.clock.poke()

    def leave(self, member: Member, answers: Sequence[Event], error: CallError | None) -> None:
        """End a client's call once it has got what is pending and, without an ``error``, what it is fed."""
        if member.state is GONE:
            return
        member.move(Move.LEAVE)
        if member.state.fed and not error:
            member.last_words = answers
            return
        member.last_words = None
        self._leaving.append(_Leaving(member, answers, error, self._pending.mark()))
        self.clock.poke()

    def _count_pending(self) -> int:
        return self._pending.messages or len(self._leaving) + len(self._waiting)

    def _patience_s(self) -> float:
        members = len(self._roster.by_session)
        if members < PATIENT_FROM or not self._pending.only_notices or self._pending.full:
            return 0
        if self._leaving or self._waiting:
            return 0
        writing_s = members / self.clock.slice.writers * SLICE_S
        return min(writing_s / NOTICES_SHARE, MAX_PATIENCE_S)

    def _flush(self) -> Iterator[Outbox]:
        self.answers.hold()
        first = self._pending.first
        batch = Batch(self._pending.take())
        if batch.last_seq is not None:
            self._feed.flushed(batch.last_seq)
        members = self._roster.audience(batch.kinds)
        idle = list(self._feed.idle())
        waiting, self._waiting = self._waiting, []
        leaving = [one for one in self._leaving if one.mark <= self._pending.first]
        self._leaving = [one for one in self._leaving if one.mark > self._pending.first]
        try:
            if batch.begins:
                self._epoch = batch.begins
                idle += self._feed.old_order_flushed(self._roster.by_session.values(), first)
            for outbox in idle:
                self.clock.set_off(outbox, 0, awaited=False)  # it may read up to what this flush pushes
            push = Push(batch, first, self.clock, self._feed, apart=self._limits.slow_policy is SlowPolicy.DROP)
            push.to(members)
            self.clock.slice.encode(lambda: self._acknowledge(batch.runs, push))
        finally:
            self.answers.release()
            for member in list(self._arriving):
                self._end_arrival(member)
            self._end_calls(leaving)
            for callback in waiting:
                callback()
        return (member.outbox for member in members if not member.outbox.idle and not member.outbox.closed)

    def _acknowledge(self, runs: Sequence[Run], push: Push) -> None:
        """Send the acks and other answers that belong to the flushed runs."""
        answers: dict[str, list[Event]] = defaultdict(list)
        for place, run in enumerate(runs):
            if run.asked:
                for session, some in run.answers(self._epoch, *push.reached(place, run)):
                    answers[session] += some
        for session, acks in answers.items():
            member = self._roster.by_session.get(session)
            if member and member.outbox.idle:
                self.clock.join(member.outbox)
            self.answers.give(session, acks)

    def _end_calls(self, leaving: Sequence[_Leaving]) -> None:
        for member, answers, error, _ in leaving:
            if member.state.fed and not error:  # it has fallen behind in this flush
                self.leave(member, answers, error)
                continue
            member.answer(answers)
            member.move(Move.END)
            self._roster.deafen(member)
            member.outbox.close(error)
