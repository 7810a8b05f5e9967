"""Who is in each room: the seam for a backend that knows it of many servers, and what one server alone uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from bcast_grpc.events import Author, Event, Member

Tell: TypeAlias = Callable[[Event], None]


class Presence(Protocol):
    """Knows who is in each room, on any server, and passes on who came, left or was renamed.

    No method waits. The hub calls all of them, with its lock held.
    """

    def watch(self, room: str, tell: Tell) -> None:
        """Call ``tell``, in the hub's loop, with what any server announces in a room, until ``unwatch``."""

    def unwatch(self, room: str) -> None:
        """Stop calling back: this server has closed the room."""

    def put(self, room: str, author: Author, since_ns: int) -> None:
        """Add a client of this server to a room, or change its name. ``since_ns`` says when it came, in Unix time."""

    def drop(self, room: str, session: str) -> None:
        """Remove a client of this server from a room."""

    def announce(self, room: str, notice: Event) -> None:
        """Pass a ``JOINED`` or ``LEFT`` on to every server that watches the room, this one included."""

    def members(self, room: str) -> Sequence[Member]:
        """Return who is in a room, in the order of arrival."""

    def count(self, room: str) -> int:
        """Return how many are in a room. Cost: O(1)."""


class LocalPresence:
    """The ``Presence`` of a server that has its rooms to itself."""

    def __init__(self) -> None:
        self._rooms: dict[str, dict[str, Member]] = {}
        self._watchers: dict[str, Tell] = {}

    def watch(self, room: str, tell: Tell) -> None:
        """Call ``tell`` with what is announced in a room, until ``unwatch``."""
        self._watchers[room] = tell

    def unwatch(self, room: str) -> None:
        """Stop calling back."""
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
        """Call back whoever watches the room, before returning."""
        if tell := self._watchers.get(room):
            tell(notice)

    def members(self, room: str) -> Sequence[Member]:
        """Return who is in a room, in the order of arrival."""
        return list(self._rooms.get(room, {}).values())

    def count(self, room: str) -> int:
        """Return how many are in a room."""
        return len(self._rooms.get(room, ()))
