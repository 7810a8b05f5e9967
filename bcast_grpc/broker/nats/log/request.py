"""The one request by which a log is read at a time."""

from __future__ import annotations

from random import Random

from bcast_grpc.broker.clock import Clock
from bcast_grpc.broker.nats.log.limits import Limits

_NS = 1_000_000_000
_RETRY_NS = 50_000_000
_MOST_DOUBLINGS = 6
_LONGEST_NS = _NS


class Request:
    """What is asked for, or will be. The answer to an earlier request is not waited for.

    Attributes:
        due_ns: when to ask, or to give the answer up; None if there is nothing to ask for.
        waits: whether it has been sent, and has no answer yet.
    """

    __slots__ = ("_clock", "_failures", "_limits", "_random", "_ticket", "due_ns", "waits")

    def __init__(self, clock: Clock, random: Random, limits: Limits) -> None:
        self._clock = clock
        self._random = random
        self._limits = limits
        self._ticket = 0
        self._failures = 0
        self.due_ns: int | None = None
        self.waits = False

    def send(self) -> int:
        """Return the ticket of a request that is sent now."""
        self._ticket += 1
        self.waits = True
        self.due_ns = self._clock.now_ns() + int(self._limits.answer_s * _NS)
        return self._ticket

    def later(self, ns: int) -> None:
        """Have a request sent after about so long, a second at most."""
        self.waits = False
        self.due_ns = self._clock.now_ns() + min(int(ns * (0.5 + self._random.random() / 2)), _LONGEST_NS)

    def retry(self) -> None:
        """Have it sent again, each time after a longer pause."""
        self._failures += 1
        self.later(_RETRY_NS << min(self._failures, _MOST_DOUBLINGS))

    def answered(self, ticket: int) -> bool:
        """Note an answer. Whether it is the one that is waited for."""
        if not self.waits or ticket != self._ticket:
            return False
        self.cancel()
        return True

    def cancel(self) -> None:
        """Wait for nothing."""
        self.waits = False
        self.due_ns = None

    def forgive(self) -> None:
        """Forget earlier failures."""
        self._failures = 0
