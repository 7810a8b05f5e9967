"""The ``Presence`` of a server that shares its rooms with others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from bcast_grpc.broker.nats.peers.talk import Talk
from bcast_grpc.core.presence import Present, Watcher
from bcast_grpc.events import Member
from bcast_grpc.log.v1 import peers_pb2 as pb
from bcast_grpc.presence.departures import Departures
from bcast_grpc.presence.messages import MAX_ROOM
from bcast_grpc.presence.others import Others
from bcast_grpc.presence.own import Own
from bcast_grpc.presence.roll import Roll
from bcast_grpc.presence.rooms import Rooms
from bcast_grpc.presence.stamps import Stamps

PATIENCE_S = 0.3
"""How long a room that is opened waits for what the other servers say of it."""

_KEPT_S = 5.0
_MAX_KEPT = 1000
_ASKED_AT_ONCE = 64
_MAX_ASKED = 1024


class SharedPresence:
    """A ``Presence`` that knows the clients of all servers. A ``Part`` of the talk between them.

    Args:
        me: the name of this run of the server.
        talk: what servers say to each other.
    """

    def __init__(self, me: str, talk: Talk) -> None:
        self._me = me
        self._talk = talk
        self._rooms = Rooms(me)
        self._stamps = Stamps(time.time_ns)
        self._own = Own(self._rooms, self._stamps, talk.say, _soon, _now_s, lambda: talk.max_bytes)
        self._departures = Departures(self._rooms, _later, _now_s)
        self._others = Others(self._rooms, self._stamps, self._departures, self._ask, _now_s)
        self._kept: dict[str, float] = {}  # rooms without a watcher, and since when
        self._waiting: dict[asyncio.Event, str] = {}
        talk.attach(self)

    # --- for the hub

    async def start(self) -> None:
        """Wait until the other servers have answered: their stamps have to be known before the first is given here."""
        await self._talk.acquainted()

    async def open(self, room: str) -> None:
        """Ask the other servers who is in a room, and wait a little for the answers."""
        self._open(room)
        if self._knows(room):
            return
        known = asyncio.Event()
        self._waiting[known] = room
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await known.wait()
        finally:
            del self._waiting[known]

    def _open(self, room: str) -> None:
        if room not in self._rooms.rolls:
            roll = self._rooms.rolls[room] = Roll()
            for present in self._own.presents(room):
                roll.put(self._me, present)
            self._kept[room] = _now_s()
        self._others.open(room)

    def _knows(self, room: str) -> bool:
        return self._others.knows(room, self._talk.peers.prompt(_now_s()))

    def stamp(self) -> int:
        """Return a number that is greater than all before it."""
        return self._stamps.next()

    def watch(self, room: str, watcher: Watcher) -> None:
        """Tell ``watcher`` what happens in a room on other servers."""
        self._open(room)
        self._rooms.watchers[room] = watcher
        self._kept.pop(room, None)

    def unwatch(self, room: str) -> None:
        """Stop telling. What is known of the room is kept for a little while: it may be opened again."""
        self._rooms.watchers.pop(room, None)
        self._kept[room] = _now_s()

    def _close(self, room: str) -> None:
        del self._kept[room]
        self._rooms.rolls.pop(room, None)
        self._others.close(room)

    def elsewhere(self, room: str, key: str, *, reader: bool) -> Present | None:
        """Return the client of another server with this key."""
        roll = self._rooms.rolls.get(room)
        return roll.elsewhere(self._me, key, reader=reader) if roll else None

    def put(self, room: str, present: Present) -> None:
        """Add a client of this server to a room, or change its name."""
        self._departures.hurry(room, present.author.name)
        if roll := self._rooms.rolls.get(room):
            roll.put(self._me, present)
        self._own.put(room, present)

    def drop(self, room: str, session: str, *, replaced: bool = False) -> None:
        """Remove a client of this server from a room."""
        present = self._own.find(room, session)
        if roll := self._rooms.rolls.get(room):
            roll.drop(self._me, present)
        self._own.drop(room, session, replaced=replaced)

    def members(self, room: str) -> Sequence[Member]:
        """Return the clients in a room, in the order of arrival; none if it is not open here."""
        roll = self._rooms.rolls.get(room)
        return roll.members() if roll else []

    def count(self, room: str) -> int:
        """Return how many clients are in a room; 0 if it is not open here."""
        roll = self._rooms.rolls.get(room)
        return roll.count if roll else 0

    # --- a part of the talk

    def beat(self) -> Iterator[pb.PeerMessage]:
        """Return what is said with each beat."""
        return self._own.beat()

    def heard(self, message: pb.PeerMessage) -> None:
        """Take what another server says."""
        if message.HasField("ask"):
            rooms = message.ask.rooms[:_MAX_ASKED]
            self._own.answer(message.server, [room for room in rooms if len(room) <= MAX_ROOM])
        self._others.heard(message)
        if self._waiting and message.HasField("lists"):
            listed = {one.room for one in message.lists.lists}
            for known, room in self._waiting.items():
                if room in listed and self._knows(room):
                    known.set()

    def gone(self, server: str) -> None:
        """Note that another server has ended, or says nothing any more: its clients have left."""
        self._others.gone(server)

    def tick(self, now_s: float) -> None:
        """Do what is due."""
        self._own.tick(now_s)
        self._others.tick(now_s)
        while self._kept:
            room, since_s = next(iter(self._kept.items()))
            if now_s - since_s < _KEPT_S and len(self._kept) <= _MAX_KEPT:
                return
            self._close(room)

    def end(self) -> None:
        """Say what is still to be said."""
        self._own.end()

    def _ask(self, server: str, rooms: Sequence[str]) -> None:
        for first in range(0, len(rooms), _ASKED_AT_ONCE):
            self._talk.say(pb.PeerMessage(ask=pb.Ask(rooms=rooms[first : first + _ASKED_AT_ONCE])), server)


def _soon(callback: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(callback)


def _later(delay_s: float, callback: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(delay_s, callback)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
