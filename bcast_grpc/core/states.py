"""What a member of a room is, what moves it, and what it gets meanwhile. All of that stands here.

ARRIVING  is here, but some of what is pending was published before it came.
FED       gets the history, at its own pace, until it is level with the flushes.
LIVE      gets every flush.
LEAVING   gets what was pending when its call was to end.
GONE      gets nothing more. Its call is ending, or has ended.

``docs/design.md`` draws it. ``tests/core/test_states.py`` goes through all of it.
"""

from __future__ import annotations

from enum import Enum

from bcast_grpc.events import Kind

_NOTICES = frozenset({Kind.JOINED, Kind.LEFT})
_FLUSHES = _NOTICES | {Kind.MESSAGE, Kind.PROGRESS}


class State(Enum):
    """One of the five.

    Attributes:
        flushed: which kinds of events flushes push to such a member. ``PROGRESS`` goes with the messages: it is a place
            to resume from, and must not come before messages that the history still has to give.
        in_step: whether messages are among them.
        fed: whether the history gives it messages instead.
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
    BEHIND = "it asks for history, or its queue is full and may be filled from there"
    LEVEL = "it was fed all that has been flushed"
    LEAVE = "its call is to end"
    END = "its last words are queued, it was disconnected, or it has left the room"


class ImpossibleMove(Exception):
    """A member was to be moved as it cannot be in its state."""


_MOVES = {
    ARRIVING: {Move.ARRIVED: LIVE, Move.BEHIND: FED, Move.LEAVE: LEAVING, Move.END: GONE},
    # Who leaves while it is fed is first fed what was pending then, so it has to be level.
    FED: {Move.ARRIVED: FED, Move.LEVEL: LIVE, Move.LEAVE: FED, Move.END: GONE},
    LIVE: {Move.BEHIND: FED, Move.LEAVE: LEAVING, Move.END: GONE},
    LEAVING: {Move.ARRIVED: LEAVING, Move.BEHIND: FED, Move.LEAVE: LEAVING, Move.END: GONE},
    GONE: {Move.ARRIVED: GONE, Move.LEAVE: GONE, Move.END: GONE},
}
