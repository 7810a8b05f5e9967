"""Puts one flush into the outboxes: decides what each member sees of it, and counts how many queues took it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

from bcast_grpc.core.batch import EVERYTHING, Batch, Frame, Run, View
from bcast_grpc.core.clock import FlushClock
from bcast_grpc.core.feed import Feed
from bcast_grpc.core.member import Member, Offered

_QUEUED = Offered.QUEUED
_REFUSED = (Offered.BEHIND, Offered.DISCONNECTED)
_NO_FRAMES: Sequence[Frame] = ()


class _Tally(NamedTuple):
    """How many queues of the members with one view took their messages, and how many refused them."""

    view: View
    queued: int
    refused: int


class Push:
    """Offers a batch to members, and sets their writers off.

    Args:
        batch: the runs that are flushed.
        first: the number of the first run.
        clock: wakes the writers.
        feed: takes the members that fall behind.
        apart: do not mix messages and notices in one frame, so that messages can be dropped without the notices.
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
        """Offer each member what it sees of the batch: members with the same view get the same frames."""
        views: dict[View, list[Member]] = defaultdict(list)
        fed: Counter[View] = Counter()
        views[EVERYTHING], others = self._take_plain(members)
        for member in others:
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

    def _take_plain(self, members: Iterable[Member]) -> tuple[list[Member], list[Member]]:
        """Divide the members into those that see the whole batch, as most do, and the others."""
        plain: list[Member] = []
        others: list[Member] = []
        whole, authors = self._batch.only_messages, self._authors
        for member in members:
            if whole and member.arrival is None and member.state.in_step and member.author.key not in authors:
                plain.append(member)
            else:
                others.append(member)
        return plain, others

    def reached(self, place: int, run: Run) -> tuple[int, int]:
        """Return how many others' queues took ``run``, the run with the index ``place``, and how many refused it."""
        others = [t for t in self._tallies if t.view.skip <= place and t.view.own_key != run.author.key]
        return sum(t.queued for t in others), sum(t.refused for t in others)

    def _own_key(self, member: Member) -> str | None:
        key = member.author.key
        return key if key in self._authors else None

    def _view(self, member: Member) -> View:
        """Return what a member sees of the batch: which runs, of which authors and kinds."""
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
        first_seq = self._batch.first_seq if view.shows_messages else None
        queued = refused = passed_on = 0
        slice_ = self._clock.slice
        may_pass = slice_.left
        encoder, frames, only = None, _NO_FRAMES, None
        for member in group:
            outbox = member.outbox
            if outbox.encoder is not encoder:
                encoder = outbox.encoder
                frames = slice_.encode(partial(self._batch.frames, encoder, view, apart=self._apart))
                only = frames[0] if len(frames) == 1 else None
            if only and outbox.idle:
                if passed_on < may_pass and outbox.pass_on(only):
                    passed_on += 1
                    if passed_on == may_pass:
                        slice_.passed(passed_on)
                    continue
                if outbox.defer(only):
                    self._clock.set_off(outbox, len(only.data))
                    queued += 1
                    continue
            if not frames:
                continue
            offered = self._queue(member, frames, first_seq)
            queued += offered is _QUEUED
            refused += offered in _REFUSED
        if 0 < passed_on < may_pass:
            slice_.passed(passed_on)
        queued += passed_on
        if queued:  # in all formats the same events
            outbox.counts.delivered += queued * sum([frame[1] for frame in frames])
        return _Tally(view, queued, refused)

    def _queue(self, member: Member, frames: Sequence[Frame], first_seq: int | None) -> Offered:
        outbox = member.outbox
        idle = outbox.idle
        offered = member.offer(frames, in_history=first_seq is not None, wake=False)
        if offered is _QUEUED and idle:
            self._clock.set_off(outbox, sum(len(frame[0]) for frame in frames))
        elif offered is Offered.BEHIND and first_seq is not None:
            self._fall_behind(member, first_seq)
        return offered

    def _fall_behind(self, member: Member, first_seq: int) -> None:
        """Feed a client whose queue is full from the history, and queue the notices, which no history has."""
        self._feed.fall_behind(member, first_seq - 1)
        if frames := self._batch.frames(member.outbox.encoder, self._view(member)):
            member.offer(frames, wake=False)
