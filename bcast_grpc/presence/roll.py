"""Who is in one room, on all servers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from bcast_grpc.core.presence import Present
from bcast_grpc.events import Member

Slot: TypeAlias = tuple[str, str | bool]
"""What only one client can be: a key, and whether it reads only; or a server and a session of it."""


class Candidate(NamedTuple):
    """A client, and the server that it is connected to."""

    server: str
    present: Present

    @property
    def rank(self) -> tuple[int, str, str]:
        """By which all servers find the same one to be the later of two."""
        return self.present.asked, self.server, self.present.author.session


class Change(NamedTuple):
    """Which client was listed before, and which one is now."""

    before: Candidate | None
    after: Candidate | None


class Roll:
    """The list of one room. Of several clients with the same key the one that asked last is listed.

    The others may be there yet, since their servers end them when they hear of it; and they count again if the later
    one leaves before that.
    """

    __slots__ = ("_hidden", "_listed", "_sorted")

    def __init__(self) -> None:
        self._listed: dict[Slot, Candidate] = {}
        self._hidden: dict[Slot, list[Candidate]] = {}
        self._sorted: list[Sequence[Member]] = []  # the list, if somebody has asked for it since the last change

    @property
    def count(self) -> int:
        """How many clients are listed."""
        return len(self._listed)

    def put(self, server: str, present: Present) -> Change:
        """Add a client, or change its name."""
        return self._change(Candidate(server, present), there=True)

    def drop(self, server: str, present: Present) -> Change:
        """Remove a client; it may be removed already."""
        return self._change(Candidate(server, present), there=False)

    def _change(self, one: Candidate, *, there: bool) -> Change:
        change = self._put_or_drop(one, there=there)
        self._sorted = []
        return change

    def _put_or_drop(self, one: Candidate, *, there: bool) -> Change:
        slot = _slot(one)
        before = self._listed.get(slot)
        rest = [other for other in (before, *self._hidden.pop(slot, ())) if other and not _is_same(other, one)]
        if there:
            rest.append(one)
        if not rest:
            self._listed.pop(slot, None)
            return Change(before, None)
        after = rest[0] if len(rest) == 1 else max(rest, key=lambda other: other.rank)
        self._listed[slot] = after
        if len(rest) > 1:
            self._hidden[slot] = [other for other in rest if other is not after]
        return Change(before, after)

    def elsewhere(self, me: str, key: str, *, reader: bool) -> Present | None:
        """Return the latest client with this key that is connected to another server than ``me``."""
        slot = (key, reader)
        found = [one for one in (self._listed.get(slot), *self._hidden.get(slot, ())) if one and one.server != me]
        return max(found, key=lambda one: one.rank).present if found else None

    def lists(self, server: str, present: Present) -> bool:
        """Whether this client is listed."""
        one = Candidate(server, present)
        listed = self._listed.get(_slot(one))
        return listed is not None and _is_same(listed, one)

    def members(self) -> Sequence[Member]:
        """Return the list, in the order of arrival."""
        kept = self._sorted  # another thread may ask, so a list made of what was before a change must not be kept
        if not kept:
            presents = [candidate.present for candidate in list(self._listed.values())]
            presents.sort(key=lambda present: (present.since_ns, present.author.session))
            kept.append([Member(author.session, author.name, since_ns) for author, since_ns, _, _ in presents])
        return kept[0]


def _slot(one: Candidate) -> Slot:
    author = one.present.author
    return (one.server, author.session) if author.key == author.session else (author.key, one.present.reader)


def _is_same(one: Candidate, other: Candidate) -> bool:
    return one.server == other.server and one.present.author.session == other.present.author.session
