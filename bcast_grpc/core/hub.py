"""The registry of rooms and of the clients in them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

from bcast_grpc import events
from bcast_grpc.broker.base import Broker
from bcast_grpc.broker.budget import Budget
from bcast_grpc.core import notices
from bcast_grpc.core.capacity import Capacity
from bcast_grpc.core.counts import LOST, Counts
from bcast_grpc.core.entrance import Entrance
from bcast_grpc.core.identity import Gatekeeper, OpenGate
from bcast_grpc.core.limits import Limits
from bcast_grpc.core.member import Member
from bcast_grpc.core.presence import LocalPresence, Presence
from bcast_grpc.core.rate import RateLimits
from bcast_grpc.core.readiness import Readiness
from bcast_grpc.core.room import Room
from bcast_grpc.core.scheduling import Scheduler
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Author, Event, ResumePoint


class Hub:
    """The registry of rooms and of the clients in them.

    Call everything from the scheduler's loop, as in all of the core, except ``rooms`` and ``members``: these may be
    called from any thread. For that, one lock guards the registry. There is no other lock in the core.

    A room exists from the admission of its first client until its last client has left.

    Attributes:
        limits: the bounds that the hub and the sessions enforce.
        rates: how often each client may send; None if there is no limit.
        capacity: whether there is room for another client.
        scheduler: the event loop that the core runs in.
        gatekeeper: decides who a client is.
        entrance: lets clients in.
        readiness: what health checks are answered.
        counts: what has happened, for metrics.
        figures: returns what the broker has to say besides.
        clients: how many clients are connected.
        closed: why new clients are refused; empty while they are accepted.
    """

    def __init__(
        self,
        broker: Broker,
        scheduler: Scheduler,
        limits: Limits,
        budget: Budget | None = None,
        presence: Presence | None = None,
        gatekeeper: Gatekeeper | None = None,
    ) -> None:
        self.limits = limits
        self.rates = RateLimits(limits.rate, limits.burst, scheduler.time) if limits.rate else None
        self.capacity = Capacity(limits, budget or Budget(), scheduler.time)
        self.scheduler = scheduler
        self.gatekeeper = gatekeeper or OpenGate()
        self.readiness = Readiness()
        self.counts = Counts()
        self.figures = broker.figures
        self.clients = 0
        self.closed = ""
        self._broker = broker
        self._presence = presence or LocalPresence()
        self.entrance = Entrance(self, self.gatekeeper, self._presence, broker)
        self._lock = threading.RLock()
        self._rooms: dict[str, Room] = {}
        self._when_empty: Callable[[], None] | None = None

    @property
    def rooms(self) -> Sequence[str]:
        """The names of all rooms that are open."""
        with self._lock:
            return list(self._rooms)

    def members(self, room_name: str) -> Sequence[events.Member]:
        """Return the clients in a room, in the order of arrival."""
        with self._lock:
            return self._presence.members(room_name)

    def hold(self, name: str) -> Room | None:
        """Return a room that is open, and keep it open until ``release()``; None if it is not open."""
        with self._lock:
            if room := self._rooms.get(name):
                room.holds += 1
            return room

    async def open(self, name: str) -> Room:
        """Open the order of a room that nobody is in, and ``hold()`` the room. Another call may open it meanwhile.

        Raises:
            CallError: ``SERVER_FULL``, ``SHUTTING_DOWN`` or ``BROKER_UNAVAILABLE``.
        """
        self.capacity.check_memory()
        await self._presence.open(name)
        order = await self._broker.open(name)
        with self._lock:
            self.check_open()
            room = self._rooms.get(name)
            if room is None:
                replace = partial(self.leave, replaced=True)
                room = Room(name, order, self._presence, self.scheduler, self.limits, self._lose, replace)
                self._rooms[name] = room
            room.holds += 1
            return room

    def release(self, room: Room) -> None:
        """Stop keeping a room open for an admitted client, which has come in or will not come."""
        with self._lock:
            room.holds -= 1
            self._free(room)

    def join(self, room: Room, member: Member, after: ResumePoint | None = None, history: int = 0) -> None:
        """Let a client into a room. It replaces a client with the same ``bcast-client``, which ends with ``REPLACED``.

        The later one stays, by the order in which they asked, at whatever servers: the connection of a client that has
        reconnected may be admitted after the one that replaces it.

        Args:
            room: the room that it was admitted to.
            member: the client.
            after: where it resumes; see ``Room.add``.
            history: how many earlier messages it wants.

        Raises:
            CallError: ``SERVER_FULL``, ``SHUTTING_DOWN`` or ``REPLACED``; ``BROKER_UNAVAILABLE`` if the room's order
                was lost.
        """
        with self._lock:
            self.check_open()
            room.check_open()
            key, reader = member.author.key, member.reader
            replaced = room.roster.with_client(key, reader=reader)
            elsewhere = self._presence.elsewhere(room.name, key, reader=reader)
            if (replaced and replaced.asked > member.asked) or (elsewhere and elsewhere.asked >= member.asked):
                raise _replaced()
            self.capacity.check_peer(member, replaced)
            if replaced:
                room.remove(replaced, replaced=True)
                self.counts.ended[ErrorCode.REPLACED.name] += 1
                self.capacity.left(replaced)
                replaced.outbox.close(_replaced(), discard=True)
            else:
                self.capacity.check_clients(self.clients)
                self.capacity.check_memory()
                self.clients += 1
            self.capacity.came(member)
            self.counts.joined += 1
            room.add(member, after, history)
            before = replaced or elsewhere
            room.announce(member.author, before.author.name if before else "")

    def leave(self, room: Room, member: Member, how: str = "", *, replaced: bool = False) -> None:
        """Remove a client from its room, and announce that if it had a name. Does nothing if it has left already.

        Args:
            room: its room.
            member: the client.
            how: how its stream was to end, for metrics, if that was known before its outbox was closed.
            replaced: whether it has come to another server: then it ends with ``REPLACED``, and has not left.
        """
        with self._lock:
            if not room.remove(member, replaced=replaced):
                return
            self.clients -= 1
            self.capacity.left(member)
            error = _replaced() if replaced else member.outbox.error
            self.counts.ended[error.code.name if error else how or LOST] += 1
            if replaced:
                member.outbox.close(error, discard=True)
            else:
                elsewhere = self._presence.elsewhere(room.name, member.author.key, reader=member.reader)
                after = elsewhere.author if elsewhere else member.author._replace(name="")
                room.announce(after, member.author.name)
            self._free(room)
            if not self.clients and self._when_empty:
                self._when_empty()

    def rename(self, room: Room, member: Member, name: str) -> None:
        """Change a client's name, and announce that. Does nothing if the client has left already."""
        with self._lock:
            if room.members.get(member.author.session) is not member:
                return
            old_name = member.author.name
            member.author = member.author._replace(name=name)
            self._presence.put(room.name, member.present)
            room.announce(member.author, old_name)

    def attach(self, room: Room, author: Author, answer: Callable[[Sequence[Event]], None]) -> None:
        """Let an author that holds no stream publish; ``answer`` is called with its answers, until ``detach``.

        Raises:
            CallError: ``SHUTTING_DOWN``.
        """
        with self._lock:
            self.check_open()
            room.answers.attach(author, answer)

    def detach(self, room: Room, author: Author) -> None:
        """Forget an author that was attached."""
        with self._lock:
            room.answers.detach(author)
            self._free(room)

    def relieve(self) -> None:
        """Measure memory, and drop histories if it is short, then the largest queues. Call this often."""
        with self._lock:
            self.capacity.count(self._rooms.values())
            self._broker.relieve()
            self.capacity.relieved()
            self.capacity.end_slowest(self._rooms.values())

    def expire(self) -> None:
        """Drop histories and ids that have expired. Call this now and then."""
        with self._lock:
            self._broker.expire()

    def for_each_room(self, act: Callable[[Room], None]) -> None:
        """Call ``act`` with every room."""
        with self._lock:
            for room in list(self._rooms.values()):
                act(room)

    def close(self, reason: str, reconnect_after_s: Callable[[], float], when_empty: Callable[[], None]) -> None:
        """Refuse new clients, and end every client's call once it has got what is queued for it.

        Args:
            reason: why the server closes, for people.
            reconnect_after_s: called for each client, so that clients come back at different times.
            when_empty: called when the last client has left.
        """
        with self._lock:
            self.closed = reason
            self.readiness.report(reason)
            self._when_empty = when_empty
            for room in self._rooms.values():
                for member in room.members.values():
                    after_s = reconnect_after_s()
                    error = CallError(ErrorCode.SHUTTING_DOWN, reason, retry_after_s=after_s)
                    room.leave(member, [notices.closing(reason, after_s)], error)
            if not self.clients:
                when_empty()

    def _lose(self, room: Room, error: CallError) -> None:
        """Close a room whose order cannot go on, and disconnect everyone in it. Who comes back opens another one."""
        with self._lock:
            if self._rooms.get(room.name) is room:
                del self._rooms[room.name]
                room.end(error)

    def check_open(self) -> None:
        """Check that the hub accepts new clients.

        Raises:
            CallError: ``SHUTTING_DOWN``.
        """
        if self.closed:
            raise CallError(ErrorCode.SHUTTING_DOWN, self.closed)

    def _free(self, room: Room) -> None:
        if room.empty and self._rooms.get(room.name) is room:
            del self._rooms[room.name]
            room.end()


def _replaced() -> CallError:
    return CallError(ErrorCode.REPLACED, "the same bcast-client connected to this room again")
