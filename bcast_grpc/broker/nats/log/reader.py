"""Reads the log of a room: the live feed, the holes in it, and all of it again where it went back.

This module is long: whatever is read or heard may change the one state that all of it shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from bcast_grpc.broker.clock import Clock
from bcast_grpc.broker.ids import Ids
from bcast_grpc.broker.nats.log.actions import AskHeads, Read, ReadAfter, ReadEnd
from bcast_grpc.broker.nats.log.ahead import Ahead
from bcast_grpc.broker.nats.log.chain import Chain
from bcast_grpc.broker.nats.log.claims import Claims
from bcast_grpc.broker.nats.log.limits import Limits
from bcast_grpc.broker.nats.log.past import Verdict
from bcast_grpc.broker.nats.log.record import Record
from bcast_grpc.broker.nats.log.request import Request
from bcast_grpc.broker.nats.log.rumour import Rumour
from bcast_grpc.broker.nats.log.start import Start
from bcast_grpc.broker.nats.log.states import Reading
from bcast_grpc.broker.nats.log.taking import Taking

NS = 1_000_000_000
_MS = 1_000_000
_FRUITLESS = 3  # so often a replica may lack what the leader has
_AGAIN_NS = 250 * _MS


class Reader:
    """One server's reading of a log. It says what to ask for, and what is new.

    Attributes:
        state: how far the log is known.
        chain: what was read.
        asked: requests that are to be sent; the caller empties it.
        news: what is to be told, with why and the place in the stream; the caller empties it.
        ids: the ids of the messages in the log.
        claims: what other servers have told.
    """

    __slots__ = (
        "_ahead",
        "_asked_at",
        "_clock",
        "_cold",
        "_fruitless",
        "_limits",
        "_request",
        "_rewound_ns",
        "_rumour",
        "_start",
        "_taking",
        "asked",
        "chain",
        "claims",
        "ids",
        "news",
        "state",
    )

    def __init__(self, ids: Ids, clock: Clock, random: Random, limits: Limits) -> None:
        self.state = Reading.AWAY
        self.chain = Chain(limits)
        self.asked: list[AskHeads | Read] = []
        self.news: list[tuple[Verdict, int, Record]] = []
        self.ids = ids
        self.claims = Claims()
        self._taking = Taking(self.chain, ids, clock)
        self._request = Request(clock, random, limits)
        self._clock = clock
        self._limits = limits
        self._ahead = Ahead(limits)
        self._cold = True  # whether nothing was read yet, so that reading may begin near the end
        self._start: Start | None = None
        self._asked_at = 0  # where the chain was when the end was asked for
        self._fruitless = 0
        self._rewound_ns = -_AGAIN_NS
        self._rumour = Rumour()

    @property
    def settled(self) -> bool:
        """Whether the end is known, and what others have told, so that something may be appended."""
        return self.state is Reading.BEGINNING or (self.state is Reading.LEVEL and self.claims.due_ns is None)

    @property
    def _rests(self) -> bool:
        return self.state in (Reading.LEVEL, Reading.BEGINNING)

    @property
    def due_ns(self) -> int | None:
        """When ``tick`` has something to do."""
        dues = (self._request.due_ns, self._rumour.due_ns, self.claims.due_ns)
        return min((due for due in dues if due is not None), default=None)

    # --- the connection

    def connected(self) -> None:
        """Ask for what was missed."""
        self._request.forgive()
        self._fruitless = 0
        if self._limits.claims_s:
            self.claims.expect(self._clock.now_ns() + int(self._limits.claims_s * NS))
            self.asked.append(AskHeads())
        self._taking.interrupt()
        self._ask(Reading.READING if self._taking.whole else Reading.ENDING)

    def disconnected(self) -> None:
        """Expect no answers."""
        self.state = Reading.AWAY
        self._request.cancel()
        self._ahead.clear()

    def stop(self) -> None:
        """Read nothing more."""
        self.disconnected()
        self.state = Reading.STOPPED
        self._rumour.forget()

    # --- records

    def live(self, sequence: int, previous: int, record: Record) -> None:
        """Take a record of the live feed, or one's own, if it is the next one; else see what is missing."""
        chain = self.chain
        if previous == chain.sequence < sequence:
            self._take(sequence, record)
            self._catch_up()
        elif sequence > chain.sequence:
            self._ahead.put(sequence, previous, record)
            if self._rests:
                self._ask(Reading.READING)
        elif chain.id_at(sequence) != record.id:
            self.check()

    def records(self, ticket: int, records: Sequence[tuple[int, Record]], more: bool) -> None:
        """Take records that were asked for. The live feed may have brought some of them meanwhile."""
        if not self._request.answered(ticket):
            return
        if self.state is Reading.PROVING:
            oldest = records[0][0] if records else self.chain.sequence + 1
            if self._taking.prove(oldest):
                self._settle()
            else:
                self._rewind(oldest)
            return
        if self.state is Reading.STARTING:
            self._seek_start(*(records[0] if records else (0, None)))
            return
        before = self.chain.sequence
        if more and records and self._cold and not before:
            self._start = Start(*records[0], self._clock.wall_ns(), self._limits)
            self._ask(Reading.STARTING)
            return
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
        if not self._request.answered(ticket):
            return
        if self.state is Reading.STARTING:
            self._seek_start(sequence, record)
            return
        chain = self.chain
        if sequence < self._asked_at:  # not less than where the chain is: that may have moved meanwhile
            self._rewind()
        elif sequence > chain.sequence:
            wait_ns = 0 if self._fruitless == 0 else 2 * _MS << min(self._fruitless, 6)
            self._ask(Reading.READING, wait_ns)
        elif record and chain.id_at(sequence) not in ("", record.id):
            self._rewind()
        else:
            self._settle()

    def check(self) -> None:
        """See whether the log still ends where the chain does."""
        if self._rests:
            self._ask(Reading.ENDING)

    def failed(self, ticket: int) -> None:
        """Ask again, after a pause."""
        if self._request.answered(ticket):
            self._retry()

    def head_of_other(self, sequence: int, id_: str) -> None:
        """Note how far another server has read."""
        self._rumour.hear(sequence, id_, self.chain, self._clock.now_ns() + int(self._limits.behind_s * NS))

    def claim(self, epoch: str, seq: int) -> None:
        """Note the last place that another server has told."""
        if self.claims.hear(epoch, seq, self.chain):
            self.check()

    def tick(self, now_ns: int) -> None:
        """Do what is due."""
        if self.claims.due_ns is not None and self.claims.due_ns <= now_ns:
            self.claims.due_ns = None
        if self._rumour.holds(self.chain, now_ns):
            self.check()
        request = self._request
        if request.due_ns is not None and request.due_ns <= now_ns:
            if request.waits:
                self._retry()
            else:
                self._send()

    # --- taking

    def _take(self, sequence: int, record: Record) -> None:
        begins = self.state is Reading.BEGINNING
        verdict = self._taking.take(sequence, record, beginning=begins)
        if verdict is None:
            self._rewind()
            return
        if verdict is not Verdict.KNOWN:
            self.news.append((verdict, sequence, record))
        if begins and not (self._taking.seeks or self._is_over):
            self._level()

    @property
    def _asks(self) -> bool:
        return self._request.due_ns is not None

    def _catch_up(self) -> None:
        while (found := self._ahead.after(self.chain.sequence)) is not None:
            self._take(*found)

    @property
    def _is_over(self) -> bool:
        """Whether the log's epoch cannot go on."""
        return self._taking.is_over or self.claims.missing(self.chain)

    def _rewind(self, oldest: int = 0) -> None:
        """Read the log from its beginning, and look for what was told. Records before ``oldest`` have expired."""
        now_ns = self._clock.now_ns()
        self._taking.rewind(oldest)
        self._ahead.clear()
        self._cold = False
        again = now_ns - self._rewound_ns < _AGAIN_NS
        self._rewound_ns = now_ns
        self._ask(Reading.READING, _AGAIN_NS if again else 0)

    def _seek_start(self, sequence: int, record: Record | None) -> None:
        """Take a record that was asked for to see where to begin."""
        start = self._start.take(sequence, record) if self._start else 0
        if start is None:
            self._ask(Reading.STARTING)
            return
        self._start, self._cold = None, False
        if start and not self.chain.sequence:  # else the live feed has brought something meanwhile
            self._taking.begin_at(start)
        self._ask(Reading.READING)

    def _settle(self) -> None:
        """The end was reached: go on there, or see that no order does."""
        taking = self._taking
        if taking.in_doubt:
            self._ask(Reading.PROVING)
        elif not self.chain.epoch or taking.is_over:
            self._rest(Reading.BEGINNING)
        elif self.claims.missing(self.chain) and not self.claims.doubted:
            self.claims.doubted = True  # the end may have been asked for before that was told
            self._ask(Reading.ENDING)
        elif self.claims.missing(self.chain) and not taking.seeks:
            self._rest(Reading.BEGINNING)
        elif not taking.seeks:
            self._level()
        else:
            taking.change_epoch()
            self._ask(Reading.READING)

    def _level(self) -> None:
        self.chain.confirm()
        self.claims.clear()
        self._rest(Reading.LEVEL)

    def _rest(self, state: Reading) -> None:
        self._taking.rest()
        self._request.cancel()
        self._request.forgive()
        self._cold = False
        self._fruitless = 0
        self.state = state

    # --- asking

    def _ask(self, state: Reading, wait_ns: int = 0) -> None:
        """Begin to read, or to ask for the end, now or later. The answer to an earlier request is not waited for."""
        self.state = state
        if wait_ns:
            self._request.later(wait_ns)
        else:
            self._send()

    def _send(self) -> None:
        ticket = self._request.send()
        if self.state is Reading.PROVING:
            self.asked.append(ReadAfter(ticket, 0, leader=True))
        elif self.state is Reading.STARTING and self._start:
            self.asked.append(self._start.ask(ticket))
        elif self.state is Reading.READING:
            after, leader = self.chain.sequence, self._fruitless >= _FRUITLESS
            self.asked.append(ReadAfter(ticket, after, leader, few=self._cold and not after))
        else:
            self._asked_at = self.chain.sequence
            self.asked.append(ReadEnd(ticket))

    def _retry(self) -> None:
        self._taking.interrupt()
        self._request.retry()
