"""One flush on its way into the outboxes: who is to see what of it, and how many took it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bcast_grpc.core.batch import Batch, Codec, Frame, Run, View
from bcast_grpc.core.clock import FlushClock
from bcast_grpc.core.feed import Feed
from bcast_grpc.core.limits import SlowPolicy
from bcast_grpc.core.member import Member


class _Tally(NamedTuple):
    """How many members of one view took their messages, and how many refused them."""

    view: View
    queued: int
    refused: int


class Push:
    """Offers a batch to members, and sets their writers off.

    Args:
        batch: what is pending no more.
        first: the number of its first run.
        clock: wakes the writers.
        feed: of those who get messages from the history instead, and for those who fall behind.
        policy: what becomes of a client whose queue is full.
    """

    def __init__(self, batch: Batch, first: int, clock: FlushClock, feed: Feed, policy: SlowPolicy) -> None:
        self._batch = batch
        self._authors = set(batch.keys)
        self._first = first
        self._clock = clock
        self._feed = feed
        self._policy = policy
        self._tallies: list[_Tally] = []

    def to(self, members: Iterable[Member]) -> None:
        """Offer to every member what it is to get: members of one view get the same frames."""
        views: dict[View, list[Member]] = defaultdict(list)
        fed: Counter[View] = Counter()
        for member in members:
            if member.replay:
                fed[View(own_key=self._own_key(member))] += 1
                view = self._view_of_fed(member)
            else:
                view = self._view(member)
            if view and view.skip < len(self._batch.runs):
                views[view].append(member)
        self._tallies += [_Tally(view, count, 0) for view, count in fed.items()]
        for view, group in views.items():
            tally = self._offer(view, group)
            if view.shows_messages:
                self._tallies.append(tally)

    def reached(self, place: int, run: Run) -> tuple[int, int]:
        """Return how many others have the run in the ``place`` in their queue, and how many queues refused it."""
        others = [t for t in self._tallies if t.view.skip <= place and t.view.own_key != run.author.key]
        return sum(t.queued for t in others), sum(t.refused for t in others)

    def _own_key(self, member: Member) -> str | None:
        key = member.author.key
        return key if key in self._authors else None

    def _view(self, member: Member) -> View:
        own_key = self._own_key(member)
        return View(
            member.start - self._first if member.start > self._first else 0,
            own_key,
            own_key is not None and member.echo,
            None if self._batch.only_messages else member.kinds,
            self._notices_to_skip(member),
        )

    def _view_of_fed(self, member: Member) -> View | None:
        """Return which notices a client is to see that is fed with messages from the history; None: there are none."""
        if self._batch.only_messages:
            return None
        return View(
            max(0, member.start - self._first),
            member.author.key,
            kinds=member.kinds_while_fed,
            skip_notices=self._notices_to_skip(member),
        )

    def _notices_to_skip(self, member: Member) -> int:
        if self._batch.only_messages or member.notices_from <= self._first:
            return 0
        return int(min(member.notices_from - self._first, len(self._batch.runs)))

    def _offer(self, view: View, group: Sequence[Member]) -> _Tally:
        batch = self._batch
        frames: dict[Codec, Sequence[Frame]] = {}
        sizes: dict[Codec, int] = {}
        policy = self._policy
        may_fall_behind = policy is SlowPolicy.CATCH_UP and batch.last_seq and view.shows_messages
        queued = refused = 0
        for member in group:
            outbox = member.outbox
            codec = outbox.codec
            if codec not in frames:
                frames[codec] = batch.frames(codec, view, apart=policy is SlowPolicy.DROP)
                sizes[codec] = sum(len(data) for data, _, _ in frames[codec])
            if not frames[codec]:
                continue
            idle = outbox.idle
            if may_fall_behind:
                taken = member.try_offer(frames[codec], wake=False)
                if taken is False:
                    self._fall_behind(view, member)
            else:
                taken = member.offer(frames[codec], wake=False, reserve=policy is not SlowPolicy.DISCONNECT)
            if taken:
                queued += 1
                if idle:
                    self._clock.set_off(outbox, sizes[codec])
            elif taken is False:
                refused += 1
        return _Tally(view, queued, refused)

    def _fall_behind(self, view: View, member: Member) -> None:
        """Feed a client whose queue is full from the history, and give it the notices, which are not in there."""
        member.log_slow("it is fed from the history")
        self._feed.fall_behind(member, self._batch.first_seq - 1)
        notices_only = view._replace(own_key=member.author.key, kinds=member.kinds_while_fed)
        if frames := self._batch.frames(member.outbox.codec, notices_only):
            member.offer(frames, wake=False, reserve=True)
