"""One server's side of a room's log, input by input. ``tests/simulator`` holds what many servers promise together."""

from __future__ import annotations

from bcast_grpc.broker.base import Accepted, Refused, Repeated
from bcast_grpc.broker.nats.log.actions import (
    Append,
    Began,
    Forward,
    ReadEnd,
    WakeAt,
)
from bcast_grpc.broker.nats.log.record import Item, Record, decode, encode, encode_forward, encode_item
from bcast_grpc.broker.nats.log.room_log import Limits

from .desk import MS, Desk, begins, entry, record, wanted


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


def test_an_append_that_has_become_too_large_is_divided() -> None:
    """By another server of NATS, which takes less; at the same place, so that only one of them can be stored."""
    limits = Limits(patience_s=60, claims_s=0)
    desk = Desk(limits)
    desk.open(begins())
    (first,) = wanted(desk.log.submit([entry("a" * 1000), entry("b" * 1000)]), Append)
    desk.log.disconnected()
    limits.largest_bytes, limits.record_bytes = 2000, 1500
    (end,) = wanted(desk.log.connected(), ReadEnd)
    (second,) = wanted(desk.log.end(end.ticket, 1, begins()) + desk.after(400), Append)
    assert second.expected == first.expected
    assert [item.entry.message[0] for item in decode(second.data).items] == ["a"]
    desk.log.refused(second.ticket, 2)
    told = wanted(desk.log.live(2, 1, first.data), Accepted)
    assert [len(one.entries) for one in told] == [2], "the first was stored after all"


def test_what_no_record_can_hold_is_not_taken_along() -> None:
    """A server with a larger ``max-message-bytes`` appends it itself, if it can."""
    desk = Desk(Limits(largest_bytes=2000, claims_s=0))
    desk.open(begins())
    items = [Item(f"other-{text}", entry(text)) for text in ("a", "b" * 2000)]
    assert not wanted(desk.log.forwarded(encode_forward(1, "e1-begin", map(encode_item, items))), Append)
    assert wanted(desk.log.forwarded(encode_forward(1, "e1-begin", map(encode_item, items[:1]))), Append)


def test_what_is_more_than_a_record_is_not_taken_along() -> None:
    """No server forwards as much, and what waits is bounded."""
    desk = Desk(Limits(record_items=3, claims_s=0))
    desk.open(begins())
    items = [encode_item(Item(f"other-{number}", entry("a"))) for number in range(4)]
    assert not wanted(desk.log.forwarded(encode_forward(1, "e1-begin", items)), Append)
    assert wanted(desk.log.forwarded(encode_forward(1, "e1-begin", items[:3])), Append)


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


def test_who_sees_late_that_its_messages_were_taken_along_goes_on_forwarding() -> None:
    """Else a server that is slow for a moment would compete with the writer from then on, and lose."""
    here, there = Desk(name="other"), Desk()
    for desk in here, there:
        desk.open(begins())
    there.log.live(2, 1, record(1, "e1-begin", "one"))
    (asked,) = wanted(there.log.submit([entry("mine")]), Forward)
    (append,) = wanted(there.after(301), Append)
    here.log.live(2, 1, record(1, "e1-begin", "one"))
    here.clock.ns += 1000 * MS
    (taken,) = wanted(here.log.forwarded(asked.data), Append)
    there.log.refused(append.ticket, 3)
    assert wanted(there.log.live(3, 2, taken.data), Accepted)
    assert wanted(there.log.submit([entry("next")]), Forward)


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


def test_a_fence_is_a_record_that_is_made_from_now_on() -> None:
    """What is under way already may have landed before; it is not forwarded, and there is one a second at most."""
    desk = Desk()
    desk.open(begins())
    (first,) = wanted(desk.log.submit([entry("mine")]), Append)
    fence = desk.log.next_record
    assert not wanted(desk.log.fence(), Append)
    (append,) = wanted(desk.log.stored(first.ticket, 2), Append)
    assert desk.log.landed < fence
    assert decode(append.data).items == []
    desk.log.stored(append.ticket, 3)
    assert desk.log.landed == fence
    assert not wanted(desk.log.fence(), Append)
    assert not wanted(desk.after(900), Append)
    (append,) = wanted(desk.after(200), Append)
    assert append.expected == 3


def test_an_id_is_forgotten_when_it_was_accepted_long_enough_ago() -> None:
    """Also at a server that has read it just now: its age is that of the record."""
    desk = Desk()
    desk.clock.ns += 200_000 * MS
    young = encode(
        Record("e1", 3, "e1-3", "e1-1", desk.clock.ns - 50_000 * MS, "other", [Item("o", entry("c", "id c"))]),
        [encode_item(Item("o", entry("c", "id c")))],
    )
    desk.open(begins(), record(1, "e1-begin", "a", "b"), young)
    assert wanted(desk.log.submit([entry("c", "id c")]), Repeated)
    assert wanted(desk.log.submit([entry("a", "id a")]), Append), "120 s have passed"
