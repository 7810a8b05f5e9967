"""The states of a member of a room, the moves between them, and what it gets in each state.

ARRIVING  has joined, but some of what is pending was published before that.
FED       gets the history, at its own pace, until it is level with the flushes.
LIVE      gets every flush.
LEAVING   gets what was pending when its call was to end.
GONE      gets nothing more. Its call is ending, or has ended.

Nothing elsewhere decides what a state means. ``docs/design.md`` draws the states, and ``tests/core/test_states.py``
tests every move.
"""

from __future__ import annotations

from enum import Enum

from bcast_grpc.events import Kind

_NOTICES = frozenset({Kind.JOINED, Kind.LEFT})
_FLUSHES = _NOTICES | {Kind.MESSAGE, Kind.PROGRESS}


class State(Enum):
    """What a member gets.

    Attributes:
        flushed: which kinds of events it gets from the flushes. ``PROGRESS`` comes only with the messages: it is a
            place to resume from, so it must not come before messages that are still to be fed.
        in_step: whether it gets messages from the flushes.
        fed: whether it gets messages from the history instead.
        answered: whether it gets the answers to its own requests.
    """

    flushed: frozenset[Kind]
    fed: bool
    answered: bool

    ARRIVING = "arriving", _FLUSHES, False, True
    FED = "fed", _NOTICES, True, True
    LIVE = "live", _FLUSHES, False, True
    LEAVING = "leaving", _FLUSHES, False, True
    GONE = "gone", frozenset[Kind](), False, False

    def __init__(self, word: str, flushed: frozenset[Kind], fed: bool, answered: bool) -> None:
        self.word = word
        self.flushed = flushed
        self.in_step = Kind.MESSAGE in flushed
        self.fed = fed
        self.answered = answered

    def after(self, move: Move) -> State:
        """Return the state that a move leads to.

        Raises:
            ImpossibleMove: there is no such move from here.
        """
        try:
            return _MOVES[self][move]
        except KeyError:
            raise ImpossibleMove(f"a member that is {self.word} cannot: {move.value}") from None


ARRIVING, FED, LIVE, LEAVING, GONE = State


class Move(Enum):
    """What happens to a member."""

    ARRIVED = "all that was published before it came has been flushed"
    BEHIND = "it asks for history, or its queue is full and it can be fed from the history"
    LEVEL = "it has been fed all that has been flushed"
    LEAVE = "its call is to end"
    END = "its last words are queued, it was disconnected, or it has left the room"


class ImpossibleMove(Exception):
    """The state of a member does not allow this move."""


_MOVES = {
    ARRIVING: {Move.ARRIVED: LIVE, Move.BEHIND: FED, Move.LEAVE: LEAVING, Move.END: GONE},
    # A member that leaves while it is fed stays FED until it is level: then it has what was pending.
    FED: {Move.ARRIVED: FED, Move.LEVEL: LIVE, Move.LEAVE: FED, Move.END: GONE},
    LIVE: {Move.BEHIND: FED, Move.LEAVE: LEAVING, Move.END: GONE},
    LEAVING: {Move.ARRIVED: LEAVING, Move.BEHIND: FED, Move.LEAVE: LEAVING, Move.END: GONE},
    GONE: {Move.ARRIVED: GONE, Move.LEAVE: GONE, Move.END: GONE},
}
