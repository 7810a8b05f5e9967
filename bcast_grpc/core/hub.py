"""The registry: which rooms there are, and who is in them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from bcast_grpc import events
from bcast_grpc.broker.base import Broker
from bcast_grpc.broker.budget import Budget
from bcast_grpc.core import notices
from bcast_grpc.core.admission import Admission
from bcast_grpc.core.clock import Scheduler
from bcast_grpc.core.held import distinct_bytes
from bcast_grpc.core.hello import Hello
from bcast_grpc.core.limits import Limits
from bcast_grpc.core.member import Member
from bcast_grpc.core.rate import RateLimits
from bcast_grpc.core.room import Room
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Author, Event, Position

logger = logging.getLogger(__name__)

_FULL_RETRY_AFTER_S = 5.0


class Hub:
    """The registry of rooms and of the clients in them.

    All calls are made in the scheduler's loop, as everywhere in the core. Only ``rooms`` and ``members`` may be called
    from any thread: one lock guards the registry for that. There is no other lock in the core.

    A room exists from its first client's admission to its last one's leaving.

    Attributes:
        limits: the bounds that are kept here and in the sessions.
        rates: how often each client may send; None: as often as it likes.
        why_full: says why so many clients are enough, though they are fewer than ``max_clients``; nothing if not.
        budget: what the process may hold, of the queues and of the broker's part.
    """

    def __init__(self, broker: Broker, scheduler: Scheduler, limits: Limits, budget: Budget | None = None) -> None:
        self.limits = limits
        self.budget = budget or Budget()
        self.rates = RateLimits(limits.rate, limits.burst, scheduler.time) if limits.rate else None
        self.why_full: Callable[[int], str] = lambda _: ""
        self._broker = broker
        self._scheduler = scheduler
        self._lock = threading.RLock()
        self._rooms: dict[str, Room] = {}
        self._clients = 0
        self._closed = ""
        self._full = False
        self._when_empty: Callable[[], None] | None = None

    @property
    def clients(self) -> int:
        """How many clients are connected."""
        return self._clients

    @property
    def closed(self) -> str:
        """Why nobody is let in any more; nothing while clients are."""
        return self._closed

    @property
    def rooms(self) -> Sequence[str]:
        """Which rooms there are."""
        with self._lock:
            return list(self._rooms)

    def members(self, room_name: str) -> Sequence[events.Member]:
        """Return who is connected to a room, in the order of arrival."""
        with self._lock:
            room = self._rooms.get(room_name)
            return room.roster.present() if room else []

    async def admit(self, hello: Hello, peer: str | None) -> Admission:
        """Decide whether a client may come in, and have its room open. Every door awaits this before anything else.

        Meanwhile the client may go away, or the server be closed: ``join`` and ``attach`` look at that again.

        Args:
            hello: who the client is and what it wants.
            peer: the address of its end of the connection; None for the application that runs the server.

        Raises:
            CallError: ``SERVER_FULL``, ``SHUTTING_DOWN`` or ``BROKER_UNAVAILABLE``.
        """
        self._check_open()
        room = self._rooms.get(hello.room) or await self._open(hello.room)
        with self._lock:
            room.holds += 1
        return Admission(self, room, hello, peer)

    def release(self, room: Room) -> None:
        """Stop keeping a room open for a client that was admitted: it is in, or will not come."""
        with self._lock:
            room.holds -= 1
            self._free(room)

    def join(self, room: Room, member: Member, after: Position | None = None, history: int = 0) -> None:
        """Let a client into a room. One with the same ``bcast-client`` makes room for it and ends with ``REPLACED``.

        Args:
            room: the one of its admission.
            member: the client.
            after: where it goes on; see ``Room.add``.
            history: how many earlier messages it wants.

        Raises:
            CallError: ``SERVER_FULL`` or ``SHUTTING_DOWN``.
        """
        with self._lock:
            self._check_open()
            if replaced := room.roster.with_client(member.author.key, reader=member.reader):
                room.remove(replaced)
                replaced.outbox.close(
                    CallError(ErrorCode.REPLACED, "the same bcast-client connected to this room again"), discard=True
                )
            else:
                self._check_clients()
                self._check_memory()
                self._clients += 1
            room.add(member, after, history)
            self._announce(room, member.author, replaced.author.name if replaced else "")

    def leave(self, room: Room, member: Member) -> None:
        """Let a client out, and tell the others if it had a name. A client that is out already is ignored."""
        with self._lock:
            if not room.remove(member):
                return
            self._clients -= 1
            if member.author.name:
                room.tell(notices.left(member.author))
            self._free(room)
            if not self._clients and self._when_empty:
                self._when_empty()

    def rename(self, room: Room, member: Member, name: str) -> None:
        """Give a client another name, and tell the others. A client that is out already is ignored."""
        with self._lock:
            if room.members.get(member.author.session) is not member:
                return
            old_name = member.author.name
            member.author = member.author._replace(name=name)
            self._announce(room, member.author, old_name)

    def attach(self, room: Room, author: Author, answer: Callable[[Sequence[Event]], None]) -> None:
        """Let an author that holds no stream publish; its answers go to ``answer``, until ``detach``.

        Raises:
            CallError: ``SHUTTING_DOWN``.
        """
        with self._lock:
            self._check_open()
            room.answers.attach(author, answer)

    def detach(self, room: Room, author: Author) -> None:
        """Forget an author that was attached."""
        with self._lock:
            room.answers.detach(author)
            self._free(room)

    def time(self) -> float:
        """Return seconds on a clock that never goes back."""
        return self._scheduler.time()

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Call back from the loop after ``delay_s``."""
        self._scheduler.call_later(delay_s, callback)

    def relieve(self) -> None:
        """Count what is queued, and have histories dropped where memory is short. To be called often, from the loop."""
        with self._lock:
            outboxes = [member.outbox for room in self._rooms.values() for member in room.members.values()]
            replays = sum(room.feed.held_bytes for room in self._rooms.values())
            self.budget.queues = replays + sum(outbox.queued_bytes + outbox.writing_bytes for outbox in outboxes)
            if self.budget.excess > 0:  # that was the most it can be
                self.budget.queues = replays + distinct_bytes(outboxes)
            self._broker.relieve()
            if not self.budget.full:
                self._full = False

    def expire(self) -> None:
        """Let go of what is kept for longer than it is to be. To be called now and then."""
        with self._lock:
            self._broker.expire()

    def report_progress(self) -> None:
        """Tell every client that wants to know how far its room has come."""
        with self._lock:
            for room in self._rooms.values():
                room.report_progress()

    def close(self, reason: str, reconnect_after_s: Callable[[], float], when_empty: Callable[[], None]) -> None:
        """Let nobody in any more, and end every client's call once it got what is queued for it.

        Args:
            reason: for a person.
            reconnect_after_s: called for each client, so that not all come back at once.
            when_empty: called when the last one is out.
        """
        with self._lock:
            self._closed = reason
            self._when_empty = when_empty
            for room in self._rooms.values():
                for member in room.members.values():
                    after_s = reconnect_after_s()
                    error = CallError(ErrorCode.SHUTTING_DOWN, reason, retry_after_s=after_s)
                    room.leave(member, [notices.closing(reason, after_s)], error)
            if not self._clients:
                when_empty()

    def discard(self) -> None:
        """End the calls of those who are still here after ``close``, without what is queued for them."""
        with self._lock:
            for room in self._rooms.values():
                for member in room.members.values():
                    member.outbox.close(CallError(ErrorCode.SHUTTING_DOWN, self._closed), discard=True)

    async def _open(self, name: str) -> Room:
        """Return a room that nobody was in, once its order is open. Others may have come to it meanwhile."""
        self._check_memory()
        order = await self._broker.open(name)
        with self._lock:
            self._check_open()
            room = self._rooms.get(name)
            if room is None:
                room = self._rooms[name] = Room(name, order, self._scheduler, self.limits)
            return room

    def _check_open(self) -> None:
        if self._closed:
            raise CallError(ErrorCode.SHUTTING_DOWN, self._closed)

    def _check_clients(self) -> None:
        if self._clients >= self.limits.max_clients:
            raise CallError(
                ErrorCode.SERVER_FULL,
                f"{self._clients} clients are connected, as many as this server takes; try again later",
                retry_after_s=_FULL_RETRY_AFTER_S,
            )
        if reason := self.why_full(self._clients):
            raise CallError(ErrorCode.SERVER_FULL, reason, retry_after_s=_FULL_RETRY_AFTER_S)

    def _check_memory(self) -> None:
        """Refuse a newcomer where memory is short, though all histories were dropped."""
        if not self.budget.full:
            return
        if not self._full:
            self._full = True
            logger.warning("memory is full, so nobody is let in: %s", self.budget)
        raise CallError(
            ErrorCode.SERVER_FULL,
            f"the server's memory is full ({self.budget}); try again later",
            retry_after_s=_FULL_RETRY_AFTER_S,
        )

    def _free(self, room: Room) -> None:
        if room.empty and self._rooms.get(room.name) is room:
            del self._rooms[room.name]
            room.end()

    def _announce(self, room: Room, author: Author, old_name: str) -> None:
        if author.name == old_name:
            return
        if not author.name:
            room.tell(notices.left(author._replace(name=old_name)))
        elif old_name:
            room.tell(notices.renamed(author, old_name))
        else:
            room.tell(notices.joined(author))
