"""Drops histories, the largest first, when the memory budget runs short."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from bcast_grpc.broker.budget import Budget

logger = logging.getLogger(__name__)

_SLACK = 0.05
_OVER = 0.8


class Holder(Protocol):
    """Holds messages in memory, as a history does."""

    @property
    def held(self) -> int:
        """About how many bytes of memory the messages take."""

    def shrink(self, held: int) -> None:
        """Drop the oldest messages, until the others take at most ``held`` bytes."""


class Relief:
    """Drops histories while more than nine tenths of the budget are used. Logs one warning for each shortage."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._warned = False

    @property
    def needed(self) -> bool:
        """Whether something must be dropped."""
        budget = self._budget
        self._warned = self._warned and (budget.squeezed or budget.used > budget.bound * _OVER)
        return budget.excess > 0

    @property
    def urgent(self) -> bool:
        """Whether histories should be dropped at once, rather than at the next regular ``relieve``."""
        budget = self._budget
        return budget.excess > 0 and budget.histories > budget.bound * _SLACK

    def relieve(self, idle: Mapping[str, Holder], drop: Callable[[str], object], busy: Collection[Holder]) -> None:
        """Drop histories until the budget has room again.

        Args:
            idle: the histories of empty rooms, by room. They are dropped first and as a whole, the largest first.
            drop: drops the history of one of these rooms.
            busy: the histories of the other rooms. The largest ones are cut to the same size.
        """
        budget = self._budget
        if not self._warned and budget.histories:
            self._warned = True
            logger.warning("memory runs short, so the largest histories are dropped: %s", budget)
        goal = budget.goal
        for room in sorted(idle, key=lambda room: idle[room].held, reverse=True):
            if budget.used <= goal:
                return
            drop(room)
        if budget.used > goal:
            level = _level([history.held for history in busy], budget.used - goal)
            for history in busy:
                history.shrink(level)


def _level(sizes: Sequence[int], excess: int) -> int:
    """Return the size to which all larger ones are to be cut, so that the sum falls by ``excess``."""
    above = 0
    falling = sorted(sizes, reverse=True)
    for count, size in enumerate(falling, 1):
        above += size
        level = (above - excess) // count
        if level >= (falling[count] if count < len(falling) else 0):
            return level
    return 0
