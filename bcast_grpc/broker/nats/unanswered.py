"""What was submitted to an order and is not answered yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bcast_grpc.broker.backlog import Backlog
from bcast_grpc.broker.base import Accepted, Began, Outcome


class _Awaited(NamedTuple):
    """Something that is due when so many entries have been answered.

    Attributes:
        answered: how many.
        messages: how many were submitted together; 0 for a callback.
        bytes: their size.
    """

    answered: int
    messages: int
    bytes: int
    callback: Callable[[], None] | None = None


class Unanswered:
    """Counts the entries of one order in the backlog until they are answered, and calls back then.

    Args:
        backlog: how much waits to be in the logs of all rooms.
    """

    __slots__ = ("_answered", "_awaited", "_backlog", "_submitted")

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog
        self._submitted = 0
        self._answered = 0
        self._awaited: deque[_Awaited] | tuple[()] = ()  # as most rooms are quiet, and a deque takes 0.8 KB

    def __len__(self) -> int:
        """How many publishes and callbacks wait."""
        return len(self._awaited)

    def submit(self, messages: int, size: int) -> None:
        """Count what was submitted together."""
        self._submitted += messages
        self._add(_Awaited(self._submitted, messages, size))

    def mark(self, callback: Callable[[], None]) -> None:
        """Call back when everything before has been answered."""
        self._add(_Awaited(self._submitted, 0, 0, callback))

    def _add(self, awaited: _Awaited) -> None:
        if not isinstance(self._awaited, deque):
            self._awaited = deque()
        self._awaited.append(awaited)
        self._backlog.add(awaited.messages, awaited.bytes)

    def answer(self, outcomes: Sequence[Outcome]) -> None:
        """Stop counting what is answered by these, and call back."""
        for outcome in outcomes:
            if isinstance(outcome, Accepted):
                self._answered += sum(entry is not None for entry in outcome.entries)
            elif not isinstance(outcome, Began):
                self._answered += len(outcome.entries)
        while isinstance(self._awaited, deque) and self._awaited and self._awaited[0].answered <= self._answered:
            awaited = self._awaited.popleft()
            self._backlog.remove(awaited.messages, awaited.bytes)
            if awaited.callback:
                awaited.callback()

    def clear(self) -> None:
        """Stop counting: nothing will be answered any more."""
        for awaited in self._awaited:
            self._backlog.remove(awaited.messages, awaited.bytes)
        self._awaited = ()
