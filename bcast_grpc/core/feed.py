"""Who is fed from the room's history: who came back, who asks for what was said before, who fell behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from bcast_grpc.broker.history import History
from bcast_grpc.core import notices
from bcast_grpc.core.member import Member
from bcast_grpc.core.outbox import Outbox
from bcast_grpc.core.replay import Replay, Replays
from bcast_grpc.events import Event, GapReason, Position


class Feed:
    """Gives each such member the next frame when it has written the last one, until it is level with the others."""

    def __init__(self, epoch: str, history: History, lock: threading.RLock) -> None:
        self._epoch = epoch
        self._history = history
        self._lock = lock
        self._replays = Replays(history)
        self._flushed = history.head  # the last message that was pushed; the history may be further
        self._next_run = 0  # the number of the first run that was not
        self._members: set[Member] = set()

    @property
    def held_bytes(self) -> int:
        """About how much is held for all of them, in one wire format."""
        return self._replays.bytes + sum(member.replay.frames_bytes for member in self._members if member.replay)

    def begin(self, member: Member, after: Position | None, history: int) -> Event | None:
        """Feed a client that arrives, if it wants to be; return the ``GAP`` that comes before what it is fed."""
        kept, head = self._history.first, self._history.head
        member.arrival = member.outbox.seq = head
        gap = None
        if after is None:
            cursor = max(head - history, kept - 1) if history else head
        elif after.epoch != self._epoch or after.seq > head:  # a place that is not there yet: the order went back
            cursor, gap = kept - 1, notices.gap(0, 0, GapReason.NEW_EPOCH)
        elif after.seq + 1 < kept:
            cursor, gap = kept - 1, notices.gap(after.seq + 1, kept - 1, GapReason.TRIMMED)
        else:
            cursor = after.seq
        if cursor < head:
            self._add(member, cursor)
        return gap

    def fall_behind(self, member: Member, last_seq: int) -> None:
        """Feed a client that reads too slowly for the flushes, after the message in the place ``last_seq``."""
        self._add(member, max(last_seq, member.arrival))

    def _add(self, member: Member, cursor: int) -> None:
        member.replay = Replay(cursor)
        self._members.add(member)

    def flushed(self, last_seq: int, next_run: int) -> None:
        """Take note of how far the flushes have come, which is how far the history may be read.

        Args:
            last_seq: of the messages of this flush; 0 if it has none.
            next_run: the number of the first run that comes after it.
        """
        self._flushed = last_seq or self._flushed
        self._next_run = next_run

    def idle(self) -> Iterator[Outbox]:
        """Return the outboxes of those whose writers wait for more."""
        return (member.outbox for member in self._members if member.outbox.idle)

    def next(self, member: Member) -> bytes | None:
        """Return the next frame for a client; None if there is none now, or from now on, as the client is level."""
        with self._lock:
            replay, outbox = member.replay, member.outbox
            if replay is None or outbox.closed:
                return None
            while not replay.frames and replay.cursor < self._flushed:
                self._replays.read(replay, self._flushed, outbox.codec, member.author, echo=member.echo)
            frame = replay.take()
            if frame is None and replay.cursor >= self._flushed and member.start <= self._next_run:
                outbox.seq = replay.cursor
                member.replay, member.start = None, 0
                self.remove(member)
            return frame

    def remove(self, member: Member) -> None:
        """Feed a client no more."""
        self._members.discard(member)
        if not self._members:
            self._replays.forget()
