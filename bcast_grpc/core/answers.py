"""Who asked for what is answered in the order of asking."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from bcast_grpc.core.batch import Due
from bcast_grpc.core.member import Member
from bcast_grpc.core.pending import Pending
from bcast_grpc.events import Author, Event

Take: TypeAlias = Callable[[Sequence[Event]], None]
"""Takes the answers for an author that holds no stream."""


class Answers:
    """Puts each answer behind the acks of what its room has pending, or is flushing.

    Args:
        members: who is here, by public session id.
        pending: what no flush has pushed yet.
    """

    def __init__(self, members: Mapping[str, Member], pending: Pending) -> None:
        self._members = members
        self._pending = pending
        self._attached: dict[str, Take] = {}
        self._flushing = False
        self._late: list[Due] = []  # came while a flush was going on

    def __bool__(self) -> bool:
        return bool(self._attached)

    def attach(self, author: Author, take: Take) -> None:
        """Give the answers for an author that holds no stream to ``take``, until ``detach``."""
        self._attached[author.session] = take

    def detach(self, author: Author) -> None:
        """Forget an author that was attached."""
        self._attached.pop(author.session, None)

    def put(self, due: Due) -> None:
        """Make and give answers when it is their turn."""
        if self._pending.attach(due):
            return
        if self._flushing:
            self._late.append(due)
        else:
            self.give(due.session, due.make())

    def give(self, session: str, answers: Sequence[Event]) -> None:
        """Answer now. Who is gone gets nothing."""
        if member := self._members.get(session):
            member.answer(answers)
        elif take := self._attached.get(session):
            take(answers)

    def hold(self) -> None:
        """Have what comes from now on wait until ``release``: a flush begins."""
        self._flushing = True

    def release(self) -> None:
        """Answer what came during the flush."""
        self._flushing = False
        late, self._late = self._late, []
        for due in late:
            self.give(due.session, due.make())
