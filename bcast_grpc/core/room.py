"""One room: who is here, what they are pushed, and what they are fed with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from bcast_grpc.broker.base import Accepted, Order, Outcome, Refused, Repeated
from bcast_grpc.core import notices
from bcast_grpc.core.batch import Due
from bcast_grpc.core.clock import Scheduler
from bcast_grpc.core.fanout import FanOut
from bcast_grpc.core.feed import Feed
from bcast_grpc.core.limits import Limits
from bcast_grpc.core.member import Member
from bcast_grpc.core.presence import Presence
from bcast_grpc.core.roster import Roster
from bcast_grpc.core.states import Move
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import NOBODY, Ack, Author, Entry, Event, Kind, ResumePoint


class Room:
    """Takes what its broker put in order, and gives it to everyone but the author.

    Attributes:
        members: the clients of this server, by public session id.
        holds: how many clients have been admitted and are not in yet: the room stays open for them.
        presence: who is here, on any server.
        feed: gives those who are not level with the flushes what the history holds.
        answers: gives each author what answers its requests.
    """

    def __init__(self, name: str, order: Order, presence: Presence, scheduler: Scheduler, limits: Limits) -> None:
        self.name = name
        self.holds = 0
        self._order = order
        self._ended = False
        self.presence = presence
        self.roster = Roster()
        self.feed = Feed(order)
        self._fanout = FanOut(order.epoch, self.roster, self.feed, scheduler, limits)
        self.answers = self._fanout.answers
        self.members = self.roster.by_session
        order.begin(self.deliver)
        presence.watch(name, self.tell)

    def end(self) -> None:
        """Give the order back to its broker, when nobody needs the room any more."""
        self._ended = True
        self.presence.unwatch(self.name)
        self._fanout.end()
        self._order.release()

    @property
    def head(self) -> ResumePoint:
        """The place of the last message that was accepted."""
        return ResumePoint(self._order.epoch, self._order.head)

    @property
    def empty(self) -> bool:
        """Whether nobody needs this room any more."""
        return not self.members and not self.answers and not self.holds

    def add(self, member: Member, after: ResumePoint | None = None, history: int = 0) -> None:
        """Let a client in: it gets what is accepted from now on, its welcome first.

        Args:
            member: the client.
            after: where it wants to go on: it gets what came after that, or a ``GAP`` for what is not kept.
            history: otherwise: how many of the last messages it gets.
        """
        self.roster.add(member)
        self.presence.put(self.name, member.author, member.since_ns)
        self._fanout.arrive(member, self.head.seq)
        gap = self.feed.begin(member, after, history)
        self._order.after_answers(partial(self._fanout.give_notices, member))
        if Kind.WELCOME in member.kinds:
            resumed = after is not None and gap is None
            count = self.presence.count(self.name)
            member.answer([notices.welcome(member.author, self.name, self.head, count, resumed=resumed)])
        if gap:
            member.answer([gap])

    def take(self, member: Member) -> bytes | None:
        """Return the next frame to write to a client; None if all that there is now has been written."""
        frame = member.outbox.take()
        if frame is None and member.state.fed:
            frame = self.feed.next(member)
        if frame is None:
            self._fanout.clock.written(member.outbox)
            if member.last_words is not None and not member.state.fed:  # it is level with what it waited for
                self._fanout.leave(member, member.last_words, None)
        return frame

    def leave(self, member: Member, answers: Sequence[Event], error: CallError | None = None) -> None:
        """End a client's call once it was given what is pending and what it is fed, and ``answers`` after that."""
        self._order.after_answers(partial(self._fanout.leave, member, answers, error))

    def remove(self, member: Member) -> bool:
        """Let a client out; return False if it was out already."""
        if not self.roster.remove(member):
            return False
        self.presence.drop(self.name, member.author.session)
        member.move(Move.END)
        self._fanout.depart(member)
        self.feed.remove(member)
        return True

    def tell(self, notice: Event) -> None:
        """Put a notice behind what was published before it, for everyone else who wants its kind."""
        if self.roster.wants(notice.kind, notice.author):  # who comes later is not told of it
            self._order.after_answers(partial(self._fanout.add_notice, notice))

    def announce(self, author: Author, old_name: str) -> None:
        """Tell the others that an author came, went or was renamed: a client without a name is not there for them."""
        if author.name == old_name:
            return
        if not author.name:
            notice = notices.left(author._replace(name=old_name))
        elif old_name:
            notice = notices.renamed(author, old_name)
        else:
            notice = notices.joined(author)
        self.presence.announce(self.name, notice)

    def report_progress(self) -> None:
        """Tell every client that wants to know how far the order has come."""
        if self.roster.wants(Kind.PROGRESS, NOBODY):
            self._fanout.add_notice(notices.progress(self.head))  # behind later messages it would be a place gone back

    @property
    def congested(self) -> bool:
        """Whether so much is pending, or not answered by the broker, that intake should wait for the next flush."""
        return self._fanout.full or self._order.full

    def when_flushed(self, callback: Callable[[], None]) -> None:
        """Call back once, from the scheduler's loop, after the next flush; or that of what the broker has to answer."""
        if self._order.full:
            self._order.after_answers(partial(self._fanout.when_flushed, callback))
        else:
            self._fanout.when_flushed(callback)

    def publish(self, entries: Sequence[Entry]) -> None:
        """Hand entries to the broker.

        Raises:
            BcastError: ``BROKER_UNAVAILABLE``, for all of them; ``INTERNAL`` after the room's end.
        """
        if self._ended:  # the next room of this name is another one
            raise CallError(ErrorCode.INTERNAL, f"the room {self.name} was closed, as everyone has left; connect again")
        self._order.submit(entries)

    def deliver(self, outcomes: Sequence[Outcome]) -> None:
        """Push what the broker has put in order, and answer the authors of what it had before or has refused."""
        for outcome in outcomes:
            if isinstance(outcome, Accepted):
                self._fanout.add_messages(*outcome)
            else:
                self.answers.put(Due.of(outcome.entries[0].author.session, self._answers_to(outcome)))

    def _answers_to(self, outcome: Repeated | Refused) -> Sequence[Event]:
        epoch = self._order.epoch
        if isinstance(outcome, Refused):
            return [notices.error(outcome.error, entry.id) for entry in outcome.entries]
        return [
            notices.sent(Ack(place.seq, epoch, duplicate=True), entry.id, place.time_ns)
            for entry, place in zip(*outcome, strict=True)
        ]

    def answer(self, due: Due) -> None:
        """Give a client answers, behind those to all that it asked for before."""
        self._order.after_answers(partial(self.answers.put, due))
