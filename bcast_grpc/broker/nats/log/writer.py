"""Appends messages to the log of a room: one record at a time, by compare-and-set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

from bcast_grpc.broker.clock import Clock
from bcast_grpc.broker.nats.log.actions import Append, Forward
from bcast_grpc.broker.nats.log.chain import Chain
from bcast_grpc.broker.nats.log.incarnation import Incarnation
from bcast_grpc.broker.nats.log.limits import Limits
from bcast_grpc.broker.nats.log.pending import Pending, Waiting
from bcast_grpc.broker.nats.log.record import Encoded, Record, encode, encode_forward
from bcast_grpc.broker.nats.log.states import Reading, Writing

_NS = 1_000_000_000
_MS = 1_000_000
_WINNER_NS = 20 * _MS  # the winner's record is usually on its way
_BUSY_NS = 5 * _MS
_AGAIN_NS = 10 * _MS
_MOST_DOUBLINGS = 5
_FENCE_NS = _NS
"""Fences are at least so far apart: who asks for places that are not there must not fill the log."""


@dataclass(slots=True)
class Flight:
    """The record that is being appended, until the log has it or something else in its place.

    Attributes:
        expected: the place of the last record in the room, behind which it is to land.
        ticket: of the last attempt.
        attempts: how many there were.
    """

    record: Record
    data: bytes
    expected: int
    ticket: int = 0
    attempts: int = 0


class Writer:
    """One server's appends to a log.

    Attributes:
        state: what became of the last append.
        flight: the record that is being appended.
        pending: the messages that wait.
        asked: what is to be sent; the caller empties it.
        trouble: what NATS said when the last append failed; empty once one has succeeded.
        made: how many records were made here.
        last_landed: which of them was the last that is in the log.
    """

    __slots__ = (
        "_anchor_after",
        "_anchor_ns",
        "_clock",
        "_due_ns",
        "_fence",
        "_fenced_ns",
        "_forwarded",
        "_limits",
        "_me",
        "_random",
        "_ticket",
        "_writer",
        "_written_ns",
        "asked",
        "flight",
        "last_landed",
        "made",
        "pending",
        "state",
        "trouble",
    )

    def __init__(self, me: Incarnation, clock: Clock, random: Random, limits: Limits) -> None:
        self.state = Writing.IDLE
        self.flight: Flight | None = None
        self.pending = Pending()
        self.asked: list[Append | Forward] = []
        self.trouble = ""
        self._me = me
        self._clock = clock
        self._random = random
        self._limits = limits
        self._ticket = 0
        self._due_ns = 0  # when an append has been lost, or waiting ends
        self._forwarded = ""  # the last of the messages that another server was asked to take along
        self._writer = me.name
        self._written_ns = 0  # when the last record was read
        self._anchor_ns: int | None = None
        self.made = self.last_landed = 0
        self._fence = 0  # which record is wanted, at least
        self._fenced_ns = -_FENCE_NS
        self._anchor_after = 1 + random.random() / 10  # so that not all servers do it at once

    def due_ns(self, settled: bool) -> int | None:
        """When ``step`` has something to do."""
        dues = []
        if self.state is Writing.APPENDING or (settled and self.state is not Writing.IDLE):
            dues.append(self._due_ns)
        if settled and self._anchor_ns is not None and self.state is Writing.IDLE:
            dues.append(self._anchor_due_ns)
        if first := self.pending.first:
            dues.append(first.since_ns + int(self._limits.patience_s * _NS))
        return min(dues, default=None)

    # --- what became of it

    def landed(self, record: Record, *, now: bool) -> None:
        """Note a record in the log, and whether it was written just now."""
        clock = self._clock
        now_ns = clock.now_ns()
        if now:
            self._writer, self._written_ns = record.writer, now_ns
        age_ns = max(0, clock.wall_ns() - record.time_ns)
        self._anchor_ns = now_ns + int(self._limits.anchor_s * _NS * self._anchor_after) - age_ns
        if self.flight and self.flight.record.id == record.id:
            self.last_landed = self.made
            self.trouble = ""
            self._over()

    def answered(self, ticket: int) -> Flight | None:
        """Return the record that an answer is about; None if the answer comes too late."""
        flight = self.flight
        return flight if flight and self.state is Writing.APPENDING and flight.ticket == ticket else None

    def refused(self, busy: bool) -> None:
        """Wait for the record that came first."""
        self._wait(Writing.REFUSED, _BUSY_NS if busy else _WINNER_NS)

    def unknown(self) -> None:
        """Wait a while, then append the same record again if the log still has nothing in its place."""
        if self.state in (Writing.APPENDING, Writing.REFUSED) and self.flight:
            doublings = min(self.flight.attempts, _MOST_DOUBLINGS)
            self._wait(Writing.UNKNOWN, int(self._random.random() * (_AGAIN_NS << doublings)))

    def disconnected(self) -> None:
        """Nothing that was asked for will be answered."""
        self.unknown()
        if self.state is Writing.FORWARDED:
            self.state = Writing.IDLE
        self._forwarded = ""
        self.pending.remove_foreign()

    def lost(self, now_ns: int) -> bool:
        """Whether the append has had no answer for too long."""
        return self.state is Writing.APPENDING and now_ns >= self._due_ns

    def _over(self) -> None:
        self.flight = None
        self.state = Writing.IDLE

    def _wait(self, state: Writing, ns: int) -> None:
        self.state = state
        self._due_ns = self._clock.now_ns() + ns

    # --- what comes next

    def ready(self, chain: Chain, reading: Reading, now_ns: int) -> bool:
        """Go on with what is under way. Whether nothing is, so that a new record may be made."""
        if self.state is Writing.FORWARDED:
            if self._asked_in_vain and now_ns < self._due_ns:
                return False
            self.state = Writing.IDLE
        flight = self.flight
        if flight is None:
            return True
        if self.state is Writing.APPENDING:
            return False
        if not self._still_fits(flight, chain, reading):
            self._over()
            return True
        if now_ns < self._due_ns:
            return False
        if self.state is Writing.UNKNOWN:
            self._send(flight)
        return False

    @property
    def _asked_in_vain(self) -> bool:
        """Whether messages that another server was asked to take along are not in the log, as far as that is read."""
        return self._forwarded in self.pending

    @property
    def overdue(self) -> bool:
        """Whether the record that came first should have been read by now."""
        return self.state is Writing.REFUSED and self._clock.now_ns() >= self._due_ns

    def _still_fits(self, flight: Flight, chain: Chain, reading: Reading) -> bool:
        record = flight.record
        if not record.first:
            return False  # it may have begun an epoch that has been lost since: another attempt has another name
        if chain.sequence != flight.expected or reading is not Reading.LEVEL:
            return False
        if len(flight.data) > self._limits.largest_bytes:
            return False  # what it is divided into is expected at the same place, so only one of them can be stored
        wanted = not record.items or any(uid in self.pending for uid, _ in record.items)
        return wanted and chain.fits(record)

    def begin(self, chain: Chain) -> None:
        """Append a record that begins an epoch."""
        epoch = f"{self._random.getrandbits(48):012x}"
        self._append(chain, Record(epoch, 0, self._me.next_id(), "", self._clock.wall_ns(), self._me.name), ())

    def fence(self) -> None:
        """Have a record appended that is made from now on, empty if need be."""
        self._fence = self.made + 1

    @property
    def _fenced(self) -> bool:
        return self.last_landed >= self._fence

    @property
    def _anchor_due_ns(self) -> int:
        """When an empty record is due, as the last one is old, or as a fence; of those there are not many."""
        due_ns = self._anchor_ns or 0
        return due_ns if self._fenced else min(due_ns, self._fenced_ns + _FENCE_NS)

    def anchor(self, chain: Chain, now_ns: int) -> None:
        """Append an empty record if one is due."""
        if self._anchor_ns is not None and now_ns >= self._anchor_due_ns:
            self._fenced_ns = now_ns
            self._append(chain, self._next(chain, ()), ())

    def write(self, chain: Chain, chosen: Sequence[Waiting], now_ns: int) -> None:
        """Append the messages, or ask the server that writes here just now to take them along."""
        if not chosen:
            return
        items = [one.encoded for one in chosen]
        foreign = self._writer != self._me.name and now_ns - self._written_ns < int(self._limits.forward_s * _NS)
        if foreign and not self.pending.foreign and not self._asked_in_vain and self._fenced:
            self.state = Writing.FORWARDED
            self._due_ns = now_ns + int(self._limits.forward_s * _NS)
            self._forwarded = chosen[-1].item.uid
            self.asked.append(Forward(self._writer, encode_forward(chain.sequence, chain.id, items)))
        else:
            self._append(chain, self._next(chain, chosen), items)

    def _next(self, chain: Chain, chosen: Iterable[Waiting]) -> Record:
        items = [one.item for one in chosen]
        me, time_ns = self._me, self._clock.wall_ns()
        return Record(chain.epoch, chain.head + 1, me.next_id(), chain.last, time_ns, me.name, items)

    def _append(self, chain: Chain, record: Record, items: Iterable[Encoded]) -> None:
        self.made += 1
        self.flight = Flight(record, encode(record, items), chain.sequence)
        self._send(self.flight)

    def _send(self, flight: Flight) -> None:
        self._ticket += 1
        flight.ticket = self._ticket
        flight.attempts += 1
        self.state = Writing.APPENDING
        self._due_ns = self._clock.now_ns() + int(self._limits.answer_s * _NS)
        self.asked.append(Append(flight.ticket, flight.expected, flight.data))
