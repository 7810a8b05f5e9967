"""The NATS servers that hold a stream: who leads, who is cut off from the others, and what each of them has."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple

from tests.simulator.agenda import Agenda


class Stored(NamedTuple):
    """A record in the log."""

    sequence: int
    data: bytes
    at_ns: int


class Leader(Enum):
    """Whom a request to the stream's leader reaches."""

    CURRENT = auto()
    """The leader that has a quorum."""

    ALONE = auto()
    """One that was cut off from the others, and still takes itself for the leader."""

    NOBODY = auto()


class Replicas:
    """One NATS server, or three of which one may be cut off. The other two elect a leader if they have lost theirs.

    Attributes:
        leader: which one leads, or did until it was cut off.
        cut: which one is cut off; None if none is.
        is_down: whether that one does not run.
        kept: the log of the one that is cut off, as it was then.
        term: how often a leader was elected.
        on_election: called when there is a new leader.
    """

    def __init__(self, agenda: Agenda, count: int) -> None:
        self.leader = 0
        self.cut: int | None = None
        self.is_down = False
        self.kept: list[Stored] = []
        self.term = 0
        self.on_election: Callable[[], None] = lambda: None
        self._agenda = agenda
        self._count = count
        self._times = 0  # that one was cut off
        self._resigned = False

    def choose(self) -> int:
        """Return the server that somebody connects to."""
        running = [one for one in range(self._count) if not (self.is_down and one == self.cut)]
        return self._agenda.random.choice(running)

    def reaches(self, one: int, other: int) -> bool:
        """Whether a message comes from one server to another."""
        return one == other or self.cut not in (one, other)

    def led(self, server: int) -> Leader:
        """Say whom a request to the leader reaches that comes in at a server."""
        if self.cut is None:
            return Leader.CURRENT
        if server != self.cut:
            return Leader.NOBODY if self.cut == self.leader else Leader.CURRENT
        return Leader.ALONE if self.is_alone else Leader.NOBODY

    @property
    def is_alone(self) -> bool:
        """Whether the one that is cut off takes itself for the leader."""
        return self.cut is not None and not self.is_down and not self._resigned

    def cut_off(self, kept: list[Stored], *, leader: bool, down: bool) -> bool:
        """Cut one server off, which has ``kept`` of the log; return whether that could be done."""
        if self._count == 1 or self.cut is not None:
            return False
        random = self._agenda.random
        others = [one for one in range(self._count) if one != self.leader]
        self.cut, self.is_down, self.kept = self.leader if leader else random.choice(others), down, kept
        self._resigned = not leader
        self._times += 1
        if leader:
            times = self._times
            self._agenda.after(self._agenda.ms(100, 2500), lambda: self._elect(times))
            self._agenda.after(self._agenda.ms(500, 10_000), lambda: self._resign(times))
        return True

    def _elect(self, times: int) -> None:
        if times == self._times and self.cut == self.leader:
            self.leader = self._agenda.random.choice([one for one in range(self._count) if one != self.cut])
            self.term += 1
            self.on_election()

    def _resign(self, times: int) -> None:
        if times == self._times:
            self._resigned = True

    def heal(self) -> bool:
        """Let all reach each other again; return whether there were two leaders until now."""
        were_two = self.is_alone and self.cut != self.leader
        self.cut = None
        self.is_down = False
        return were_two
