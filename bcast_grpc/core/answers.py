"""Each author's requests are answered in the order in which they came."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from bcast_grpc.core import notices
from bcast_grpc.core.batch import Due
from bcast_grpc.core.member import Member
from bcast_grpc.core.pending import Pending
from bcast_grpc.errors import BcastError
from bcast_grpc.events import Author, Event

Take: TypeAlias = Callable[[Sequence[Event]], None]
"""Takes the answers for an author that holds no stream."""


class Answers:
    """Queues each answer behind the acks of the messages that are pending or being flushed.

    Args:
        members: the clients in the room, by public session id.
        pending: the messages that no flush has pushed yet.
    """

    __slots__ = ("_attached", "_flushing", "_late", "_members", "_pending")

    def __init__(self, members: Mapping[str, Member], pending: Pending) -> None:
        self._members = members
        self._pending = pending
        self._attached: dict[str, Take] = {}
        self._flushing = False
        self._late: list[Due] = []  # came while a flush was going on

    def __bool__(self) -> bool:
        return bool(self._attached)

    def attach(self, author: Author, take: Take) -> None:
        """Pass the answers for an author that holds no stream to ``take``, until ``detach``."""
        self._attached[author.session] = take

    def detach(self, author: Author) -> None:
        """Forget an author that was attached."""
        self._attached.pop(author.session, None)

    def put(self, due: Due) -> None:
        """Make the answers, and give them, once everything before them has been answered."""
        if self._pending.attach(due):
            return
        if self._flushing:
            self._late.append(due)
        else:
            self.give(due.session, due.make())

    def give(self, session: str, answers: Sequence[Event]) -> None:
        """Answer now. Answers for a client that has left are dropped."""
        if member := self._members.get(session):
            member.answer(answers)
        elif take := self._attached.get(session):
            take(answers)

    def refuse(self, error: BcastError) -> None:
        """Answer everyone who holds no stream with an error."""
        for take in list(self._attached.values()):
            take([notices.error(error, "")])

    def hold(self) -> None:
        """Hold back the answers that come from now on until ``release``: a flush begins."""
        self._flushing = True

    def release(self) -> None:
        """Give the answers that were held back during the flush."""
        self._flushing = False
        late, self._late = self._late, []
        for due in late:
            self.give(due.session, due.make())
