"""What a room has pending, and the flush that puts it into everyone's outbox."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from bcast_grpc.core.answers import Answers
from bcast_grpc.core.batch import Batch, Run
from bcast_grpc.core.clock import SLICE_S, FlushClock, Scheduler
from bcast_grpc.core.feed import Feed
from bcast_grpc.core.limits import Limits, SlowPolicy
from bcast_grpc.core.member import Arrival, Member
from bcast_grpc.core.outbox import Outbox
from bcast_grpc.core.pending import Pending
from bcast_grpc.core.push import Push
from bcast_grpc.core.roster import Roster
from bcast_grpc.core.states import GONE, Move
from bcast_grpc.errors import CallError
from bcast_grpc.events import Entry, Event

NOTICES_SHARE = 1 / 8
"""Notices alone wait for others to join them, so that writing them takes this share of the time: most of it is left for
whoever comes and goes, whose number would otherwise be multiplied by that of the writes."""

PATIENT_FROM = 100
"""In smaller rooms notices are flushed at once."""

MAX_PATIENCE_S = 1.0
"""The longest such wait."""


class _Leaving(NamedTuple):
    """Whose call ends, with which last words, once the runs before ``mark`` have been flushed."""

    member: Member
    answers: Sequence[Event]
    error: CallError | None
    mark: int


class FanOut:
    """Collects what the broker put in order, and pushes it when the clock says so.

    Flushes come from the scheduler's loop alone, one after the other: that keeps the order in every outbox.

    Args:
        epoch: the name of the room's order.

    Attributes:
        clock: is told by each writer when it has written everything.
        answers: what else than messages and notices is queued for whoever asked.
    """

    def __init__(self, epoch: str, roster: Roster, feed: Feed, scheduler: Scheduler, limits: Limits) -> None:
        self._epoch = epoch
        self._roster = roster
        self._feed = feed
        self._limits = limits
        self._pending = Pending(limits.batch_messages, limits.batch_bytes(1))
        self._arriving: set[Member] = set()
        self._leaving: list[_Leaving] = []
        self._waiting: list[Callable[[], None]] = []
        self.answers = Answers(roster.by_session, self._pending)
        self.clock = FlushClock(scheduler, self._flush, self._count_pending, self._patience_s)

    def end(self) -> None:
        """Flush nothing more."""
        self.clock.end()

    @property
    def full(self) -> bool:
        """Whether the next flush has enough to take."""
        return self._pending.full

    def arrive(self, member: Member, seq: int) -> None:
        """Push to a client what is accepted from now on, after the place ``seq``; no notices yet."""
        member.arrival = Arrival(seq, self._pending.mark())
        self._share()

    def give_notices(self, member: Member) -> None:
        """Push notices to a client from now on: the broker has answered all that was published before it came."""
        if member.arrival and member.state is not GONE:
            member.arrival.notices = self._pending.end
            self._arriving.add(member)
            self._end_arrival(member)
            if member.state.fed and member.outbox.idle:
                member.outbox.wake()  # it may have waited for nothing else

    def _end_arrival(self, member: Member) -> None:
        """Give a client every flush if it was to skip something, and that has been flushed now."""
        if member.arrival and member.arrival.is_over(self._pending.first):
            member.arrival = None
            member.move(Move.ARRIVED)
            self._arriving.remove(member)

    def depart(self, member: Member) -> None:
        """Wait for a client's writer no more."""
        self._arriving.discard(member)
        self._share()
        self.clock.forget(member.outbox)

    def _share(self) -> None:
        """The more members there are, the less is pushed to all of them at once."""
        self._pending.batch_bytes = self._limits.batch_bytes(max(1, len(self._roster.by_session)))

    def add_messages(self, entries: Sequence[Entry | None], events: Sequence[Event]) -> None:
        """Push messages to all but their authors, with the next flush that has room for them."""
        self._pending.extend(entries, events)
        self.clock.poke(full=self._pending.full)

    def add_notice(self, notice: Event) -> None:
        """Push a notice to all but its author who want its kind."""
        self._pending.append(Run.of_notice(notice))
        self.clock.poke()

    def when_flushed(self, callback: Callable[[], None]) -> None:
        """Call back once, after the next flush."""
        self._waiting.append(callback)
        self.clock.poke()

    def leave(self, member: Member, answers: Sequence[Event], error: CallError | None) -> None:
        """End a client's call once it has what is pending and what it is fed with; at once, if that is an error's."""
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
        writing_s = members / self.clock.at_once * SLICE_S
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
            for outbox in idle:
                self.clock.set_off(outbox, 0, awaited=False)  # what was flushed, it may read
            push = Push(batch, first, self.clock, self._feed, apart=self._limits.slow_policy is SlowPolicy.DROP)
            push.to(members)
            self._acknowledge(batch.runs, push)
        finally:
            self.answers.release()
            for member in list(self._arriving):
                self._end_arrival(member)
            self._end_calls(leaving)
            for callback in waiting:
                callback()
        return (member.outbox for member in members if not member.outbox.idle and not member.outbox.closed)

    def _acknowledge(self, runs: Sequence[Run], push: Push) -> None:
        """Answer what was asked before the end of this flush."""
        answers: dict[str, list[Event]] = defaultdict(list)
        for place, run in enumerate(runs):
            if run.asked:
                for session, answer in run.answers(self._epoch, *push.reached(place, run)):
                    answers[session].append(answer)
        for session, acks in answers.items():
            member = self._roster.by_session.get(session)
            if member and member.outbox.idle:
                self.clock.join(member.outbox)
            self.answers.give(session, acks)

    def _end_calls(self, leaving: Sequence[_Leaving]) -> None:
        for member, answers, error, _ in leaving:
            if member.state.fed and not error:  # it has fallen behind meanwhile
                self.leave(member, answers, error)
                continue
            member.answer(answers)
            member.move(Move.END)
            self._roster.deafen(member)
            member.outbox.close(error)
