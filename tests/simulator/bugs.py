"""The traps of the log, put back one by one: each must be found by the simulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any, NamedTuple
from unittest import mock

from bcast_grpc.broker.nats.log import batch, rumour
from bcast_grpc.broker.nats.log.chain import Chain, Fit
from bcast_grpc.broker.nats.log.claims import Claims
from bcast_grpc.broker.nats.log.past import Past, Verdict
from bcast_grpc.broker.nats.log.reader import Reader
from bcast_grpc.broker.nats.log.record import Item, Record, encode, encode_item
from bcast_grpc.broker.nats.log.room_log import RoomLog
from bcast_grpc.broker.nats.log.start import Start
from bcast_grpc.broker.nats.log.states import Reading, Writing
from bcast_grpc.broker.nats.log.taking import Taking
from bcast_grpc.broker.nats.log.writer import Flight, Writer
from tests.broker.nats.log import test_reading, test_room_log
from tests.simulator.plan import NEAR, Fault, Plan, random_plan


class Bug(NamedTuple):
    """A trap.

    Attributes:
        put_back: makes the log have it, for as long as the context lasts.
        kinds: the faults that show it; none: any.
        changes: what else the plan needs.
    """

    put_back: Callable[[], AbstractContextManager[None]]
    kinds: tuple[str, ...]
    changes: dict[str, Any]

    def plan(self, seed: int) -> Plan:
        """Return a schedule that may show it."""
        return replace(random_plan(seed, self.kinds), **self.changes)


BUGS: dict[str, Bug] = {}


def bug(*kinds: str, **changes: object) -> Callable[[Callable[[], Iterator[None]]], None]:
    """Keep a trap under its name, with the faults that show it and what else the plan needs."""

    def keep(put_back: Callable[[], Iterator[None]]) -> None:
        BUGS[put_back.__name__] = Bug(contextmanager(put_back), kinds, changes)

    return keep


@bug()
def a_moved_end_means_behind() -> Iterator[None]:
    """The leader's end is compared with where the log is now, not where it was when it was asked for."""
    real = Reader.end

    def end(self: Reader, ticket: int, sequence: int, record: Record | None) -> None:
        if sequence < self.chain.sequence and self._request.answered(ticket):
            self._taking._past.seek(self.chain)
            self._rest(Reading.BEGINNING)
        else:
            real(self, ticket, sequence, record)

    with mock.patch.object(Reader, "end", end):
        yield


@bug()
def a_moved_end_is_read_again() -> Iterator[None]:
    """The same, but all is read again first: it costs, and no promise is broken."""
    real = Reader.end

    def end(self: Reader, ticket: int, sequence: int, record: Record | None) -> None:
        self._asked_at = self.chain.sequence
        real(self, ticket, sequence, record)

    with mock.patch.object(Reader, "end", end):
        yield


@bug()
def an_epoch_is_read_as_messages() -> Iterator[None]:
    """The record that begins an epoch must follow like any other."""

    def fit(self: Chain, record: Record) -> Fit:
        if self.fits(record):
            return Fit.FOLLOWS
        return Fit.VOID if self._linked else Fit.ANCHORS

    with mock.patch.object(Chain, "_fit", fit):
        yield


@bug()
def an_id_is_twice_in_a_batch() -> Iterator[None]:
    """Messages of a batch are not compared with each other."""

    class Blind(set[tuple[str, str]]):
        def __contains__(self, _: object) -> bool:
            return False

    with mock.patch.object(batch, "set", Blind, create=True):
        yield


@bug("crash", past=10)
def ids_before_the_last_messages_are_not_read() -> Iterator[None]:
    """A server that opens the room looks for the last messages alone, and retries of those before come twice."""

    def take_since(self: Start, *answer: Any) -> int | None:
        real(self, *answer)
        return self._begin_before(*answer[0])

    real = Start._take_since
    with mock.patch.object(Start, "_take_since", take_since):
        yield


@bug("rollback-split", "lose-live", "lose-answers", "break", alone=True, replicas=1, asks=False)
def void_records_count_as_known() -> Iterator[None]:
    """Where a void record was found, the next one makes nobody read again."""
    real = Reader._rewind
    known: dict[Reader, set[int]] = {}

    def rewind(self: Reader) -> None:
        voids = known.setdefault(self, set())
        if self.chain.sequence not in voids:
            voids.add(self.chain.sequence)
            real(self)

    with mock.patch.object(Reader, "_rewind", rewind):
        yield


@bug("rollback-split", "break", asks=False)
def void_records_are_skipped() -> Iterator[None]:
    """A record that does not fit makes nobody read again."""
    real = Taking.take

    def take(self: Taking, sequence: int, record: Record, *, beginning: bool) -> Verdict | None:
        self.whole = True
        return real(self, sequence, record, beginning=beginning)

    with mock.patch.object(Taking, "take", take):
        yield


@bug("rollback-split", alone=True, replicas=1, servers=2, spread_ms=1500, asks=False)
def a_number_is_enough_to_ignore() -> Iterator[None]:
    """What is not after the last place is taken for known, whatever it is."""
    live, end = Reader.live, Reader.end

    def patched_live(self: Reader, sequence: int, previous: int, record: Record) -> None:
        if sequence > self.chain.sequence:
            live(self, sequence, previous, record)

    def patched_end(self: Reader, ticket: int, sequence: int, record: Record | None) -> None:
        end(self, ticket, sequence, record if sequence > self.chain.sequence else None)

    def differs(sequence: int, _: str, chain: Chain) -> bool:
        return sequence > chain.sequence

    with (
        mock.patch.object(Reader, "live", patched_live),
        mock.patch.object(Reader, "end", patched_end),
        mock.patch.object(rumour, "_differs", differs),
    ):
        yield


def _send_as_new(writer: Writer) -> None:
    """Take the messages of an append for not stored, and send them as new ones."""
    if writer.flight:
        for item in writer.flight.record.items:
            if (waiting := writer.pending.remove(item.uid)) is not None:
                new = Item(writer._me.next_id(), waiting.item.entry)
                writer.pending.add(new, encode_item(new), waiting.since_ns, own=waiting.own)
        writer._over()


@bug()
def a_timeout_means_not_stored() -> Iterator[None]:
    """An append without an answer is forgotten, and its messages are sent as new ones."""
    real = RoomLog._doubt

    def doubt(self: RoomLog) -> None:
        if self._writer.state is Writing.APPENDING:
            _send_as_new(self._writer)
        real(self)

    with mock.patch.object(RoomLog, "_doubt", doubt):
        yield


@bug()
def not_found_is_a_proof() -> Iterator[None]:
    """Where the leader has nothing new after an append without an answer, the messages are sent as new ones."""
    real = Writer.ready

    def ready(self: Writer, chain: Chain, reading: Reading, now_ns: int) -> bool:
        flight = self.flight
        if flight and self.state is Writing.UNKNOWN and chain.sequence == flight.expected and now_ns >= self._due_ns:
            _send_as_new(self)
        return real(self, chain, reading, now_ns)

    with mock.patch.object(Writer, "ready", ready):
        yield


@bug()
def the_old_epoch_goes_on() -> Iterator[None]:
    """Where the log lacks what was told, the server numbers on."""
    real = Reader._settle

    def settle(self: Reader) -> None:
        if self._taking.seeks and self.chain.epoch:
            self._taking._past = Past()
            self._level()
        else:
            real(self)

    with mock.patch.object(Reader, "_settle", settle):
        yield


@bug("rollback-split", "rollback-split", "break", "freeze", alone=True, servers=2, spread_ms=1500)
def the_previous_record_does_not_matter() -> Iterator[None]:
    """A record fits if its epoch and number do."""

    def fits(self: Chain, record: Record) -> bool:
        return record.epoch == self.epoch and record.first == self.head + 1

    with mock.patch.object(Chain, "fits", fits):
        yield


@bug()
def epochs_are_counted() -> Iterator[None]:
    """An epoch's name is no random one."""
    real = Writer._append

    def append(self: Writer, chain: Chain, record: Record, items: Any) -> None:
        real(self, chain, record if record.first else record._replace(epoch="epoch"), items)

    with mock.patch.object(Writer, "_append", append):
        yield


@bug()
def appends_are_pipelined() -> Iterator[None]:
    """The next record is sent before the answer, for the place that is expected for the first."""
    real = Writer._send

    def send(self: Writer, flight: Flight) -> None:
        real(self, flight)
        record = flight.record
        under_way = {uid for uid, _ in record.items}
        chosen = [one for one in self.pending if one.item.uid not in under_way][:8]
        if record.items and chosen and flight.attempts == 1:
            following = record._replace(
                first=record.first + len(record.items),
                id=self._me.next_id(),
                previous=record.id,
                items=[one.item for one in chosen],
            )
            data = encode(following, [one.encoded for one in chosen])
            self.flight = Flight(following, data, flight.expected + 1, attempts=1)
            real(self, self.flight)

    with mock.patch.object(Writer, "_send", send):
        yield


@bug()
def late_forwards_are_taken() -> Iterator[None]:
    """A server takes along what it is asked for, though it may be in the log."""

    def items_after(self: Chain, sequence: int, id_: str) -> set[str]:
        return set()

    with mock.patch.object(Chain, "items_after", items_after):
        yield


@bug("rollback", "freeze", "break", keep=12, replicas=1, spread_ms=300)
def a_log_read_in_part_is_whole() -> Iterator[None]:
    """After an interruption the rest of the log is read as if all had been read in one go."""
    with mock.patch.object(Taking, "interrupt"):
        yield


@bug()
def a_new_epoch_needs_no_reading() -> Iterator[None]:
    """Where the end is not the known one, a new epoch begins, without reading all again."""

    def rewind(self: Reader) -> None:
        self._taking._past.seek(self.chain)
        self._rest(Reading.BEGINNING)

    with mock.patch.object(Reader, "_rewind", rewind):
        yield


@bug()
def a_whole_log_is_told_again() -> Iterator[None]:
    """What is read again is told again."""
    with mock.patch.object(Past, "seek"):
        yield


@bug()
def a_void_record_is_told() -> Iterator[None]:
    """A record that does not fit is told all the same."""
    real = Chain._fit

    def fit(self: Chain, record: Record) -> Fit:
        return Fit.FOLLOWS if (found := real(self, record)) is Fit.VOID else found

    with mock.patch.object(Chain, "_fit", fit):
        yield


@bug("purge", "break", "stopped", "lose-answers", messages=6, spread_ms=1)
def an_epoch_is_begun_twice() -> Iterator[None]:
    """The record of an epoch that may have begun is sent again under the same name."""
    real = Writer._still_fits

    def still_fits(self: Writer, flight: Flight, chain: Chain, reading: Reading) -> bool:
        if not flight.record.first:
            return reading is Reading.BEGINNING and chain.sequence == flight.expected
        return real(self, flight, chain, reading)

    with mock.patch.object(Writer, "_still_fits", still_fits):
        yield


@bug("purge-keep", "lag", "crash", replicas=3, spread_ms=1500, messages=60)
def nothing_expires_while_it_is_read() -> Iterator[None]:
    """Records that did not fit are void, without a look at what has expired since the reading began."""
    real = Reader._settle

    def settle(self: Reader) -> None:
        self._taking._void_after = None
        real(self)

    with mock.patch.object(Reader, "_settle", settle):
        yield


@bug("purge", "rollback", "rollback-split")
def the_epoch_comes_back() -> Iterator[None]:
    """An epoch that was left goes on when the log has lost the one after it."""
    with mock.patch.object(Past, "is_over", lambda self, epoch: epoch == self._epoch):
        yield


_NEAR: dict[str, Any] = {
    "messages": 60,
    "spread_ms": 4000,
    "faults": (Fault("slow-live", 1900, 800), Fault("slow-live", 1900, 800, 1), Fault(NEAR, 2600, 300)),
    "keep": 0,
    "max_age_ms": 0,
    "max_bytes": 0,
}


@bug(**_NEAR)
def others_are_not_asked() -> Iterator[None]:
    """A server appends to a log that was set back, though another one has told the end that it lost."""

    def expect(self: Claims, _: int) -> None:
        self.due_ns = None

    with mock.patch.object(Claims, "expect", expect), mock.patch.object(Claims, "missing", return_value=False):
        yield


RARE = {
    "a_log_read_in_part_is_whole": test_reading.test_after_an_interruption_a_record_that_does_not_fit_is_not_skipped,
    "an_epoch_is_begun_twice": test_room_log.test_an_empty_log_gets_an_epoch,
    "nothing_expires_while_it_is_read": (
        test_reading.test_what_did_not_fit_is_void_only_if_nothing_expired_while_it_was_read
    ),
    "the_previous_record_does_not_matter": test_reading.test_another_past_is_found_by_the_previous_record,
}
"""What takes long to be found, up to some ten thousand schedules, and the test of its own that finds each."""
