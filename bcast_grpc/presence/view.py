"""What one other server has said of one room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bcast_grpc.core.presence import Present
from bcast_grpc.presence.messages import size_of

_MAX_CHANGES = 8192
_NEVER_S = -1e9


class Difference(NamedTuple):
    """What a list says that was not known."""

    came: Sequence[Present]
    left: Sequence[Present]


class View:
    """The clients of one other server in one room.

    Notices change it. If one may have got lost, it is not ``fresh`` until a list comes that the server made after that.

    Args:
        needed: of how many notices the first list has to know.

    Attributes:
        presents: the clients, by session.
        asked_s: when a list was last asked for.
        parts_bytes: what the parts of a list take that is not complete yet.
    """

    __slots__ = ("_changed", "_listed", "_needed", "_next_part", "_parts", "asked_s", "parts_bytes", "presents")

    def __init__(self, needed: int) -> None:
        self.presents: dict[str, Present] = {}
        self.asked_s = _NEVER_S
        self._needed = needed
        self._listed = -1  # how many notices the last list knew of
        self._changed: dict[str, int] = {}  # since it is not fresh: by which notice each session was changed last
        self.drop_parts()

    @property
    def fresh(self) -> bool:
        """Whether it is as the server last said."""
        return self._listed >= self._needed

    def lack(self, number: int) -> None:
        """Note that a notice up to ``number`` may have got lost."""
        self._needed = max(self._needed, number)

    def knows(self, number: int) -> bool:
        """Whether the last list knew of this notice."""
        return number <= self._listed

    def note(self, session: str, number: int) -> None:
        """Note that a notice has changed a session."""
        if self.fresh:
            return
        if len(self._changed) >= _MAX_CHANGES:  # too much to remember: only a list that knows of all of it will do
            self._changed.clear()
            self._needed = max(self._needed, number)
        self._changed[session] = number

    def drop_parts(self) -> None:
        """Drop the parts of a list that is not complete."""
        self._parts: list[Present] = []
        self._next_part: tuple[int, int] | None = None
        self.parts_bytes = 0

    def take(self, number: int, part: int, presents: Sequence[Present], *, more: bool) -> Difference | None:
        """Take a part of a list.

        Returns:
            What is different in the list; None if it is not complete yet, or not late enough.
        """
        if part == 0:
            self.drop_parts()
            self._next_part = (number, 0)
        if self._next_part != (number, part):
            return None
        self._parts += presents
        self._next_part = (number, part + 1)
        if more:
            self.parts_bytes += sum(map(size_of, presents))
            return None
        listed = {present.author.session: present for present in self._parts}
        self.drop_parts()
        if self.fresh or number < self._needed:
            return None
        self._listed = number
        changed, self._changed = self._changed, {}
        later = {session for session, by in changed.items() if by > number}
        return Difference(
            [one for session, one in listed.items() if session not in later and self.presents.get(session) != one],
            [one for session, one in self.presents.items() if session not in later and session not in listed],
        )
