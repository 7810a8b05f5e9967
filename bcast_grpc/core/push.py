"""One flush on its way into the outboxes: who is to see what of it, and how many took it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bcast_grpc.core.batch import EVERYTHING, Batch, Encoder, Frame, Run, View
from bcast_grpc.core.clock import FlushClock
from bcast_grpc.core.feed import Feed
from bcast_grpc.core.member import Member, Offered

_QUEUED = Offered.QUEUED


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
        apart: make no frame of both messages and notices, so that messages may be dropped alone.
    """

    def __init__(self, batch: Batch, first: int, clock: FlushClock, feed: Feed, *, apart: bool) -> None:
        self._batch = batch
        self._authors = set(batch.keys)
        self._first = first
        self._clock = clock
        self._feed = feed
        self._apart = apart
        self._tallies: list[_Tally] = []

    def to(self, members: Iterable[Member]) -> None:
        """Offer to every member what it is to get: members of one view get the same frames."""
        views: dict[View, list[Member]] = defaultdict(list)
        fed: Counter[View] = Counter()
        for member in members:
            view = self._view(member)
            if member.state.fed:
                fed[View(own_key=self._own_key(member))] += 1
            if view.skip < len(self._batch.runs) and (view.kinds is None or view.kinds):
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
        """Return what of the batch a member is to see: which runs, of which authors, and of which kinds."""
        batch, state, arrival = self._batch, member.state, member.arrival
        own_key = self._own_key(member)
        skip, skip_notices = arrival.skips(self._first, len(batch.runs)) if arrival else (0, 0)
        if not (batch.only_messages and state.in_step):
            kinds = member.kinds & state.flushed & batch.kinds
            return View(skip, own_key, own_key is not None and member.echo, kinds, skip_notices)
        if own_key is None and not skip:
            return EVERYTHING
        return View(skip, own_key, own_key is not None and member.echo)

    def _offer(self, view: View, group: Sequence[Member]) -> _Tally:
        batch = self._batch
        frames: dict[Encoder, Sequence[Frame]] = {}
        sizes: dict[Encoder, int] = {}
        first_seq = batch.first_seq if view.shows_messages else None
        queued = refused = 0
        for member in group:
            outbox = member.outbox
            encoder = outbox.encoder
            if encoder not in frames:
                frames[encoder] = batch.frames(encoder, view, apart=self._apart)
                sizes[encoder] = sum(len(frame[0]) for frame in frames[encoder])
            if not frames[encoder]:
                continue
            idle = outbox.idle
            offered = member.offer(frames[encoder], in_history=first_seq is not None, wake=False)
            if offered is _QUEUED:
                queued += 1
                if idle:
                    self._clock.set_off(outbox, sizes[encoder])
            elif offered is not Offered.TOO_LATE:
                refused += 1
                if offered is Offered.BEHIND and first_seq is not None:
                    self._fall_behind(member, first_seq)
        return _Tally(view, queued, refused)

    def _fall_behind(self, member: Member, first_seq: int) -> None:
        """Feed a client whose queue is full from the history, and give it the notices, which are not in there."""
        self._feed.fall_behind(member, first_seq - 1)
        if frames := self._batch.frames(member.outbox.encoder, self._view(member)):
            member.offer(frames, wake=False)
