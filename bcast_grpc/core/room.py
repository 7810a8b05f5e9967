"""One room: a roster of its members, a fan-out of new messages, and a feed from the history."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from bcast_grpc.broker.base import Accepted, Began, Order, Outcome, Refused, Repeated
from bcast_grpc.core import notices
from bcast_grpc.core.batch import Due
from bcast_grpc.core.fanout import FanOut
from bcast_grpc.core.feed import Feed
from bcast_grpc.core.limits import Limits
from bcast_grpc.core.member import Member
from bcast_grpc.core.presence import Presence, Watcher
from bcast_grpc.core.roster import Roster
from bcast_grpc.core.scheduling import Scheduler
from bcast_grpc.core.states import Move
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import NOBODY, Ack, Author, Entry, Event, Kind, ResumePoint


class Room:
    """Takes the messages that its broker has put in order, and gives them to everyone but the author.

    Args:
        lose: called if the order cannot go on.
        replace: called with a member that has come to another server since.

    Attributes:
        members: the clients of this server, by public session id.
        holds: how many clients have been admitted and are not in yet; the room stays open for them.
        presence: who is in the room, on all servers.
        feed: feeds the members that are behind from the history.
        answers: gives authors the answers to their requests.
    """

    __slots__ = (
        "__weakref__",
        "_epoch",
        "_fanout",
        "_order",
        "_welcome",
        "_why_ended",
        "answers",
        "feed",
        "holds",
        "members",
        "name",
        "presence",
        "roster",
    )

    def __init__(
        self,
        name: str,
        order: Order,
        presence: Presence,
        scheduler: Scheduler,
        limits: Limits,
        lose: Callable[[Room, CallError], None],
        replace: Callable[[Room, Member], None],
    ) -> None:
        self.name = name
        self.holds = 0
        self._order = order
        self._why_ended: CallError | None = None
        self.presence = presence
        self.roster = Roster()
        self._epoch = order.epoch
        self._welcome = partial(_welcome, name, order, presence)  # without the room, which holds all of these
        self.feed = Feed(order, partial(_greet_anew, self._welcome))
        self._fanout = FanOut(order.epoch, self.roster, self.feed, scheduler, limits)
        self.answers = self._fanout.answers
        self.members = self.roster.by_session
        order.begin(self.deliver, partial(lose, self))
        presence.watch(name, Watcher(self.tell, partial(_replace, self, replace), order))

    def end(self, error: CallError | None = None) -> None:
        """Release the order, because nobody needs the room any more, or because of an error, which ends all calls."""
        nobody = CallError(ErrorCode.INTERNAL, f"the room {self.name} was closed, as everyone has left; connect again")
        self._why_ended = error or nobody
        self.presence.unwatch(self.name)
        self._fanout.end()
        self._order.release()
        self.disconnect(self._why_ended)

    def disconnect(self, error: CallError) -> None:
        """End everyone's call at once, and drop what is queued."""
        for member in list(self.members.values()):
            member.outbox.close(_one_more(error), discard=True)
        self.answers.refuse(error)

    def check_open(self) -> None:
        """Check that the room has not ended.

        Raises:
            CallError: why it has.
        """
        if self._why_ended:
            raise _one_more(self._why_ended)

    @property
    def head(self) -> ResumePoint:
        """The epoch, and the ``seq`` of the last message that was accepted."""
        return ResumePoint(self._order.epoch, self._order.head)

    @property
    def empty(self) -> bool:
        """Whether nobody needs this room any more."""
        return not self.members and not self.answers and not self.holds

    def add(self, member: Member, after: ResumePoint | None = None, history: int = 0) -> None:
        """Let a client in: it gets its welcome first, then what is accepted from now on.

        Args:
            member: the client.
            after: where it resumes: it first gets the messages after that, with a ``GAP`` for those that are not kept.
            history: without ``after``: how many of the last messages it gets first.
        """
        self.roster.add(member)
        self.presence.put(self.name, member.present)
        self._fanout.arrive(member, self.head.seq)
        gap = self.feed.begin(member, after, history)
        self._order.after_answers(partial(self._fanout.give_notices, member))
        if Kind.WELCOME in member.kinds:
            member.answer([self._welcome(member, resumed=after is not None and gap is None)])
        if gap:
            member.answer([gap])

    def take(self, member: Member) -> bytes | None:
        """Return the next frame to write to a client; None if there is none at the moment."""
        frame = member.outbox.take()
        if frame is None and member.state.fed:
            frame = self.feed.next(member)
            member.outbox.writing = frame or b""
        if frame is None:
            self._fanout.clock.written(member.outbox)
            if member.last_words is not None and not member.state.fed:  # it was leaving, and has caught up
                self._fanout.leave(member, member.last_words, None)
        return frame

    def leave(self, member: Member, answers: Sequence[Event], error: CallError | None = None) -> None:
        """End a client's call once it has got what is pending and what it is fed, then ``answers``."""
        self._order.after_answers(partial(self._fanout.leave, member, answers, error))

    def remove(self, member: Member, *, replaced: bool = False) -> bool:
        """Remove a client, which has left or was replaced; return False if it was removed already."""
        if not self.roster.remove(member):
            return False
        self.presence.drop(self.name, member.author.session, replaced=replaced)
        member.move(Move.END)
        self._fanout.depart(member)
        self.feed.remove(member)
        return True

    def tell(self, notice: Event) -> None:
        """Send a notice to everyone else who wants its kind, behind what was published before it."""
        if self.roster.wants(notice.kind, notice.author):  # clients that join later need not get it
            self._order.after_answers(partial(self._fanout.add_notice, notice))

    def announce(self, author: Author, old_name: str) -> None:
        """Announce that an author joined, left or changed its name. Clients without a name are not announced."""
        if notice := notices.changed(author, old_name):
            self.tell(notice)

    def report_progress(self) -> None:
        """Send a ``PROGRESS`` to every client that wants it."""
        if self.roster.wants(Kind.PROGRESS, NOBODY):
            # Not through `tell`: behind messages that the broker has yet to answer, the head would be outdated.
            self._fanout.add_notice(notices.progress(self.head))

    @property
    def congested(self) -> bool:
        """Whether so much is pending, or waits for the broker, that senders should wait for the next flush."""
        return self._fanout.full or self._order.full

    def when_flushed(self, callback: Callable[[], None]) -> None:
        """Call back once, from the scheduler's loop, after the next flush, or after the broker's answers."""
        if self._order.full:
            self._order.after_answers(partial(self._fanout.when_flushed, callback))
        else:
            self._fanout.when_flushed(callback)

    def publish(self, entries: Sequence[Entry]) -> None:
        """Submit entries to the broker.

        Raises:
            BcastError: ``BROKER_UNAVAILABLE``: none of them was accepted; ``INTERNAL``: the room has ended.
        """
        if self._why_ended:
            self.check_open()  # a new room of this name would be another object
        self._order.submit(entries)

    def deliver(self, outcomes: Sequence[Outcome]) -> None:
        """Push the messages that the broker accepted, and answer the authors of those that it refused or had."""
        for outcome in outcomes:
            if isinstance(outcome, Accepted):
                self._fanout.add_messages(outcome)
            elif isinstance(outcome, Began):
                self._epoch = outcome.epoch
                self._fanout.begin_anew(outcome)
            else:
                session = outcome.entries[0].author.session
                self.answers.put(Due.of(session, _answers_to(outcome, self._epoch)))

    def answer(self, due: Due) -> None:
        """Give a client answers, behind the answers to all its earlier requests."""
        self._order.after_answers(partial(self.answers.put, due))


def _answers_to(outcome: Repeated | Refused, epoch: str) -> Sequence[Event]:
    if isinstance(outcome, Refused):
        return [notices.error(outcome.error, entry.id) for entry in outcome.entries]
    return [
        notices.sent(Ack(place.seq, epoch, duplicate=True), entry.id, place.time_ns)
        for entry, place in zip(*outcome, strict=True)
    ]


def _replace(room: Room, replace: Callable[[Room, Member], None], session: str) -> None:
    if member := room.members.get(session):
        replace(room, member)


def _one_more(error: CallError) -> CallError:
    """Return an error of its own for each call: what raises it adds a traceback."""
    return CallError(error.code, error.reason, retry_after_s=error.retry_after_s)


def _welcome(name: str, order: Order, presence: Presence, member: Member, *, resumed: bool) -> Event:
    head = ResumePoint(order.epoch, order.head)
    return notices.welcome(member.author, name, head, presence.count(name), resumed=resumed)


def _greet_anew(welcome: Callable[..., Event], member: Member) -> Sequence[Event]:
    """Return what a client gets when the order has begun anew: the same as if it had connected again."""
    first = [welcome(member, resumed=False)] if Kind.WELCOME in member.kinds else []
    return [*first, notices.began()]
