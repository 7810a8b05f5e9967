"""Who is in each room: the interface for a backend that knows the clients of many servers, and that of one server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from bcast_grpc.events import Author, Event, Member

Tell: TypeAlias = Callable[[Event], None]


class Presence(Protocol):
    """Knows who is in each room, on all servers, and announces joins, departures and new names.

    No method waits. The hub calls all of them while it holds its lock.
    """

    def watch(self, room: str, tell: Tell) -> None:
        """Call ``tell``, in the hub's loop, with each notice that any server announces in a room, until ``unwatch``."""

    def unwatch(self, room: str) -> None:
        """Stop calling ``tell``: this server has closed the room."""

    def put(self, room: str, author: Author, since_ns: int) -> None:
        """Add a client of this server to a room, or change its name. It came ``since_ns`` nanoseconds after 1970."""

    def drop(self, room: str, session: str) -> None:
        """Remove a client of this server from a room."""

    def announce(self, room: str, notice: Event) -> None:
        """Pass a ``JOINED`` or ``LEFT`` on to every server that watches the room, this one included."""

    def members(self, room: str) -> Sequence[Member]:
        """Return the clients in a room, in the order of arrival."""

    def count(self, room: str) -> int:
        """Return how many clients are in a room. Cost: O(1)."""


class LocalPresence:
    """The ``Presence`` of a single server."""

    def __init__(self) -> None:
        self._rooms: dict[str, dict[str, Member]] = {}
        self._watchers: dict[str, Tell] = {}

    def watch(self, room: str, tell: Tell) -> None:
        """Call ``tell`` with each notice that is announced in a room, until ``unwatch``."""
        self._watchers[room] = tell

    def unwatch(self, room: str) -> None:
        """Stop calling ``tell``."""
        self._watchers.pop(room, None)

    def put(self, room: str, author: Author, since_ns: int) -> None:
        """Add a client to a room, or change its name; its place in the order of arrival stays."""
        self._rooms.setdefault(room, {})[author.session] = Member(author.session, author.name, since_ns)

    def drop(self, room: str, session: str) -> None:
        """Remove a client from a room."""
        members = self._rooms[room]
        del members[session]
        if not members:
            del self._rooms[room]

    def announce(self, room: str, notice: Event) -> None:
        """Pass a notice on to the room, before returning."""
        if tell := self._watchers.get(room):
            tell(notice)

    def members(self, room: str) -> Sequence[Member]:
        """Return the clients in a room, in the order of arrival."""
        return list(self._rooms.get(room, {}).values())

    def count(self, room: str) -> int:
        """Return how many clients are in a room."""
        return len(self._rooms.get(room, ()))
