"""A model of one subject of a JetStream stream, as it was measured to behave with one and with three replicas.

What happens while NATS servers are parted from each other follows from the rules of Raft.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

from bcast_grpc.broker.nats.log.actions import Append, ReadAfter, ReadEnd, ReadSince
from tests.simulator.agenda import MS, WALL_NS, Agenda
from tests.simulator.plan import Plan
from tests.simulator.replicas import Leader, Replicas, Stored
from tests.simulator.wires import Appends, Listener, Proposal, Reads

_BATCH = 8
_FEW = 4


class Stream:
    """The truth, and how wrong the answers about it can be.

    Attributes:
        log: what is in it.
        listeners: the servers' connections.
        replicas: the NATS servers that hold it.
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
        self.replicas = Replicas(agenda, plan.replicas)
        self.replicas.on_election = self._elected
        self.late_until_ns = self.lag_until_ns = self.deposed_until_ns = self.stopped_until_ns = 0
        self.losses = 0
        self.on_commit: Callable[[Stored], None] = lambda _: None
        self.on_trim: Callable[[Stored], None] = lambda _: None
        self._deposed: list[Stored] = []  # what the deposed leader has
        self._agenda = agenda
        self._replicas = plan.replicas
        self._keep = plan.keep
        self._max_age_ns = plan.max_age_ms * MS
        self._alone = plan.alone
        self._sequence = agenda.random.randrange(3)
        self._proposal: Proposal | None = None
        self._replicated = False  # whether those who elect a new leader have it
        self._alone_proposal = False  # whether the leader that is cut off has accepted one
        self._generation = 0
        self._former: tuple[int, list[Stored]] = (0, [])  # what the log was before the last purge, and when
        self._max_bytes = plan.max_bytes
        self._strangers: deque[tuple[int, int]] = deque()  # records of other rooms: places and sizes
        self._bytes = 0

    @property
    def last(self) -> int:
        """The place of the last record; 0 if there is none."""
        return self.log[-1].sequence if self.log else 0

    # --- appending

    def keep_old(self, data: bytes, age_ns: int) -> None:
        """Have a record that was appended long ago."""
        self._sequence += 1 if self._alone else self._agenda.random.choice((1, 1, 2, 5))
        self.log.append(Stored(self._sequence, data, self._agenda.now_ns - age_ns))
        self._bytes += len(data)
        self.on_commit(self.log[-1])

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
        match self._leads(listener):
            case Leader.NOBODY:
                if agenda.random.random() < 0.5:  # else nobody says that nobody is there
                    listener.answer(lambda: answers.unknown(asked.ticket), agenda.ms(0.1, 2))
            case Leader.ALONE:
                self._propose_alone(listener, asked, answers)
            case Leader.CURRENT:
                self._propose(Proposal(listener, asked, answers, generation, self.replicas.term))

    def _leads(self, listener: Listener) -> Leader:
        """Say whom a request reaches. Where a leader was just deposed it may be either."""
        agenda = self._agenda
        if self._replicas > 1 and agenda.now_ns < self.deposed_until_ns and agenda.random.random() < 0.5:
            return Leader.ALONE
        return self.replicas.led(listener.nats)

    def _propose_alone(self, listener: Listener, asked: Append, answers: Appends) -> None:
        """A leader without a quorum takes what it believes to fit, and never says anything about it."""
        has = self._has_alone()
        last = has[-1].sequence if has else 0
        if asked.expected != last:
            self._refuse(listener, asked, answers, last)
        elif self.replicas.led(listener.nats) is not Leader.ALONE:
            return  # a deposed one
        elif self._alone_proposal:
            self._refuse(listener, asked, answers, None)
        elif self.replicas.cut == self.replicas.leader:  # it is the leader again if nobody is elected
            self._alone_proposal = True
            self._proposal = Proposal(listener, asked, answers, self._generation, self.replicas.term)
            self._replicated = False
        else:
            self._alone_proposal = True

    def _propose(self, proposal: Proposal) -> None:
        listener, asked, answers = proposal[:3]
        self._expire()
        if self._proposal:
            self._refuse(listener, asked, answers, None)
        elif asked.expected != self.last:
            self._refuse(listener, asked, answers, self.last)
        elif self._replicas > 1:
            self._proposal = proposal
            self._agenda.after(self._agenda.ms(0.2, 3), partial(self._commit_of, proposal))
        else:
            self._commit(proposal)

    def _refuse(self, listener: Listener, asked: Append, answers: Appends, last: int | None) -> None:
        listener.answer(lambda: answers.refused(asked.ticket, last), self._agenda.ms(0.1, 2))

    def _commit_of(self, proposal: Proposal) -> None:
        """A quorum has stored it, unless its leader has been cut off meanwhile."""
        is_cut_off = self.replicas.cut == self.replicas.leader
        if proposal is self._proposal and proposal.generation == self._generation and not is_cut_off:
            self._commit(proposal)

    def _commit(self, proposal: Proposal, *, answered: bool = True) -> None:
        listener, asked, answers = proposal[:3]
        self._proposal = None
        agenda = self._agenda
        self._sequence += (
            1 if self._alone else agenda.random.choice((1, 1, 1, 2, 5))
        )  # other rooms are in the same stream
        previous, sequence = self.last, self._sequence
        self.log.append(Stored(sequence, asked.data, agenda.now_ns))
        self._bytes += len(asked.data)
        self.on_commit(self.log[-1])
        if self._keep and len(self.log) > self._keep:
            self._drop()
        self._bound()
        for one in self.listeners:
            if self.replicas.reaches(self.replicas.leader, one.nats):
                one.hear(sequence, previous, asked.data)
        if answered:
            listener.answer(lambda: answers.stored(asked.ticket, sequence), agenda.ms(0.1, 3))

    # --- reading

    def read_after(self, listener: Listener, asked: ReadAfter, answers: Reads) -> None:
        """Answer with what some replica has, or the leader."""
        self._agenda.after(self._agenda.ms(0.1, 2), partial(self._read_after, listener, asked, answers))

    def _read_after(self, listener: Listener, asked: ReadAfter, answers: Reads) -> None:
        log = self._leader(listener) if asked.leader else self._replica(listener)
        if log is None:
            self._fail(listener, asked.ticket, answers)
            return
        found = [(one.sequence, one.data) for one in log if one.sequence > asked.sequence]
        batch = found[: 1 if asked.leader else _FEW if asked.few else _BATCH]
        more = len(found) > len(batch)
        listener.answer(lambda: answers.records(asked.ticket, batch, more), self._agenda.ms(0.1, 4))

    def read_since(self, listener: Listener, asked: ReadSince, answers: Reads) -> None:
        """Answer with the leader's first record since a time."""
        self._agenda.after(self._agenda.ms(0.1, 2), partial(self._read_since, listener, asked, answers))

    def _read_since(self, listener: Listener, asked: ReadSince, answers: Reads) -> None:
        log = self._leader(listener)
        if log is None:
            self._fail(listener, asked.ticket, answers)
            return
        found = [(one.sequence, one.data) for one in log if one.at_ns + WALL_NS >= asked.time_ns]
        listener.answer(lambda: answers.records(asked.ticket, found[:1], False), self._agenda.ms(0.1, 4))

    def read_end(self, listener: Listener, asked: ReadEnd, answers: Reads) -> None:
        """Answer with the leader's last record."""
        self._agenda.after(self._agenda.ms(0.1, 2), partial(self._read_end, listener, asked, answers))

    def _read_end(self, listener: Listener, asked: ReadEnd, answers: Reads) -> None:
        log = self._leader(listener)
        if log is None:
            self._fail(listener, asked.ticket, answers)
            return
        sequence, data = (log[-1].sequence, log[-1].data) if log else (0, b"")
        listener.answer(lambda: answers.end(asked.ticket, sequence, data), self._agenda.ms(0.1, 4))

    def _fail(self, listener: Listener, ticket: int, answers: Reads) -> None:
        if self._agenda.random.random() < 0.5:  # else nobody says that nobody is there
            listener.answer(lambda: answers.failed(ticket), self._agenda.ms(0.1, 2))

    def _leader(self, listener: Listener) -> list[Stored] | None:
        self._expire()
        leads = self._leads(listener)
        if leads is Leader.NOBODY or self._agenda.now_ns < self.stopped_until_ns:
            return None
        return self._has_alone() if leads is Leader.ALONE else self.log

    def _has_alone(self) -> list[Stored]:
        """Return what a leader has that is not the leader any more."""
        return self.replicas.kept if self.replicas.is_alone else self._deposed

    def _replica(self, listener: Listener) -> list[Stored]:
        self._expire()
        agenda = self._agenda
        if self.replicas.cut == listener.nats:
            return self.replicas.kept
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
        self._deposed = self._as_of(self._agenda.now_ns - self._agenda.ms(0, 300))
        self.deposed_until_ns = self._agenda.now_ns + length_ns

    def cut_off(self, *, leader: bool, down: bool) -> None:
        """Part one of three NATS servers from the others, or end it."""
        lag_ns = 0 if leader else self._agenda.ms(0, 5)
        if self.replicas.cut_off(self._as_of(self._agenda.now_ns - lag_ns), leader=leader, down=down) and leader:
            self._alone_proposal = self._proposal is not None
            self._replicated = self._agenda.random.random() < 0.5

    def heal(self) -> None:
        """Let all NATS servers reach each other again. For a moment a deposed leader does not know that it is one."""
        if self.replicas.cut is None:
            return
        self._deposed = self.replicas.kept
        if self.replicas.heal():
            self.deposed_until_ns = self._agenda.now_ns + self._agenda.ms(0, 300)
        self._alone_proposal = False
        if proposal := self._proposal:  # nobody was elected meanwhile
            self._agenda.after(self._agenda.ms(0.2, 3), partial(self._commit_of, proposal))

    def _elected(self) -> None:
        """What the leader before had accepted is in the log if the others have it, and its author gets no answer."""
        if proposal := self._proposal:
            self._proposal = None
            if self._replicated:
                self._commit(proposal, answered=False)

    def purge(self, keep: int) -> None:
        """Remove all but the last records; with none left, the last place is 0."""
        self._former = self._agenda.now_ns, list(self.log)
        if keep == 0 and self.log:
            self.losses += 1
        while len(self.log) > keep:
            self._drop()

    def flood(self, size: int) -> None:
        """Let other rooms have so many bytes stored."""
        self._former = self._agenda.now_ns, list(self.log)
        self._sequence += 1
        self._strangers.append((self._sequence, size))
        self._bytes += size
        self._bound()

    def roll_back(self, length_ns: int) -> list[Stored]:
        """Put the log back to an older copy, and return what is lost. All that is under way is lost too."""
        kept = self._as_of(self._agenda.now_ns - length_ns)
        lost = [one for one in self.log if one not in kept]
        self._generation += 1
        self._proposal = None
        self._alone_proposal = False
        self.replicas.heal()
        self.log = kept
        self._former = 0, []
        self._sequence = self.last + self._agenda.random.choice((0, 0, 1))
        self._strangers.clear()
        self._bytes = sum(len(one.data) for one in kept)
        self.deposed_until_ns = 0
        self.losses += 1
        return lost

    def _drop(self) -> None:
        dropped = self.log.pop(0)
        self._bytes -= len(dropped.data)
        self.on_trim(dropped)

    def _bound(self) -> None:
        """Remove the oldest records, of whatever room, while the stream is larger than it may be."""
        while self._max_bytes and self._bytes > self._max_bytes:
            if self.log and (not self._strangers or self.log[0].sequence < self._strangers[0][0]):
                self._drop()
                self.losses += not self.log
            else:
                self._bytes -= self._strangers.popleft()[1]

    def _expire(self) -> None:
        if self._max_age_ns:
            oldest_ns = self._agenda.now_ns - self._max_age_ns
            while self.log and self.log[0].at_ns <= oldest_ns:
                self._drop()
                self.losses += not self.log
