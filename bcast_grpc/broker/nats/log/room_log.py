"""One server's side of the log of one room: it reads the records, and appends its own by compare-and-set.

No I/O: each input returns the actions to carry out. The clock and the randomness are given. ``states`` has the table
of its states.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from bcast_grpc.broker.base import Refused
from bcast_grpc.broker.clock import Clock
from bcast_grpc.broker.ids import Ids
from bcast_grpc.broker.nats.log.actions import Action, Stopped, WakeAt
from bcast_grpc.broker.nats.log.batch import choose_next
from bcast_grpc.broker.nats.log.incarnation import Incarnation
from bcast_grpc.broker.nats.log.limits import Limits
from bcast_grpc.broker.nats.log.reader import Reader
from bcast_grpc.broker.nats.log.record import Item, Record, UnknownVersionError, decode, decode_forward, encode_item
from bcast_grpc.broker.nats.log.states import Reading
from bcast_grpc.broker.nats.log.telling import Telling, stopped, unavailable
from bcast_grpc.broker.nats.log.writer import Writer
from bcast_grpc.events import Entry

__all__ = ["Incarnation", "Limits", "RoomLog"]

_NS = 1_000_000_000
_SHORTEST_NS = 1_000_000


class RoomLog:
    """Reads the log of a room and appends to it. See ``actions`` for what the inputs return.

    A new log is disconnected. The caller subscribes to the room's live records, calls ``connected`` when the
    subscription is surely in force, and passes everything on from then on. ``Began`` and the messages that the log
    still has come first, then ``level`` is true.

    Each entry that is submitted is answered exactly once, by one of the outcomes, in the order of submission.
    """

    __slots__ = ("_clock", "_limits", "_me", "_reader", "_telling", "_wake_ns", "_writer")

    def __init__(self, me: Incarnation, ids: Ids, clock: Clock, random: Random, limits: Limits) -> None:
        self._me, self._clock, self._limits = me, clock, limits
        self._reader = Reader(ids, clock, random, limits)
        self._writer = Writer(me, clock, random, limits)
        self._telling = Telling(self._writer.pending)
        self._wake_ns: int | None = None

    # --- what is known

    @property
    def epoch(self) -> str:
        """The epoch of the last message that was told; empty before ``Began``."""
        return self._telling.epoch

    @property
    def head(self) -> int:
        """The ``seq`` of the last message that was told."""
        return self._telling.head

    @property
    def sequence(self) -> int:
        """The place in the stream of the last record that was read; 0 if none was. For heartbeats."""
        return self._reader.chain.sequence

    @property
    def record(self) -> str:
        """The id of the record at ``sequence``; empty if there is none. For heartbeats."""
        return self._reader.chain.id

    @property
    def level(self) -> bool:
        """Whether the end of the log is known, as far as that can be said."""
        return self._reader.state is Reading.LEVEL

    @property
    def unanswered(self) -> int:
        """How many messages wait, of this server's clients and forwarded ones."""
        return len(self._writer.pending)

    @property
    def next_record(self) -> int:
        """The number of the next record that this server makes."""
        return self._writer.made + 1

    @property
    def landed(self) -> int:
        """The number of the last record of this server that is in the log."""
        return self._writer.last_landed

    @property
    def full(self) -> bool:
        """Whether so much is unanswered that no more should be submitted for now."""
        return self._writer.pending.exceeds(self._limits)

    # --- the connection

    def connected(self) -> list[Action]:
        """Note that there is a connection, and that live records arrive."""
        if self._reader.state is Reading.AWAY:
            self._reader.connected()
        return self._proceed()

    def disconnected(self) -> list[Action]:
        """Note that the connection is lost, and with it all answers. Call it before anything goes over the next one."""
        if self._reader.state is not Reading.STOPPED:
            self._reader.disconnected()
            self._writer.disconnected()
        return self._proceed()

    # --- records

    def live(self, sequence: int, previous: int, data: bytes) -> list[Action]:
        """Take a record of the live feed with its ``Nats-Sequence`` and ``Nats-Last-Sequence``."""
        if not self._deaf and (record := self._decode(data)) is not None:
            self._reader.live(sequence, previous, record)
        return self._proceed()

    def records(self, ticket: int, records: Sequence[tuple[int, bytes]], more: bool) -> list[Action]:
        """Take the answer to ``ReadAfter``, with the records' places; ``more`` if it stopped at its bounds."""
        if self._deaf:
            return self._proceed()
        read: list[tuple[int, Record]] = []
        for sequence, data in records:
            if (record := self._decode(data)) is None:
                return self._proceed()
            read.append((sequence, record))
        self._reader.records(ticket, read, more)
        return self._proceed()

    def end(self, ticket: int, sequence: int, data: bytes) -> list[Action]:
        """Take the answer to ``ReadEnd``: the last record; 0 and nothing if the leader has none (10037)."""
        if self._deaf:
            return self._proceed()
        record = self._decode(data) if sequence else None
        if record or not sequence:
            self._reader.end(ticket, sequence, record)
        return self._proceed()

    def failed(self, ticket: int) -> list[Action]:
        """Note that a read failed: no answer, or an error."""
        self._reader.failed(ticket)
        return self._proceed()

    def head_of_other(self, sequence: int, record: str) -> list[Action]:
        """Compare with what another server last read. See ``sequence`` and ``record``."""
        if not self._deaf:
            self._reader.head_of_other(sequence, record)
        return self._proceed()

    def claimed(self, epoch: str, seq: int) -> list[Action]:
        """Note the last place that another server has told, by its own ``epoch`` and ``head``."""
        if not self._deaf and epoch:
            self._reader.claim(epoch, seq)
        return self._proceed()

    def all_claimed(self) -> list[Action]:
        """Note that all servers that can be reached have been heard."""
        self._reader.claims.due_ns = None
        return self._proceed()

    # --- answers to appends

    def stored(self, ticket: int, sequence: int) -> list[Action]:
        """Note that the record was appended at ``sequence``."""
        if flight := self._writer.answered(ticket):
            self._writer.unknown()  # until it has been taken, here or as it is read
            self._reader.live(sequence, flight.expected, flight.record)
        return self._proceed()

    def refused(self, ticket: int, last: int | None) -> list[Action]:
        """Note that the record was not appended, because another is the last (10071, 10164): at ``last``, if known."""
        if flight := self._writer.answered(ticket):
            self._writer.refused(busy=last is None)
            if last is not None and last < flight.expected:
                self._doubt()
        return self._proceed()

    def unknown(self, ticket: int, why: str = "") -> list[Action]:
        """Note that nobody knows whether the record was appended, and what NATS said, if it said something."""
        if self._writer.answered(ticket):
            self._writer.trouble = why
            self._doubt()
        return self._proceed()

    # --- messages

    def submit(self, entries: Sequence[Entry]) -> list[Action]:
        """Put messages of this server's clients in order."""
        if self._reader.state is Reading.STOPPED:
            return [Refused(list(entries), stopped())]
        for item in [Item(self._me.next_id(), entry) for entry in entries]:
            self._writer.pending.add(item, encode_item(item), self._clock.now_ns(), own=True)
        return self._proceed()

    def forwarded(self, data: bytes) -> list[Action]:
        """Take messages along for another server, unless there is any doubt."""
        asked = decode_forward(data, self._limits.largest_bytes)
        if asked is None or len(asked.items) > self._limits.record_items or not self.level or self.full:
            return self._proceed()
        known = self._reader.chain.items_after(asked.sequence, asked.record)
        if known is None:
            return self._proceed()
        now_ns, pending = self._clock.now_ns(), self._writer.pending
        for item, encoded in asked.items:
            if item.uid not in known and item.uid not in pending:
                pending.add(item, encoded, now_ns, own=False)
        return self._proceed()

    def check(self) -> list[Action]:
        """Ask the leader for the end, unless something is read anyway."""
        self._reader.check()
        return self._proceed()

    def fence(self) -> list[Action]:
        """Append ``next_record`` soon, empty if need be. Where it lands is the end of the log, whoever leads it."""
        self._writer.fence()
        return self._proceed()

    def tick(self) -> list[Action]:
        """Do what is due. Harmless at any time."""
        now_ns = self._clock.now_ns()
        self._wake_ns = None  # a timer may be early, and is asked for again
        self._reader.tick(now_ns)
        if self._writer.lost(now_ns):
            self._doubt()
        patience_s = self._limits.patience_s
        self._telling.give_up(now_ns - int(patience_s * _NS), unavailable(patience_s, self._writer.trouble))
        return self._proceed()

    # --- what follows from an input

    @property
    def _deaf(self) -> bool:
        return self._reader.state in (Reading.AWAY, Reading.STOPPED)

    def _decode(self, data: bytes) -> Record | None:
        if (flight := self._writer.flight) and flight.data == data:
            return flight.record
        try:
            return decode(data)
        except UnknownVersionError as error:
            self._reader.stop()
            self._telling.out.append(Stopped(str(error)))
            self._telling.give_up(None, stopped())
            return None

    def _doubt(self) -> None:
        self._writer.unknown()
        self._reader.check()

    def _proceed(self) -> list[Action]:
        self._tell()
        self._write()
        out, self._telling.out = self._telling.out, []
        if asked := self._reader.asked:
            out += asked
            asked.clear()
        if written := self._writer.asked:
            out += written
            written.clear()
        self._wake(out)
        return out

    def _write(self) -> None:
        reader, writer = self._reader, self._writer
        if not reader.settled:
            return
        now_ns = self._clock.now_ns()
        if writer.overdue:
            self._doubt()
        elif writer.ready(reader.chain, reader.state, now_ns):
            if reader.state is Reading.BEGINNING:
                writer.begin(reader.chain)
            elif writer.pending:
                self._next_batch(now_ns)
            else:
                writer.anchor(reader.chain, now_ns)

    def _next_batch(self, now_ns: int) -> None:
        answered, chosen = choose_next(self._writer.pending, self._reader.ids, now_ns, self._limits)
        self._telling.answers([(waiting.item.entry, answer) for waiting, answer in answered])
        self._writer.write(self._reader.chain, chosen, now_ns)

    def _tell(self) -> None:
        news, self._reader.news = self._reader.news, []
        for verdict, sequence, record in news:
            if record.epoch == self._reader.chain.epoch:  # else more was read since, and the ids are of another one
                self._telling.repeated_before(record, self._reader.ids, self._clock.now_ns())
            self._telling.record(verdict, sequence, record)
            self._writer.landed(record, now=self.level)

    def _wake(self, out: list[Action]) -> None:
        dues = [due for due in (self._reader.due_ns, self._writer.due_ns(self._reader.settled)) if due is not None]
        due = max(min(dues, default=0), self._clock.now_ns() + _SHORTEST_NS)
        if dues and (self._wake_ns is None or due < self._wake_ns):
            self._wake_ns = due
            out.append(WakeAt(due))
