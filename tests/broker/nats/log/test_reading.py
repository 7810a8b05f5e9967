"""How a room's log is read: holes, another past, records that do not fit, and what others say of it."""

from __future__ import annotations

from bcast_grpc.broker.base import Accepted, Refused
from bcast_grpc.broker.nats.log.actions import (
    Append,
    Began,
    ReadAfter,
    ReadEnd,
    ReadSince,
    Stopped,
    WakeAt,
)
from bcast_grpc.broker.nats.log.record import decode
from bcast_grpc.broker.nats.log.room_log import Limits
from bcast_grpc.log.v1 import record_pb2

from .desk import MS, Desk, begins, entry, record, wanted


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


def begun_late(desk: Desk) -> ReadAfter:
    """Connect to a long log, whose record with the first wanted message is at 50; return what is read from there."""
    desk.clock.ns = 60_000 * MS
    (look,) = wanted(desk.log.connected(), ReadAfter)
    assert (look.sequence, look.few) == (0, True)
    (end,) = wanted(desk.log.records(look.ticket, [(1, begins())], more=True), ReadEnd)
    (since,) = wanted(desk.log.end(end.ticket, 60, record(61, "e1-60", "last")), ReadSince)
    (probe,) = wanted(desk.log.records(since.ticket, [], more=False), ReadAfter)
    assert probe.leader
    (read,) = wanted(desk.log.records(probe.ticket, [(50, record(51, "e1-50", "x"))], more=False), ReadAfter)
    assert (read.sequence, read.leader, read.few) == (49, False, False)
    return read


LATE = Limits(claims_s=0, history_items=11, ids_s=1)


def test_a_long_log_is_not_read_from_its_beginning() -> None:
    """Single records show where the last messages begin; nothing is told before that is known."""
    desk = Desk(LATE)
    read = begun_late(desk)
    log = [record(51, "e1-50", *"0123456789"), record(61, "e1-51", "last")]
    actions = desk.log.records(read.ticket, [(50, log[0]), (60, log[1])], more=False)
    assert wanted(actions, Began) == [Began("e1", 50)]
    (end,) = wanted(actions, ReadEnd)
    desk.log.end(end.ticket, 60, log[1])
    assert (desk.log.level, desk.log.head) == (True, 61)


def test_a_log_is_read_from_its_beginning_where_a_record_does_not_fit() -> None:
    """What was read first may be void, and what follows not."""
    desk = Desk(LATE)
    read = begun_late(desk)
    log = [
        (50, record(51, "e1-50", *"012345678")),
        (55, record(60, "e1-51", "9")),
        (60, record(61, "e1-60 of another past", "last")),
    ]
    (again,) = wanted(desk.log.records(read.ticket, log, more=False), ReadAfter)
    assert (again.sequence, again.few) == (0, False)


def test_a_connection_that_is_lost_while_the_beginning_is_sought_begins_again() -> None:
    """And one that is lost afterwards goes on."""
    desk = Desk(LATE)
    (look,) = wanted(desk.log.connected(), ReadAfter)
    wanted(desk.log.records(look.ticket, [(1, begins())], more=True), ReadEnd)
    desk.log.disconnected()
    begun_late(desk)
    desk.log.disconnected()
    (end,) = wanted(desk.log.connected(), ReadEnd)
    (read,) = wanted(desk.log.end(end.ticket, 60, record(61, "e1-60", "last")), ReadAfter)
    actions = desk.log.records(
        read.ticket, [(50, record(51, "e1-50", "x")), (60, record(52, "e1-51", "y"))], more=False
    )
    assert [told.events[0].message for told in wanted(actions, Accepted)] == ["x", "y"]


def test_what_comes_live_while_the_beginning_is_sought_is_kept() -> None:
    """Where the log was emptied meanwhile, it begins with that."""
    desk = Desk(LATE)
    (look,) = wanted(desk.log.connected(), ReadAfter)
    (end,) = wanted(desk.log.records(look.ticket, [(1, begins())], more=True), ReadEnd)
    desk.log.live(70, 0, begins("e2"))
    (read,) = wanted(desk.log.end(end.ticket, 0, b""), ReadAfter)
    assert read.sequence == 70
    assert desk.log.epoch == "e2"


def test_a_hole_is_read_and_what_came_after_it_is_kept() -> None:
    """The live record that showed the hole need not come again."""
    desk = Desk()
    desk.open(begins())
    three = record(2, "e1-1", "two")
    (read,) = wanted(desk.log.live(3, 2, three), ReadAfter)
    assert read.sequence == 1
    actions = desk.log.records(read.ticket, [(2, record(1, "e1-begin", "one"))], more=False)
    assert [told.events[0].message for told in wanted(actions, Accepted)] == ["one", "two"]


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


def test_nothing_is_appended_before_the_others_have_said_what_they_told() -> None:
    """Or a second has passed: who cannot be reached is not waited for any longer."""
    for all_answer in (True, False):
        desk = Desk(Limits())
        desk.open(begins())
        assert desk.log.level
        assert not wanted(desk.log.submit([entry("one")]), Append)
        assert wanted(desk.log.all_claimed() if all_answer else desk.after(1000), Append)


def test_a_log_that_lacks_what_another_server_told_begins_a_new_epoch() -> None:
    """Once the leader has been asked for the end again: the other may just have read it first."""
    desk = Desk(Limits())
    desk.open(begins(), record(1, "e1-begin", "one"))
    desk.log.submit([entry("two")])
    (end,) = wanted(desk.log.claimed("e1", 3), ReadEnd)
    desk.log.all_claimed()
    (again,) = wanted(desk.log.end(end.ticket, 2, record(1, "e1-begin", "one")), ReadEnd)
    (new,) = wanted(desk.log.end(again.ticket, 2, record(1, "e1-begin", "one")), Append)
    assert (new.expected, decode(new.data).first) == (2, 0)
    assert decode(new.data).epoch != "e1"


def test_what_another_server_told_may_be_read_late() -> None:
    """Then all is well, and the order goes on."""
    desk = Desk(Limits())
    desk.open(begins())
    (end,) = wanted(desk.log.claimed("e1", 1), ReadEnd)
    desk.log.all_claimed()
    (read,) = wanted(desk.log.end(end.ticket, 2, record(1, "e1-begin", "one")), ReadAfter)
    (end,) = wanted(desk.log.records(read.ticket, [(2, record(1, "e1-begin", "one"))], more=False), ReadEnd)
    desk.log.end(end.ticket, 2, record(1, "e1-begin", "one"))
    assert desk.log.level
    (append,) = wanted(desk.log.submit([entry("two")]) + desk.after(400), Append)
    assert decode(append.data)[:2] == ("e1", 2)
