"""A model of one subject of a JetStream stream, as it was measured to behave with one and with three replicas."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

from bcast_grpc.broker.nats.actions import Append, ReadAfter, ReadEnd
from tests.simulator.agenda import MS, Agenda
from tests.simulator.plan import Plan

_BATCH = 8


class Stored(NamedTuple):
    """A record in the log."""

    sequence: int
    data: bytes
    at_ns: int


class Listener(Protocol):
    """One server's connection."""

    def hear(self, sequence: int, previous: int, data: bytes) -> None:
        """Get a live record."""

    def answer(self, call: Callable[[], object], delay_ns: int) -> None:
        """Get an answer, unless the connection has been lost since it was asked for."""


class Stream:
    """The truth, and how wrong the answers about it can be.

    Attributes:
        log: what is in it.
        listeners: the servers' connections.
        late_until_ns: until then appends arrive late, or never.
        lag_until_ns: until then replicas lag far behind.
        deposed_until_ns: until then some requests reach a leader that was deposed.
        stopped_until_ns: until then the leader does nothing, and what it was sent lands later.
        losses: how often records were lost that a server in use might have told.
        on_commit: called with each record that comes into the log.
        on_trim: called with each record that is removed.
    """

    def __init__(self, agenda: Agenda, plan: Plan) -> None:
        self.log: list[Stored] = []
        self.listeners: list[Listener] = []
        self.late_until_ns = self.lag_until_ns = self.deposed_until_ns = self.stopped_until_ns = 0
        self.losses = 0
        self.on_commit: Callable[[Stored], None] = lambda _: None
        self.on_trim: Callable[[Stored], None] = lambda _: None
        self._deposed_at_ns = 0
        self._agenda = agenda
        self._replicas = plan.replicas
        self._keep = plan.keep
        self._max_age_ns = plan.max_age_ms * MS
        self._alone = plan.alone
        self._sequence = agenda.random.randrange(3)
        self._busy = False
        self._generation = 0
        self._former: tuple[int, list[Stored]] = (0, [])  # what the log was before the last purge, and when

    @property
    def last(self) -> int:
        """The place of the last record; 0 if there is none."""
        return self.log[-1].sequence if self.log else 0

    # --- appending

    def append(self, listener: Listener, asked: Append, answers: Appends) -> None:
        """Take an append that a server sends now."""
        random, agenda = self._agenda.random, self._agenda
        delay = agenda.ms(0.1, 2)
        if agenda.now_ns < self.late_until_ns:
            fate = random.random()
            if fate < 0.25:
                return
            if fate < 0.7:
                delay += agenda.ms(1, 4000)
        agenda.after(delay, partial(self._arrive, listener, asked, answers, self._generation))

    def _arrive(self, listener: Listener, asked: Append, answers: Appends, generation: int) -> None:
        agenda = self._agenda
        if generation != self._generation:
            return  # it was sent to a process that has ended
        if agenda.now_ns < self.stopped_until_ns:
            agenda.at(
                self.stopped_until_ns + agenda.ms(0, 1), partial(self._arrive, listener, asked, answers, generation)
            )
            return
        if self._replicas > 1 and agenda.now_ns < self.deposed_until_ns and agenda.random.random() < 0.5:
            return  # the deposed leader finds no quorum, and does not say so
        self._expire()
        if self._busy:
            listener.answer(lambda: answers.refused(asked.ticket, None), agenda.ms(0.1, 2))
        elif asked.expected != self.last:
            last = self.last
            listener.answer(lambda: answers.refused(asked.ticket, last), agenda.ms(0.1, 2))
        elif self._replicas > 1:
            self._busy = True
            agenda.after(agenda.ms(0.2, 3), partial(self._commit, listener, asked, answers, generation))
        else:
            self._commit(listener, asked, answers, generation)

    def _commit(self, listener: Listener, asked: Append, answers: Appends, generation: int) -> None:
        if generation != self._generation:
            return
        self._busy = False
        agenda = self._agenda
        self._sequence += (
            1 if self._alone else agenda.random.choice((1, 1, 1, 2, 5))
        )  # other rooms are in the same stream
        previous, sequence = self.last, self._sequence
        self.log.append(Stored(sequence, asked.data, agenda.now_ns))
        self.on_commit(self.log[-1])
        if self._keep and len(self.log) > self._keep:
            self.on_trim(self.log.pop(0))
        for one in self.listeners:
            one.hear(sequence, previous, asked.data)
        listener.answer(lambda: answers.stored(asked.ticket, sequence), agenda.ms(0.1, 3))

    # --- reading

    def read_after(self, listener: Listener, asked: ReadAfter, answers: Reads) -> None:
        """Answer with what some replica has, or the leader."""
        self._agenda.after(self._agenda.ms(0.1, 2), partial(self._read_after, listener, asked, answers))

    def _read_after(self, listener: Listener, asked: ReadAfter, answers: Reads) -> None:
        if asked.leader and self._is_stopped:
            return
        log = self._leader() if asked.leader else self._replica()
        found = [(one.sequence, one.data) for one in log if one.sequence > asked.sequence]
        batch = found[: 1 if asked.leader else _BATCH]
        more = len(found) > len(batch)
        listener.answer(lambda: answers.records(asked.ticket, batch, more), self._agenda.ms(0.1, 4))

    def read_end(self, listener: Listener, asked: ReadEnd, answers: Reads) -> None:
        """Answer with the leader's last record."""
        self._agenda.after(self._agenda.ms(0.1, 2), partial(self._read_end, listener, asked, answers))

    def _read_end(self, listener: Listener, asked: ReadEnd, answers: Reads) -> None:
        if self._is_stopped:
            return
        log = self._leader()
        sequence, data = (log[-1].sequence, log[-1].data) if log else (0, b"")
        listener.answer(lambda: answers.end(asked.ticket, sequence, data), self._agenda.ms(0.1, 4))

    @property
    def _is_stopped(self) -> bool:
        return self._agenda.now_ns < self.stopped_until_ns

    def _leader(self) -> list[Stored]:
        self._expire()
        agenda = self._agenda
        if self._replicas > 1 and agenda.now_ns < self.deposed_until_ns and agenda.random.random() < 0.5:
            return self._as_of(self._deposed_at_ns)
        return self.log

    def _replica(self) -> list[Stored]:
        self._expire()
        agenda = self._agenda
        if self._replicas == 1 or agenda.random.random() < 0.4:
            return self.log
        lag_ns = agenda.ms(0, 2000) if agenda.now_ns < self.lag_until_ns else agenda.ms(0, 5)
        return self._as_of(agenda.now_ns - lag_ns)

    def _as_of(self, time_ns: int) -> list[Stored]:
        until_ns, former = self._former
        return [one for one in (former if time_ns < until_ns else self.log) if one.at_ns <= time_ns]

    # --- faults

    def depose(self, length_ns: int) -> None:
        """From now on some requests reach a leader that knows nothing newer."""
        self._deposed_at_ns = self._agenda.now_ns - self._agenda.ms(0, 300)
        self.deposed_until_ns = self._agenda.now_ns + length_ns

    def purge(self, keep: int) -> None:
        """Remove all but the last records; with none left, the last place is 0."""
        self._former = self._agenda.now_ns, list(self.log)
        if keep == 0 and self.log:
            self.losses += 1
        while len(self.log) > keep:
            self.on_trim(self.log.pop(0))

    def roll_back(self, length_ns: int) -> list[Stored]:
        """Put the log back to an older copy, and return what is lost. All that is under way is lost too."""
        kept = self._as_of(self._agenda.now_ns - length_ns)
        lost = [one for one in self.log if one not in kept]
        self._generation += 1
        self._busy = False
        self.log = kept
        self._former = 0, []
        self._sequence = self.last + self._agenda.random.choice((0, 0, 1))
        self.deposed_until_ns = 0
        self.losses += 1
        return lost

    def _expire(self) -> None:
        if self._max_age_ns:
            oldest_ns = self._agenda.now_ns - self._max_age_ns
            while self.log and self.log[0].at_ns <= oldest_ns:
                self.on_trim(self.log.pop(0))
                self.losses += not self.log


class Appends(Protocol):
    """Takes the answers to appends, as a ``RoomLog`` does."""

    def stored(self, ticket: int, sequence: int) -> object:
        """It was appended."""

    def refused(self, ticket: int, last: int | None) -> object:
        """It was not."""


class Reads(Protocol):
    """Takes the answers to reads, as a ``RoomLog`` does."""

    def records(self, ticket: int, records: list[tuple[int, bytes]], more: bool) -> object:
        """Some records."""

    def end(self, ticket: int, sequence: int, data: bytes) -> object:
        """The last record."""
