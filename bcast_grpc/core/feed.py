"""The members that are fed from the room's history: they came back, asked for earlier messages, or fell behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from bcast_grpc.broker.base import Order
from bcast_grpc.core import notices
from bcast_grpc.core.batch import Frame
from bcast_grpc.core.member import Member
from bcast_grpc.core.outbox import Outbox
from bcast_grpc.core.replay import Replay, Replays
from bcast_grpc.core.states import Move
from bcast_grpc.events import Event, GapReason, ResumePoint


class Feed:
    """Gives each of these members the next frame when it has written the last one, until it is level.

    When the order begins anew, messages of the old one may still have to be flushed. Until then nobody can be level,
    and the members that are fed are in the new order already.

    Args:
        order: the room's order.
        greet: returns what a member gets when it changes to a new order, before the messages of that.
    """

    __slots__ = ("_flushed", "_greet", "_members", "_old_orders", "_order", "_replays")

    def __init__(self, order: Order, greet: Callable[[Member], Sequence[Event]]) -> None:
        self._order = order
        self._greet = greet
        self._old_orders = 0  # of which messages may still have to be flushed
        self._replays = Replays(order)
        self._flushed = order.head  # the last message that was pushed; the order may be further
        self._members: dict[Member, None] = {}

    @property
    def kept_bytes(self) -> int:
        """About how many bytes are kept for whoever comes to them next, in one wire format."""
        return self._replays.bytes

    def drop_kept(self) -> None:
        """Drop what is kept: it can be read again."""
        self._replays.drop_kept()

    def begin(self, member: Member, after: ResumePoint | None, history: int) -> Event | None:
        """Feed a client that arrives, if it asks for that; return the ``GAP`` that comes first, if any."""
        kept, head = self._order.oldest, self._order.head
        member.outbox.seq = head
        gap = None
        if after and not member.rights.history:
            cursor, gap = head, self._not_allowed(after)
        elif after is None:
            cursor = max(head - history, kept - 1) if history else head
        elif after.epoch != self._order.epoch or after.seq > head:  # a seq beyond the head: the order was set back
            cursor, gap = kept - 1, notices.began()
        elif after.seq + 1 < kept:
            cursor, gap = kept - 1, notices.gap(after.seq + 1, kept - 1, GapReason.TRIMMED)
        else:
            cursor = after.seq
        if cursor < head:
            self._add(member, Replay(cursor, asked=True))
        return gap

    def _not_allowed(self, after: ResumePoint) -> Event | None:
        """Return the ``GAP`` for a client that comes back and may not read the history; None if it missed nothing."""
        head = self._order.head
        is_known = after.epoch == self._order.epoch and after.seq <= head
        if is_known and after.seq == head:
            return None
        if not head:
            return notices.began()
        return notices.gap(after.seq + 1 if is_known else 1, head, GapReason.NOT_ALLOWED)

    def cut(self, member: Member) -> None:
        """Stop feeding a client with the history that it asked for, because it may no longer read it."""
        replay = member.replay
        if replay is None or not replay.asked:
            return
        first, last = replay.taken + 1, max(self._flushed, member.arrival.seq if member.arrival else 0)
        if first <= last:
            gap = notices.gap(first, last, GapReason.NOT_ALLOWED)
            # A new Replay: a piece that is being read for the old one is dropped.
            member.replay = Replay(last, deque(_frames(member.outbox, [gap])))

    def fall_behind(self, member: Member, last_seq: int) -> None:
        """Feed a client that reads too slowly for the flushes with the messages after ``last_seq``."""
        if self._old_orders:
            self._change(member, queue=False)
        else:
            self._add(member, Replay(max(last_seq, member.arrival.seq) if member.arrival else last_seq))

    def begin_anew(self, head: int) -> None:
        """Change to a new order, whose messages up to ``head`` are kept: at once for those who are fed."""
        self._old_orders += 1
        self._flushed = head
        self._replays.forget()
        self._replays = Replays(self._order)  # a piece of the old order may still be read
        for member in list(self._members):
            self._change(member, queue=False)
            if member.outbox.idle:
                member.outbox.wake()

    def old_order_flushed(self, members: Iterable[Member], number: int) -> list[Outbox]:
        """Change to the new order for everyone else: those who have got all that was flushed of the old one.

        Args:
            members: everyone in the room.
            number: that of the run with which the new order begins; members that came later are in it already.

        Returns:
            The outboxes of those whose writers waited.
        """
        self._old_orders -= 1
        in_step = [member for member in members if member.state.in_step]
        changing = [member for member in in_step if not (member.arrival and member.arrival.run > number)]
        idle = [member.outbox for member in changing if member.outbox.idle]
        for member in changing:
            self._change(member, queue=True)
        return idle

    def _change(self, member: Member, *, queue: bool) -> None:
        """Tell a client of the new order, and feed it with what is kept of that, as if it had connected again.

        Args:
            member: the client.
            queue: tell it behind what is queued for it, if there is room, rather than once that is written.
        """
        greeting = list(self._greet(member))
        cursor = min(self._order.oldest - 1, self._flushed)  # what follows is still pushed, though no longer kept
        if member.arrival:
            member.arrival.seq = cursor
        if not member.rights.history and cursor < self._flushed:
            cursor = self._flushed
            greeting.append(notices.gap(1, cursor, GapReason.NOT_ALLOWED))
        frames = deque(_frames(member.outbox, greeting))
        if queue and member.begin_anew(frames, cursor):
            frames.clear()
        if frames or cursor < self._flushed or self._old_orders:
            self._add(member, Replay(cursor, frames, asked=True))

    def _add(self, member: Member, replay: Replay) -> None:
        if not member.state.fed:
            member.move(Move.BEHIND)
        member.replay = replay
        self._members[member] = None

    def flushed(self, last_seq: int) -> None:
        """Note the ``seq`` of the last message that was pushed: the history may be read up to there."""
        if not self._old_orders:
            self._flushed = last_seq

    def idle(self) -> Iterator[Outbox]:
        """Return the outboxes of those whose writers wait for more."""
        return (member.outbox for member in self._members if member.outbox.idle)

    def next(self, member: Member) -> bytes | None:
        """Return the next frame for a client; None if there is none now, or if the client is level."""
        replay, outbox = member.replay, member.outbox
        if replay is None or outbox.closed:
            return None
        while not replay.frames and not replay.reading and replay.cursor < self._flushed:
            self._replays.read(replay, self._flushed, outbox, member.author, echo=member.echo)
        frame = replay.take()
        if frame is None and replay.cursor >= self._flushed and not member.arrival and not self._old_orders:
            outbox.seq = replay.cursor
            member.move(Move.LEVEL)
            self.remove(member)
        return frame

    def remove(self, member: Member) -> None:
        """Stop feeding a client."""
        member.replay = None
        self._members.pop(member, None)
        if not self._members:
            self._replays.forget()


def _frames(outbox: Outbox, events: Sequence[Event]) -> Sequence[Frame]:
    return outbox.encoder.frames(outbox.counts.told(events))
