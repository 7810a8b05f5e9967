"""One server's side of a room's log, input by input. ``tests/simulator`` holds what many servers promise together."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from bcast_grpc.broker.base import Accepted, Refused, Repeated
from bcast_grpc.broker.clock import Clock
from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.ids import Ids
from bcast_grpc.broker.nats.actions import Action, Append, Began, Forward, ReadAfter, ReadEnd, Stopped, WakeAt
from bcast_grpc.broker.nats.log import Incarnation, Limits, RoomLog
from bcast_grpc.broker.nats.record import Item, Record, decode, encode, encode_item
from bcast_grpc.events import Author, Entry
from bcast_grpc.log.v1 import record_pb2

MS = 1_000_000
_Kind = TypeVar("_Kind")


class Hands(Clock):
    """A clock that is set by hand."""

    ns = 1_000 * MS

    def now_ns(self) -> int:
        """The steady clock."""
        return self.ns

    def wall_ns(self) -> int:
        """The clock on the wall."""
        return self.ns


class Desk:
    """A log whose inputs and actions are written out."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.clock = Hands()
        ids = Ids(Retention())
        self.log = RoomLog(Incarnation("me"), ids, self.clock, Random(1), limits or Limits())

    def open(self, *records: bytes) -> list[Action]:
        """Connect and read the whole log, whose records are at 1, 2, 3, …; return what is told."""
        (read,) = wanted(self.log.connected(), ReadAfter)
        actions = self.log.records(read.ticket, list(enumerate(records, 1)), more=False)
        (end,) = wanted(actions, ReadEnd)
        return actions + self.log.end(end.ticket, len(records), records[-1] if records else b"")

    def after(self, ms: float) -> list[Action]:
        """Let time pass."""
        self.clock.ns += int(ms * MS)
        return self.log.tick()


def wanted(actions: Sequence[Action], kind: type[_Kind]) -> list[_Kind]:
    """The actions of a kind."""
    return [action for action in actions if isinstance(action, kind)]


def entry(text: str, id_: str = "") -> Entry:
    """A message."""
    return Entry(Author("session", "", "key"), text, b"", id_)


def begins(epoch: str = "e1") -> bytes:
    """A record that begins an epoch."""
    return encode(Record(epoch, 0, f"{epoch}-begin", "", 1, "other"), ())


def record(first: int, previous: str, *texts: str, epoch: str = "e1", id_: str = "") -> bytes:
    """A record of another server; its id is its epoch and its first number."""
    items = [Item(f"other-{epoch}-{text}", entry(text, f"id {text}")) for text in texts]
    made = Record(epoch, first, id_ or f"{epoch}-{first}", previous, 1, "other", items)
    return encode(made, map(encode_item, items))


def test_an_empty_log_gets_an_epoch() -> None:
    """By compare-and-set with 0; its name is new at each attempt, as the first may have begun, and been lost."""
    desk = Desk()
    (first,) = wanted(desk.open(), Append)
    assert (first.expected, decode(first.data).first) == (0, 0)
    (end,) = wanted(desk.log.unknown(first.ticket), ReadEnd)
    actions = desk.log.end(end.ticket, 0, b"") + desk.after(400)
    (second,) = wanted(actions, Append)
    assert decode(second.data).epoch != decode(first.data).epoch
    assert wanted(desk.log.stored(second.ticket, 5), Began) == [Began(decode(second.data).epoch, 0)]
    assert desk.log.level


def test_an_append_without_an_answer_is_repeated_bit_by_bit() -> None:
    """With the same expectation, once the leader has nothing in its place."""
    desk = Desk()
    desk.open(begins())
    (first,) = wanted(desk.log.submit([entry("one")]), Append)
    (end,) = wanted(desk.log.unknown(first.ticket), ReadEnd)
    (again,) = wanted(desk.log.end(end.ticket, 1, begins()) + desk.after(400), Append)
    assert (again.expected, again.data) == (first.expected, first.data)
    assert not desk.log.stored(first.ticket, 2), "an answer to the first attempt is ignored"
    (told,) = wanted(desk.log.stored(again.ticket, 2), Accepted)
    assert [event.seq for event in told.events] == [1]


def test_the_live_record_may_come_before_the_ack() -> None:
    """It is told once, and the next append need not wait for the ack."""
    desk = Desk()
    desk.open(begins())
    one, two = entry("one"), entry("two")
    (first,) = wanted(desk.log.submit([one]), Append)
    assert not wanted(desk.log.submit([two]), Append), "one append at a time"
    actions = desk.log.live(2, 1, first.data)
    (told,) = wanted(actions, Accepted)
    assert told.entries[0] is one
    (second,) = wanted(actions, Append)
    assert second.expected == 2
    assert not desk.log.stored(first.ticket, 2)
    assert wanted(desk.log.stored(second.ticket, 3), Accepted)[0].entries[0] is two


def test_a_retry_is_answered_with_its_place() -> None:
    """Also where another server has it from, and in the order of submission."""
    desk = Desk()
    desk.open(begins(), record(1, "e1-begin", "one", "two"))
    retry = entry("two", "id two")
    (repeated,) = wanted(desk.log.submit([retry]), Repeated)
    assert (repeated.entries[0], repeated.places[0].seq) == (retry, 2)


def test_another_past_is_found_by_the_previous_record() -> None:
    """Epoch and number are the same, and the record before is not the one that was told."""
    desk = Desk()
    desk.open(begins(), record(1, "e1-begin", "one"))
    (read,) = wanted(desk.log.live(3, 2, record(2, "e1-1 of another past", "two")), ReadAfter)
    assert read.sequence == 0
    past = [begins(), record(1, "e1-begin", "other", id_="e1-1 of another past")]
    log = [*past, record(2, "e1-1 of another past", "two")]
    actions = desk.log.records(read.ticket, list(enumerate(log, 1)), more=False)
    (end,) = wanted(actions, ReadEnd)
    actions += desk.log.end(end.ticket, 3, log[-1])
    assert not wanted(actions, Accepted), "nothing of the other past is told"
    (append,) = wanted(actions, Append)
    assert (append.expected, decode(append.data).first) == (3, 0), "a new epoch begins behind its end"


def test_after_an_interruption_a_record_that_does_not_fit_is_not_skipped() -> None:
    """The log may have changed since the first part was read."""
    desk = Desk()
    (read,) = wanted(desk.log.connected(), ReadAfter)
    desk.log.records(read.ticket, [(5, begins())], more=False)
    desk.log.disconnected()
    (end,) = wanted(desk.log.connected(), ReadEnd)
    later = record(7, "e2-6", "seven", epoch="e2")
    (read,) = wanted(desk.log.end(end.ticket, 9, later), ReadAfter)
    assert read.sequence == 5
    (again,) = wanted(desk.log.records(read.ticket, [(9, later)], more=False), ReadAfter)
    assert again.sequence == 0


def test_what_did_not_fit_is_void_only_if_nothing_expired_while_it_was_read() -> None:
    """The first records came from a replica that lagged, and those that followed them have expired."""
    for oldest, goes_on in ((1, 0), (7, 6)):
        desk = Desk()
        (read,) = wanted(desk.log.connected(), ReadAfter)
        late = record(6, "e1-5", "six")
        log = [(1, begins()), (2, record(1, "e1-begin", "one")), (7, late)]
        (end,) = wanted(desk.log.records(read.ticket, log, more=False), ReadEnd)
        (proof,) = wanted(desk.log.end(end.ticket, 7, late), ReadAfter)
        assert (proof.sequence, proof.leader) == (0, True)
        actions = desk.log.records(proof.ticket, [(oldest, begins() if oldest == 1 else late)], more=True)
        assert [read.sequence for read in wanted(actions, ReadAfter)] == ([goes_on] if goes_on else [])
        assert desk.log.level == (not goes_on)


def test_a_hole_is_read_and_what_came_after_it_is_kept() -> None:
    """The live record that showed the hole need not come again."""
    desk = Desk()
    desk.open(begins())
    three = record(2, "e1-1", "two")
    (read,) = wanted(desk.log.live(3, 2, three), ReadAfter)
    assert read.sequence == 1
    actions = desk.log.records(read.ticket, [(2, record(1, "e1-begin", "one"))], more=False)
    assert [told.events[0].message for told in wanted(actions, Accepted)] == ["one", "two"]


def test_the_writer_is_asked_to_take_messages_along() -> None:
    """What is not in the log in time is appended by the server itself."""
    desk = Desk()
    desk.open(begins())
    desk.log.live(2, 1, record(1, "e1-begin", "one"))
    mine = entry("mine")
    (asked,) = wanted(desk.log.submit([mine]), Forward)
    assert asked.writer == "other"
    assert not wanted(desk.after(200), Append)
    (append,) = wanted(desk.after(101), Append)
    assert [item.entry for item in decode(append.data).items] == [mine]


def test_what_was_forwarded_and_is_in_the_log_is_dropped() -> None:
    """The forward is late: the other server has appended the message itself."""
    here, there = Desk(), Desk()
    for desk in here, there:
        desk.open(begins())
    there.log.live(2, 1, record(1, "e1-begin", "one"))
    (asked,) = wanted(there.log.submit([entry("mine")]), Forward)
    (append,) = wanted(there.after(301), Append)
    here.log.live(2, 1, record(1, "e1-begin", "one"))
    here.log.live(3, 2, append.data)
    here.clock.ns += 1000 * MS
    assert not wanted(here.log.forwarded(asked.data), Append)
    assert not here.log.unanswered


def test_who_waits_too_long_is_refused() -> None:
    """Whether the message is in the log is unknown, and a retry with its id is safe."""
    desk = Desk(Limits(patience_s=15))
    mine = entry("mine", "id")
    desk.log.submit([mine])
    assert not wanted(desk.after(14_999), Refused)
    (refused,) = wanted(desk.after(1), Refused)
    assert refused.entries == [mine]
    assert refused.error.retryable


def test_a_timer_may_be_early() -> None:
    """Then it is asked for again: an event loop rounds."""
    desk = Desk()
    (early,) = wanted(desk.log.submit([entry("mine")]), WakeAt)
    desk.clock.ns = early.time_ns - 1000
    assert wanted(desk.log.tick(), WakeAt)
    assert wanted(desk.after(1), Refused)


def test_an_old_log_gets_an_anchor() -> None:
    """An empty record, before the last one expires."""
    desk = Desk(Limits(anchor_s=60))
    desk.open(begins())
    assert not wanted(desk.after(59_000), Append)
    (append,) = wanted(desk.after(10_000), Append)
    assert (decode(append.data).first, decode(append.data).items) == (1, [])
    assert not wanted(desk.log.stored(append.ticket, 2), Accepted)
    assert desk.log.level


def test_a_newer_version_stops_the_log() -> None:
    """With the reason; what waits is refused."""
    desk = Desk()
    desk.open(begins())
    newer = record_pb2.Record(version=2, epoch="e1", first=1, id="x", previous="e1-begin").SerializeToString()
    (stopped,) = wanted(desk.log.live(2, 1, newer), Stopped)
    assert "version 2" in stopped.reason
    assert wanted(desk.log.submit([entry("mine")]), Refused)


def test_the_head_of_another_counts_only_after_a_while() -> None:
    """The live feed is usually just slower than a heartbeat."""
    desk = Desk()
    desk.open(begins())
    assert wanted(desk.log.head_of_other(2, "e1-1"), WakeAt)
    desk.log.live(2, 1, record(1, "e1-begin", "one"))
    assert not wanted(desk.after(301), ReadEnd)
    desk.log.head_of_other(3, "e1-2")
    assert wanted(desk.after(301), ReadEnd)
