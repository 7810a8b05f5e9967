"""What is given up when the memory that the process may use runs short: histories, the largest first."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from bcast_grpc.broker.budget import Budget

logger = logging.getLogger(__name__)

_SLACK = 0.05
_OVER = 0.8


class Holder(Protocol):
    """What holds messages in memory: a history."""

    @property
    def held(self) -> int:
        """About how many bytes of memory they take."""

    def shrink(self, held: int) -> None:
        """Drop the oldest, until the others take at most ``held`` bytes."""


class Relief:
    """Drops histories while more than nine tenths of the budget are used, with one warning for each such time."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._warned = False

    @property
    def needed(self) -> bool:
        """Whether something must be dropped. It is logged once each time this begins."""
        budget = self._budget
        self._warned = self._warned and budget.used > budget.max_bytes * _OVER
        return budget.excess > 0

    @property
    def urgent(self) -> bool:
        """Whether it should not wait for the next time that it is asked anyway."""
        budget = self._budget
        return budget.excess > 0 and budget.histories > budget.max_bytes * _SLACK

    def relieve(self, idle: Mapping[str, Holder], drop: Callable[[str], object], busy: Collection[Holder]) -> None:
        """Drop what is too much.

        Args:
            idle: the histories of empty rooms. They are dropped first and whole, the largest before the others.
            drop: drops one of those.
            busy: the histories of the other rooms. The largest are cut to one size.
        """
        budget = self._budget
        if not self._warned and budget.histories:
            self._warned = True
            logger.warning("memory runs short, so the largest histories are dropped: %s", budget)
        goal = budget.used - budget.excess - int(budget.max_bytes * _SLACK)
        for room in sorted(idle, key=lambda room: idle[room].held, reverse=True):
            if budget.used <= goal:
                return
            drop(room)
        if budget.used > goal:
            level = _level([history.held for history in busy], budget.used - goal)
            for history in busy:
                history.shrink(level)


def _level(sizes: Sequence[int], excess: int) -> int:
    """Return the size that nothing may have more than, so that all together are less by ``excess``."""
    above = 0
    falling = sorted(sizes, reverse=True)
    for count, size in enumerate(falling, 1):
        above += size
        level = (above - excess) // count
        if level >= (falling[count] if count < len(falling) else 0):
            return level
    return 0
