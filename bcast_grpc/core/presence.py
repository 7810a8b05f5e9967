"""Who is in each room: the interface for a backend that knows the clients of many servers, and that of one server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import NamedTuple, Protocol

from bcast_grpc.broker.base import Order
from bcast_grpc.events import Author, Event, Member


class Present(NamedTuple):
    """A client in a room.

    Attributes:
        author: who it is for the others.
        since_ns: when it came, in nanoseconds since 1970.
        reader: whether it only reads: a reader and another client may have the same key.
        asked: its place in the order in which clients asked to come in, as ``Presence.stamp`` gave it.
    """

    author: Author
    since_ns: int
    reader: bool = False
    asked: int = 0


class Watcher(NamedTuple):
    """What is to be told to a room of this server. Everything is called in the hub's loop.

    Attributes:
        tell: called with each ``JOINED`` or ``LEFT`` about a client of another server.
        replaced: called with the session of a client of this server that has come to another one since.
        order: the room's order.
    """

    tell: Callable[[Event], None]
    replaced: Callable[[str], None]
    order: Order


class Presence(Protocol):
    """Knows who is in each room, on all servers, and tells rooms of what happens at the others.

    No method but ``start`` and ``open`` waits. The hub calls all others while it holds its lock.
    """

    async def start(self) -> None:
        """Learn which other servers there are. Called once, before any client comes."""

    async def open(self, room: str) -> None:
        """Learn who is in a room on other servers, before this server opens it. Waits for a moment at most."""

    def stamp(self) -> int:
        """Return a number that is greater than all before it, here and as far as other servers have been heard."""

    def watch(self, room: str, watcher: Watcher) -> None:
        """Tell ``watcher`` what happens in a room on other servers, until ``unwatch``."""

    def unwatch(self, room: str) -> None:
        """Note that this server has closed the room."""

    def elsewhere(self, room: str, key: str, *, reader: bool) -> Present | None:
        """Return the client of another server with this key."""

    def put(self, room: str, present: Present) -> None:
        """Add a client of this server to a room, or change its name."""

    def drop(self, room: str, session: str, *, replaced: bool = False) -> None:
        """Remove a client of this server from a room.

        Args:
            room: the room's name.
            session: the client's public session id.
            replaced: whether the same client has come again, so that it has not left.
        """

    def members(self, room: str) -> Sequence[Member]:
        """Return the clients in a room, in the order of arrival."""

    def count(self, room: str) -> int:
        """Return how many clients are in a room. Cost: O(1)."""


class LocalPresence:
    """The ``Presence`` of a single server, which has nothing to tell."""

    def __init__(self) -> None:
        self._rooms: dict[str, dict[str, Member]] = {}
        self._stamps = count(1)

    async def start(self) -> None:
        """Do nothing: there are no others."""

    async def open(self, room: str) -> None:
        """Do nothing."""

    def stamp(self) -> int:
        """Return the next number."""
        return next(self._stamps)

    def watch(self, room: str, watcher: Watcher) -> None:
        """Do nothing: nothing happens elsewhere."""

    def unwatch(self, room: str) -> None:
        """Do nothing."""

    def elsewhere(self, room: str, key: str, *, reader: bool) -> Present | None:
        """Return None: there are no others."""
        return None

    def put(self, room: str, present: Present) -> None:
        """Add a client to a room, or change its name; its place in the order of arrival stays."""
        author = present.author
        self._rooms.setdefault(room, {})[author.session] = Member(author.session, author.name, present.since_ns)

    def drop(self, room: str, session: str, *, replaced: bool = False) -> None:
        """Remove a client from a room."""
        members = self._rooms[room]
        del members[session]
        if not members:
            del self._rooms[room]

    def members(self, room: str) -> Sequence[Member]:
        """Return the clients in a room, in the order of arrival."""
        return list(self._rooms.get(room, {}).values())

    def count(self, room: str) -> int:
        """Return how many clients are in a room."""
        return len(self._rooms.get(room, ()))
