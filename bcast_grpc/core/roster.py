"""Which clients of this server are in a room, indexed by session, by client and by the kinds of events they want."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain

from bcast_grpc.core.member import Member
from bcast_grpc.events import Author, Kind


class Roster:
    """The members of one room, in the order of arrival.

    They are grouped by the kinds of events that they want, so the cost of a notice is proportional to the number of
    members that want it.
    """

    __slots__ = ("_by_client", "_by_kinds", "_by_session")

    def __init__(self) -> None:
        self._by_session: dict[str, Member] = {}
        self._by_client: dict[tuple[str, bool], Member] = {}
        self._by_kinds: dict[frozenset[Kind], dict[Member, None]] = {}

    @property
    def by_session(self) -> Mapping[str, Member]:
        """All members, by their public session id."""
        return self._by_session

    def add(self, member: Member) -> None:
        """Add a client."""
        self._by_session[member.author.session] = member
        self._by_client[member.author.key, member.reader] = member
        self._by_kinds.setdefault(member.kinds, {})[member] = None

    def remove(self, member: Member) -> bool:
        """Remove a client; return False if it was removed already."""
        if self._by_session.get(member.author.session) is not member:
            return False
        del self._by_session[member.author.session]
        del self._by_client[member.author.key, member.reader]
        self.deafen(member)
        return True

    def deafen(self, member: Member) -> None:
        """Offer nothing more to a client whose call is ending; it stays in the list of members."""
        group = self._by_kinds.get(member.kinds, {})
        group.pop(member, None)
        if not group:
            self._by_kinds.pop(member.kinds, None)

    def regroup(self, member: Member, kinds: frozenset[Kind]) -> None:
        """Change which kinds of events a client gets."""
        listens = member in self._by_kinds.get(member.kinds, ())
        self.deafen(member)
        member.kinds = kinds
        if listens:
            self._by_kinds.setdefault(kinds, {})[member] = None

    def with_client(self, key: str, *, reader: bool) -> Member | None:
        """Return the member with this ``bcast-client``."""
        return self._by_client.get((key, reader))

    def wants(self, kind: Kind, author: Author) -> bool:
        """Return whether anyone but the author wants events of this kind. Cost: O(1)."""
        return any(
            member.author.key != author.key  # at most two members have the same key, so this soon finds another
            for kinds, group in self._by_kinds.items()
            if kind in kinds
            for member in group
        )

    def audience(self, kinds: Iterable[Kind]) -> list[Member]:
        """Return the members that want any of these kinds. Cost: O(the number of them)."""
        asked = frozenset(kinds)
        return list(chain.from_iterable(group for wanted, group in self._by_kinds.items() if wanted & asked))
