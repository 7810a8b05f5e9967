"""Which server to try next. No I/O."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Hashable, Iterable
from itertools import count
from typing import Generic, TypeVar

A = TypeVar("A", bound=Hashable)

_EARLY_S = 0.01
"""A timer may go off this much too early."""

_BEHIND = 1_000_000.0
"""Behind any that has not failed yet."""


class Choice(Generic[A]):
    """The order in which servers are tried.

    Each client begins with a random one, so that clients spread over the servers. What failed, was slow or was lost
    goes to the end, so the next one is as random, and the clients of a lost server spread over all others. A server
    that asked for time is not tried before, as long as there is another.

    Args:
        clock: the time in seconds.
        chance: a random number from 0 to less than 1.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, chance: Callable[[], float] = random.random
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._later: dict[A, int] = {}
        self._ranks: dict[A, float] = {}
        self._not_before: dict[A, float] = {}
        self._failures = count()

    def order(self, known: Iterable[tuple[A, int]]) -> list[A]:
        """Return those to try now, best first; never none if any is known.

        Args:
            known: all that there are now, each with how many kinds are preferred to it; others are forgotten.
        """
        self._later = dict(known)
        ranks = {each: self._ranks.get(each, later + self._chance()) for each, later in self._later.items()}
        self._ranks = ranks
        self._not_before = {each: until for each, until in self._not_before.items() if each in ranks}
        ordered = sorted(ranks, key=ranks.__getitem__)
        if free := [each for each in ordered if self._wait_s(each) <= _EARLY_S]:
            return free
        return sorted(ordered, key=self._wait_s)[:1]

    def put_last(self, one: A, wait_s: float = 0.0) -> None:
        """Try all others before this one, which asked to be left alone for ``wait_s``."""
        self._ranks[one] = _BEHIND + next(self._failures)
        self._not_before[one] = self._clock() + wait_s

    def leave(self, one: A, wait_s: float = 0.0) -> None:
        """Put a server last that has served for a while. All others are as good as any again, whenever they failed.

        Else all clients would go round in one order after a restart of one server after the other.
        """
        self._ranks = {each: self._later[each] + self._chance() for each in self._ranks}
        self.put_last(one, wait_s)

    @property
    def has_other(self) -> bool:
        """Whether more than one may be tried now: the one that is in use, and another."""
        return sum(not self._wait_s(each) for each in self._ranks) > 1

    def wait_s(self) -> float:
        """How long until one of them may be tried; 0 for at once."""
        return min(map(self._wait_s, self._ranks), default=0.0)

    def _wait_s(self, one: A) -> float:
        until = self._not_before.get(one)
        return max(0.0, until - self._clock()) if until is not None else 0.0
