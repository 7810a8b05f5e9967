"""Reads the log of a room: the live feed, the holes in it, and all of it again where it went back."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from bcast_grpc.broker.clock import Clock
from bcast_grpc.broker.ids import Ids
from bcast_grpc.broker.nats.actions import ReadAfter, ReadEnd
from bcast_grpc.broker.nats.ahead import Ahead
from bcast_grpc.broker.nats.chain import Chain, Fit
from bcast_grpc.broker.nats.limits import Limits
from bcast_grpc.broker.nats.past import Past, Verdict
from bcast_grpc.broker.nats.record import Record
from bcast_grpc.broker.nats.rumour import Rumour
from bcast_grpc.broker.nats.states import Reading

NS = 1_000_000_000
_MS = 1_000_000
_FRUITLESS = 3  # so often a replica may lack what the leader has
_AGAIN_NS = 250 * _MS
_LONGEST_NS = NS


class Reader:
    """One server's reading of a log. It says what to ask for, and what is new.

    Attributes:
        state: how far the log is known.
        chain: what was read.
        asked: requests that are to be sent; the caller empties it.
        news: what is to be told, with why; the caller empties it.
        ids: the ids of the messages in the log.
    """

    def __init__(self, ids: Ids, clock: Clock, random: Random, limits: Limits) -> None:
        self.state = Reading.AWAY
        self.chain = Chain(limits)
        self.asked: list[ReadAfter | ReadEnd] = []
        self.news: list[tuple[Verdict, Record]] = []
        self.ids = ids
        self._clock = clock
        self._random = random
        self._limits = limits
        self._past = Past()
        self._ahead = Ahead(limits)
        self._whole = True  # whether the log is read from its beginning, so that void records are surely void
        self._void_after: int | None = None  # where the chain was when a record of a whole reading did not fit
        self._start = 0  # what to read after, to read the last epoch again
        self._ticket = 0
        self._waits = False  # for the answer to the last request
        self._due_ns: int | None = None  # when to ask again, or to give the answer up
        self._asked_at = 0  # where the chain was when the end was asked for
        self._failures = 0
        self._fruitless = 0
        self._rewound_ns = -_AGAIN_NS
        self._rumour = Rumour()

    @property
    def settled(self) -> bool:
        """Whether the end is known, so that something may be appended."""
        return self.state in (Reading.LEVEL, Reading.BEGINNING)

    @property
    def due_ns(self) -> int | None:
        """When ``tick`` has something to do."""
        return min((due for due in (self._due_ns, self._rumour.due_ns) if due is not None), default=None)

    # --- the connection

    def connected(self) -> None:
        """Ask for what was missed."""
        self._failures = self._fruitless = 0
        self._interrupted()
        self._ask(Reading.READING if self._whole else Reading.ENDING)

    def disconnected(self) -> None:
        """Expect no answers."""
        self.state = Reading.AWAY
        self._waits = False
        self._due_ns = None
        self._ahead.clear()

    def stop(self) -> None:
        """Read nothing more."""
        self.disconnected()
        self.state = Reading.STOPPED
        self._rumour.forget()

    # --- records

    def live(self, sequence: int, previous: int, record: Record) -> None:
        """Take a record of the live feed if it is the next one; else see what is missing."""
        chain = self.chain
        if previous == chain.sequence < sequence:
            self._take(sequence, record)
            self._catch_up()
        elif sequence > chain.sequence:
            self._ahead.put(sequence, previous, record)
            if self.settled:
                self._ask(Reading.READING)
        elif chain.id_at(sequence) != record.id:
            self.check()

    def own(self, sequence: int, expected: int, record: Record) -> None:
        """Take a record of this server, which was appended after ``expected``."""
        self.live(sequence, expected, record)

    def records(self, ticket: int, records: Sequence[tuple[int, Record]], more: bool) -> None:
        """Take records that were asked for. The live feed may have brought some of them meanwhile."""
        if not self._answered(ticket):
            return
        if self.state is Reading.PROVING:
            self._prove(records[0][0] if records else self.chain.sequence + 1)
            return
        before = self.chain.sequence
        for sequence, record in records:
            if sequence > self.chain.sequence:
                self._take(sequence, record)
            if self._asks:
                return  # it did not fit, so all is read again
        self._catch_up()
        if self._asks:
            return
        self._fruitless = 0 if self.chain.sequence > before else self._fruitless + 1
        self._ask(Reading.READING if more and records else Reading.ENDING)

    def end(self, ticket: int, sequence: int, record: Record | None) -> None:
        """Take the log's last record; 0 and None if there is none."""
        if not self._answered(ticket):
            return
        chain = self.chain
        if sequence < self._asked_at:  # not less than where the chain is: that may have moved meanwhile
            self._rewind()
        elif sequence > chain.sequence:
            wait_ns = 0 if self._fruitless == 0 else self._spread(2 * _MS << min(self._fruitless, 6))
            self._ask(Reading.READING, wait_ns)
        elif record and chain.id_at(sequence) not in ("", record.id):
            self._rewind()
        else:
            self._settle()

    def check(self) -> None:
        """See whether the log still ends where the chain does."""
        if self.settled:
            self._ask(Reading.ENDING)

    def failed(self, ticket: int) -> None:
        """Ask again, after a pause."""
        if self._answered(ticket):
            self._retry()

    def head_of_other(self, sequence: int, id_: str) -> None:
        """Note where another server is."""
        self._rumour.hear(sequence, id_, self.chain, self._clock.now_ns() + int(self._limits.behind_s * NS))

    def tick(self, now_ns: int) -> None:
        """Do what is due."""
        if self._rumour.holds(self.chain, now_ns):
            self.check()
        if self._due_ns is not None and self._due_ns <= now_ns:
            if self._waits:
                self._retry()
            else:
                self._send()

    # --- taking

    def _take(self, sequence: int, record: Record) -> None:
        chain, past = self.chain, self._past
        before, last = chain.epoch, chain.sequence
        fit = chain.take(sequence, record)
        if fit is Fit.VOID:
            if not self._whole:
                self._rewind()
            elif self._void_after is None and before:
                self._void_after = last
            return
        if fit is not Fit.FOLLOWS:
            self._start = sequence - 1
            self.ids.clear()
        self._remember(record)
        if fit is Fit.BEGINS and (self.state is Reading.BEGINNING or not past.sought):
            past.leave("" if past.sought else before)
        verdict = past.judge(record, fit, chain)
        if verdict is not Verdict.KNOWN:
            self.news.append((verdict, record))
        if self.state is Reading.BEGINNING and not past.sought and not past.is_over(record.epoch):
            self._level()

    @property
    def _asks(self) -> bool:
        return self._due_ns is not None

    def _catch_up(self) -> None:
        while (found := self._ahead.after(self.chain.sequence)) is not None:
            self._take(*found)

    def _remember(self, record: Record) -> None:
        items = enumerate(record.items, record.first)
        ids = [(entry.author.key, entry.id, seq) for seq, (_, entry) in items if entry.id]
        if ids:
            self.ids.add_all(ids, record.time_ns, self._clock.now_ns())

    def _rewind(self, oldest: int = 0) -> None:
        """Read the log from its beginning, and look for what was told. Records before ``oldest`` have expired."""
        now_ns = self._clock.now_ns()
        if self.chain.epoch:
            self._past.seek(self.chain)
        self.chain.rewind(max(oldest - 1, 0))
        self._ahead.clear()
        self.ids.clear()
        self._whole = True
        self._void_after = None
        again = now_ns - self._rewound_ns < _AGAIN_NS
        self._rewound_ns = now_ns
        self._ask(Reading.READING, self._spread(_AGAIN_NS) if again else 0)

    def _settle(self) -> None:
        """The end was reached: go on there, or see that no order does."""
        epoch, past = self.chain.epoch, self._past
        if self._void_after is not None:
            self._ask(Reading.PROVING)
        elif not epoch or past.is_over(epoch):
            self._rest(Reading.BEGINNING)
        elif not past.sought:
            self._level()
        else:
            past.leave()  # another server has begun it; now it is told from its beginning
            self.chain.rewind(self._start)
            self._whole = True
            self._ask(Reading.READING)

    def _prove(self, oldest: int) -> None:
        """Some records did not fit. They are void, unless others have expired since those before them were read."""
        if self._void_after is not None and oldest > self._void_after:
            self._rewind(oldest)
        else:
            self._void_after = None
            self._settle()

    def _level(self) -> None:
        self.chain.confirm()
        self._rest(Reading.LEVEL)

    def _rest(self, state: Reading) -> None:
        self._whole = self._waits = False
        self._due_ns = None
        self._failures = self._fruitless = 0
        self.state = state

    # --- asking

    def _ask(self, state: Reading, wait_ns: int = 0) -> None:
        """Begin to read, or to ask for the end, now or later. The answer to an earlier request is not waited for."""
        self.state = state
        self._waits = False
        if wait_ns:
            self._due_ns = self._clock.now_ns() + wait_ns
        else:
            self._send()

    def _send(self) -> None:
        self._ticket += 1
        self._waits = True
        self._due_ns = self._clock.now_ns() + int(self._limits.answer_s * NS)
        if self.state is Reading.PROVING:
            self.asked.append(ReadAfter(self._ticket, 0, leader=True))
        elif self.state is Reading.READING:
            self.asked.append(ReadAfter(self._ticket, self.chain.sequence, leader=self._fruitless >= _FRUITLESS))
        else:
            self._asked_at = self.chain.sequence
            self.asked.append(ReadEnd(self._ticket))

    def _answered(self, ticket: int) -> bool:
        if not self._waits or ticket != self._ticket:
            return False
        self._waits = False
        self._due_ns = None
        return True

    def _interrupted(self) -> None:
        """Trust no more that all was read in one go: the log may have changed meanwhile, and some of it expired."""
        self._whole = not self.chain.sequence
        self._void_after = None
        if not self._whole:
            self.chain.confirm()

    def _retry(self) -> None:
        self._failures += 1
        self._interrupted()
        self._ask(self.state, min(self._spread(50 * _MS << min(self._failures, 6)), _LONGEST_NS))

    def _spread(self, ns: int) -> int:
        return int(ns * (0.5 + self._random.random() / 2))
