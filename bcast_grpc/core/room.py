"""One room: its members, what is pending, and the flush that puts it into everyone's outbox."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf
from typing import NamedTuple

from bcast_grpc import events
from bcast_grpc.broker.base import Broker
from bcast_grpc.core import notices
from bcast_grpc.core.batch import Batch, Codec, Frame, Run, View
from bcast_grpc.core.clock import MAX_PATIENCE_S, PATIENCE_EACH_S, PATIENT_FROM, FlushClock, Scheduler
from bcast_grpc.core.limits import Limits, SlowPolicy
from bcast_grpc.core.member import Member
from bcast_grpc.core.pending import Pending
from bcast_grpc.core.replay import Replay, Replays
from bcast_grpc.core.roster import Roster
from bcast_grpc.errors import BcastError, CallError, ErrorCode
from bcast_grpc.events import NOBODY, Ack, Author, Entry, Event, GapReason, Kind, Place, Position


class _Tally(NamedTuple):
    """How many members of one view took their batch, and how many refused it."""

    view: View
    queued: int
    refused: int


class Room:
    """Takes what its broker put in order, and gives it to everyone but the author.

    The members and what is pending are guarded by the hub's lock, so they may change in any thread. Flushes come from
    the scheduler's loop alone, one after the other: that keeps the order in every outbox.

    Args:
        lock: the hub's; ``add``, ``remove``, ``attach``, ``detach`` and ``tell`` are called with it held.

    Attributes:
        holds: how many clients have been admitted and are not in yet: the room stays open for them.
    """

    def __init__(self, name: str, broker: Broker, scheduler: Scheduler, limits: Limits, lock: threading.RLock) -> None:
        self.name = name
        self.holds = 0
        self._roster = Roster()
        self._answerers: dict[str, Callable[[Sequence[Event]], None]] = {}
        self._broker = broker
        self._ended = False
        self._lock = lock
        self._limits = limits
        self._clock = FlushClock(scheduler, self._flush, self._count_pending, self._patience_s, lock)
        self._pending = Pending(limits.batch_messages, limits.batch_bytes(1))
        self._leaving: list[_Leaving] = []
        self._waiting: list[Callable[[], None]] = []
        self._flushing = False
        self._late: list[tuple[str, Sequence[Event]]] = []  # answers that came while a flush was going on
        self._order = broker.open(name, self)
        self._flushed = self._order.history.head  # what the last flush has pushed
        self._replays = Replays(self._order.history)
        self._fed: set[Member] = set()

    def end(self) -> None:
        """Let the broker forget the room, when nobody needs it any more."""
        self._ended = True
        self._clock.end()
        self._broker.forget(self.name)

    @property
    def lock(self) -> threading.RLock:
        """The hub's."""
        return self._lock

    @property
    def members(self) -> Mapping[str, Member]:
        """Who is here, by public session id."""
        return self._roster.by_session

    @property
    def head(self) -> Position:
        """The place of the last message that was accepted."""
        return Position(self._order.epoch, self._order.history.head)

    @property
    def replay_bytes(self) -> int:
        """About how much is held for those who are fed from the history, in one wire format."""
        return self._replays.bytes + sum(member.replay.frames_bytes for member in self._fed if member.replay)

    @property
    def empty(self) -> bool:
        """Whether nobody needs this room any more."""
        return not self.members and not self._answerers and not self.holds

    def add(self, member: Member, after: Position | None = None, history: int = 0) -> None:
        """Let a client in: it gets what is accepted from now on, its welcome first.

        Args:
            member: the client.
            after: where it wants to go on: it gets what came after that, or a ``GAP`` for what is not kept.
            history: otherwise: how many of the last messages it gets.
        """
        self._roster.add(member)
        self._pending.batch_bytes = self._limits.batch_bytes(len(self.members))
        member.start = self._pending.mark()
        member.notices_from = inf
        self._broker.settle(partial(self._give_notices, member))
        gap = self._begin_replay(member, after, history)
        if Kind.WELCOME in member.kinds:
            resumed = after is not None and gap is None
            member.answer([notices.welcome(member.author, self.name, self.head, len(self.members), resumed=resumed)])
        if gap:
            member.answer([gap])

    def _give_notices(self, member: Member) -> None:
        """Give a client notices from now on: it came when the broker was asked what it has answered now."""
        with self._lock:
            member.notices_from = self._pending.end

    def _begin_replay(self, member: Member, after: Position | None, history: int) -> Event | None:
        """Have a client fed from the history, if it wants to; return the ``GAP`` that it is to be told of first."""
        kept, head = self._order.history.first, self._order.history.head
        member.arrival = member.outbox.seq = head
        if after is None:
            cursor = max(head - history, kept - 1) if history else head
            gap = None
        elif after.epoch != self._order.epoch or after.seq > head:  # a place that is not there yet: the order went back
            cursor, gap = kept - 1, notices.gap(0, 0, GapReason.NEW_EPOCH)
        elif after.seq + 1 < kept:
            cursor, gap = kept - 1, notices.gap(after.seq + 1, kept - 1, GapReason.TRIMMED)
        else:
            cursor, gap = after.seq, None
        if cursor < head:
            member.replay = Replay(cursor)
            self._fed.add(member)
        return gap

    def feed(self, member: Member) -> bytes | None:
        """Return the next frame from the history for a client that is fed from it, until it is level."""
        with self._lock:
            replay = member.replay
            if replay is None or member.outbox.closed:
                return None
            while not replay.frames and replay.cursor < self._flushed:
                self._replays.read(replay, self._flushed, member.outbox.codec, member.author, echo=member.echo)
            if frame := replay.take():
                return frame
            if replay.cursor >= self._flushed and member.start <= self._pending.first:
                member.outbox.seq = replay.cursor
                self._level(member)
        return None

    def _level(self, member: Member) -> None:
        """Let a client that was fed from the history get the next flush like all the others."""
        member.replay, member.start = None, 0
        leave, member.leaving = member.leaving, None
        if leave:
            leave()
        self._fed_no_more(member)

    def _fed_no_more(self, member: Member) -> None:
        self._fed.discard(member)
        if not self._fed:
            self._replays.forget()

    def replaced_by(self, member: Member) -> Member | None:
        """Return the member with the same ``bcast-client``, whose place ``member`` would take."""
        return self._roster.with_client(member.author.key, reader=member.reader)

    def remove(self, member: Member) -> bool:
        """Let a client out; return False if it was out already."""
        if not self._roster.remove(member):
            return False
        self._pending.batch_bytes = self._limits.batch_bytes(max(1, len(self.members)))
        self._fed_no_more(member)
        return True

    def attach(self, author: Author, answer: Callable[[Sequence[Event]], None]) -> None:
        """Give the answers for an author that holds no stream to ``answer``, until ``detach``."""
        self._answerers[author.session] = answer

    def detach(self, author: Author) -> None:
        """Forget an author that was attached."""
        self._answerers.pop(author.session, None)

    def tell(self, notice: Event) -> None:
        """Put a notice behind what was published before it, for everyone else who wants its kind."""
        if self._roster.wants(notice.kind, notice.author):  # who comes later is not told of it
            self._broker.settle(partial(self._append, notice))

    def report_progress(self) -> None:
        """Tell every client that wants to know how far the order has come."""
        if self._roster.wants(Kind.PROGRESS, NOBODY):
            self._append(notices.progress(self.head))  # at once: behind later messages it would be a place gone back

    def _append(self, notice: Event) -> None:
        with self._lock:
            self._pending.append(Run.of_notice(notice))
            self._clock.poke()

    def present(self) -> list[events.Member]:
        """Return who is here, in the order of arrival."""
        with self._lock:
            return [events.Member(m.author.session, m.author.name, m.since_ns) for m in self.members.values()]

    @property
    def congested(self) -> bool:
        """Whether so much is pending, or not answered by the broker, that intake should wait for the next flush."""
        return self._pending.full or self._broker.congested

    def when_flushed(self, callback: Callable[[], None]) -> None:
        """Call back once, from the scheduler's loop, after the next flush; or that of what the broker has to answer."""
        with self._lock:
            if self._broker.congested:
                self._broker.settle(partial(self._await_flush, callback))
            else:
                self._await_flush(callback)

    def _await_flush(self, callback: Callable[[], None]) -> None:
        with self._lock:
            self._waiting.append(callback)
            self._clock.poke()

    def publish(self, entries: Sequence[Entry]) -> None:
        """Hand entries to the broker.

        Raises:
            BcastError: ``BROKER_UNAVAILABLE``, for all of them; ``INTERNAL`` after the room's end.
        """
        with self._lock:
            if self._ended:  # the next room of this name is another one
                raise CallError(ErrorCode.INTERNAL, f"everyone has left {self.name}")
            self._broker.publish(self.name, entries)

    def accepted(self, entries: Sequence[Entry], events: Sequence[Event]) -> None:
        """Take entries that the broker put in order."""
        with self._lock:
            self._pending.extend(entries, events)
            self._clock.poke(full=self._pending.full)

    def repeated(self, entry: Entry, place: Place) -> None:
        """Acknowledge an entry that has its place already."""
        ack = Ack(place.seq, self._order.epoch, duplicate=True)
        self._answer_in_turn(entry.author.session, lambda: [notices.sent(ack, entry.id, place.time_ns)])

    def refused(self, entries: Sequence[Entry], error: BcastError) -> None:
        """Tell the authors of entries that the broker could not take."""
        for entry in entries:
            self._answer_in_turn(entry.author.session, partial(_refusal, error, entry.id))

    def answer(self, session: str, make: Callable[[], Sequence[Event]]) -> None:
        """Give a client the answers that ``make`` returns, behind those to all that it asked for before."""
        with self._lock:
            self._broker.settle(partial(self._answer_in_turn, session, make))

    def _answer_in_turn(self, session: str, make: Callable[[], Sequence[Event]]) -> None:
        """Answer behind the acks of what is pending, and of what is being flushed."""
        with self._lock:
            answers = make()
            if self._pending.attach(session, answers):
                return
            if self._flushing:
                self._late.append((session, answers))
            else:
                self._answer(session, answers)

    def leave(self, member: Member, answers: Sequence[Event], error: CallError | None = None) -> None:
        """End a client's call once it was given what is pending and what it is fed, and ``answers`` after that."""
        with self._lock:
            self._broker.settle(partial(self._leave, member, answers, error))

    def _leave(self, member: Member, answers: Sequence[Event], error: CallError | None) -> None:
        with self._lock:
            if member.replay and not error:
                member.leaving = partial(self._leave, member, answers, error)
                return
            self._leaving.append(_Leaving(member, answers, error, self._pending.mark()))
            self._clock.poke()

    def written(self, member: Member) -> None:
        """Say that everything queued for a client has been written."""
        round_, member.round = member.round, 0
        self._clock.written(round_)

    def _count_pending(self) -> int:
        return self._pending.messages or len(self._leaving) + len(self._waiting)

    def _patience_s(self) -> float:
        members = len(self.members)
        if members < PATIENT_FROM or not self._pending.only_notices or self._pending.full:
            return 0
        if self._leaving or self._waiting:
            return 0
        return min(members * PATIENCE_EACH_S, MAX_PATIENCE_S)

    def _flush(self, round_: int) -> int:
        with self._lock:
            self._flushing = True
            first = self._pending.first
            batch = Batch(self._pending.take())
            self._flushed = batch.last_seq or self._flushed
            members = self._roster.audience(run.kind for run in batch.runs)
            fed = list(self._fed)
            waiting, self._waiting = self._waiting, []
            ready = [leaving for leaving in self._leaving if leaving.mark <= self._pending.first]
            self._leaving = [leaving for leaving in self._leaving if leaving.mark > self._pending.first]
        for member in fed:
            if member.outbox.idle:
                self._clock.set_off(member.outbox.wake, 0)  # what was flushed, it may read
        try:
            tallies, writers = self._push(batch, first, members, round_)
            writers += self._acknowledge(batch.runs, tallies, round_)
        finally:
            self._answer_late()
        for member, answers, error, _ in ready:
            if member.replay and not error:  # it has fallen behind meanwhile
                self._leave(member, answers, error)
            else:
                member.answer(answers)
                member.outbox.close(error)
                self._end_hearing(member)
        for callback in waiting:
            callback()
        return writers or self._await_busy(members, round_)

    def _end_hearing(self, member: Member) -> None:
        with self._lock:
            self._roster.deafen(member)

    def _await_busy(self, members: Sequence[Member], round_: int) -> int:
        """Where all who were offered something are still writing, let the round last until the first of them is done.

        Otherwise flush would follow flush at once, until all queues are full. Returns 1 if there is such a one.
        """
        busy = [member for member in members if not member.outbox.idle and not member.outbox.closed]
        for member in busy:
            member.begin_round(round_)
        return min(1, len(busy))

    def _push(self, batch: Batch, first: int, members: Sequence[Member], round_: int) -> tuple[list[_Tally], int]:
        """Offer to every member what it is to get; return how that went, and how many writers it set off."""
        authors = set(batch.keys)
        views: dict[View, list[Member]] = defaultdict(list)
        fed: Counter[View] = Counter()
        for member in members:
            key = member.author.key
            is_author = key in authors
            if member.replay:
                fed[View(own_key=key if is_author else None)] += 1
                view = self._view_of_fed(batch, member, first)
            else:
                view = View(
                    member.start - first if member.start > first else 0,
                    key if is_author else None,
                    is_author and member.echo,
                    None if batch.only_messages else member.kinds,
                    self._notices_to_skip(batch, member, first),
                )
            if view and view.skip < len(batch.runs):
                views[view].append(member)
        tallies = [_Tally(view, count, 0) for view, count in fed.items()]
        writers = 0
        for view, group in views.items():
            tally, started = self._offer(batch, view, group, round_)
            tallies.append(tally)
            writers += started
        return tallies, writers

    def _view_of_fed(self, batch: Batch, member: Member, first: int) -> View | None:
        """Return which notices a client is to see that is fed with messages from the history; None: there are none."""
        if batch.only_messages:
            return None
        return View(
            max(0, member.start - first),
            member.author.key,
            kinds=member.kinds_while_fed,
            skip_notices=self._notices_to_skip(batch, member, first),
        )

    def _notices_to_skip(self, batch: Batch, member: Member, first: int) -> int:
        if batch.only_messages or member.notices_from <= first:
            return 0
        return int(min(member.notices_from - first, len(batch.runs)))

    def _offer(self, batch: Batch, view: View, group: Sequence[Member], round_: int) -> tuple[_Tally, int]:
        frames: dict[Codec, Sequence[Frame]] = {}
        sizes: dict[Codec, int] = {}
        policy = self._limits.slow_policy
        any_messages = batch.last_seq and (view.kinds is None or Kind.MESSAGE in view.kinds)
        writers = queued = refused = 0
        for member in group:
            outbox = member.outbox
            codec = outbox.codec
            if codec not in frames:
                frames[codec] = batch.frames(codec, view, apart=policy is SlowPolicy.DROP)
                sizes[codec] = sum(len(data) for data, _, _ in frames[codec])
            if not frames[codec]:
                continue
            idle = outbox.idle
            if policy is SlowPolicy.CATCH_UP and any_messages:
                taken = member.try_offer(frames[codec], wake=False)
                if taken is False:
                    self._fall_behind(batch, view, member)
            else:
                taken = member.offer(frames[codec], wake=False, reserve=policy is not SlowPolicy.DISCONNECT)
            if taken:
                queued += 1
                if idle:
                    writers += member.begin_round(round_)
                    self._clock.set_off(outbox.wake, sizes[codec])
            elif taken is False:
                refused += 1
        return _Tally(view, queued, refused), writers

    def _fall_behind(self, batch: Batch, view: View, member: Member) -> None:
        """Feed a client whose queue is full from the history, and give it the notices, which are not in there."""
        member.fall_behind(max(batch.first_seq - 1, member.arrival))
        self._fed.add(member)
        notices_only = view._replace(own_key=member.author.key, kinds=member.kinds_while_fed)
        if frames := batch.frames(member.outbox.codec, notices_only):
            member.offer(frames, wake=False, reserve=True)

    def _acknowledge(self, runs: Sequence[Run], tallies: Sequence[_Tally], round_: int) -> int:
        """Answer what was asked before the end of this flush, and return how many further writers that set off."""
        answers: dict[str, list[Event]] = defaultdict(list)
        for place, run in enumerate(runs):
            if run.asked:
                others = [t for t in tallies if t.view.skip <= place and t.view.own_key != run.author.key]
                queued, refused = sum(t.queued for t in others), sum(t.refused for t in others)
                for session, answer in run.answers(self._order.epoch, queued, refused):
                    answers[session].append(answer)
        writers = 0
        for session, acks in answers.items():
            member = self.members.get(session)
            idle = member is not None and member.outbox.idle
            self._answer(session, acks)
            writers += member.begin_round(round_) if member and idle else 0
        return writers

    def _answer_late(self) -> None:
        """Answer what came while the flush was going on."""
        with self._lock:
            self._flushing = False
            late, self._late = self._late, []
            for session, answers in late:
                self._answer(session, answers)

    def _answer(self, session: str, answers: Sequence[Event]) -> None:
        if member := self.members.get(session):
            member.answer(answers)
        elif answer := self._answerers.get(session):
            answer(answers)


def _refusal(error: BcastError, request_id: str) -> Sequence[Event]:
    return [notices.error(error, request_id)]


class _Leaving(NamedTuple):
    """Whose call ends, with which last words, once the runs before ``mark`` have been flushed."""

    member: Member
    answers: Sequence[Event]
    error: CallError | None
    mark: int
