"""What every broker keeps, and for how long: history, the ids that are known, and a durable order."""

from __future__ import annotations

from pathlib import Path

import pytest

from bcast_grpc.broker.base import Broker
from bcast_grpc.broker.budget import Budget
from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.ids import ID_BYTES
from bcast_grpc.errors import ErrorCode
from bcast_grpc.events import Author, Entry

from .desk import Desk, kept
from .kinds import KEEPING, BrokerKind, ManualClock, Room, entries, new_room, opened, wait

# --- what is kept


def test_history_is_there_before_the_room_is_told(broker: Desk[Broker]) -> None:
    """What was accepted is in the history, as the event that it became."""
    room, name = Room(), new_room()
    order = broker.open(name, room)
    broker.publish(name, entries("a", "b"))
    wait(broker)
    assert kept(order) == room.events
    assert [(event.seq, event.message, event.data) for event in room.events] == [
        (1, "ana: a", b"a"),
        (2, "ana: b", b"b"),
    ]
    assert [event.author for event in room.events] == [entry.author for entry in entries("a", "b")]


@pytest.mark.parametrize("reopened", [False, True])
def test_history_is_bounded_in_messages(kind: BrokerKind, tmp_path: Path, clock: ManualClock, reopened: bool) -> None:
    """The last ones are kept."""
    with opened(kind, tmp_path, clock, Retention(3, 1 << 20, 60, 10)) as reopen:
        room, broker = Room(), reopen()
        order = broker.open("lobby", room)
        for text in "abcde":
            broker.publish("lobby", entries(text))
        wait(broker)
        if reopened and kind.durable:
            order = reopen().open("lobby", Room())
        assert (order.oldest, order.head) == (3, 5)
        assert kept(order) == room.events[-3:]


def test_only_what_newer_messages_took_the_place_of_is_displaced(
    kind: BrokerKind, tmp_path: Path, clock: ManualClock
) -> None:
    """What has expired is not: who reads faster gets only the former."""
    with opened(kind, tmp_path, clock, Retention(3, 1 << 20, 60, 10)) as reopen:
        broker = reopen()
        order = broker.open("lobby", Room())
        for text in "abcd":
            broker.publish("lobby", entries(text))
        wait(broker)
        assert (order.oldest, order.displaced) == (2, 1)
        clock.pass_s(40)
        broker.publish("lobby", entries("e"))
        wait(broker)
        clock.pass_s(30)
        broker.expire()
        assert (order.oldest, order.displaced) == (5, 2)


def test_history_is_bounded_in_bytes(kind: BrokerKind, tmp_path: Path, clock: ManualClock) -> None:
    """As many of the last ones as fit."""
    with opened(kind, tmp_path, clock, Retention(1000, 10_000, 60, 10)) as reopen:
        room, broker = Room(), reopen()
        order = broker.open("lobby", room)
        broker.publish("lobby", [Entry(Author("s", "", "s"), "", bytes(3000)) for _ in range(5)])
        wait(broker)
        assert kept(order) == room.events[-3:]


@pytest.mark.parametrize("reopened", [False, True])
def test_history_is_bounded_in_age(kind: BrokerKind, tmp_path: Path, clock: ManualClock, reopened: bool) -> None:
    """What is too old goes, whether somebody is there or not; when all has gone, the next order has a new epoch."""
    with opened(kind, tmp_path, clock, KEEPING) as reopen:
        room, broker = Room(), reopen()
        order = broker.open("lobby", room)
        broker.publish("lobby", entries("a"))
        wait(broker)
        clock.pass_s(40)
        broker.publish("lobby", entries("b"))
        wait(broker)
        clock.pass_s(30)
        broker.expire()
        assert kept(order) == room.events[1:]
        assert order.head == 2
        broker.release("lobby")
        broker = reopen() if reopened and kind.durable else broker
        again = broker.open("lobby", Room())
        assert (again.epoch, kept(again)) == (order.epoch, room.events[1:])
        broker.release("lobby")
        clock.pass_s(40)
        broker.expire()
        wait(broker)
        broker = reopen() if reopened and kind.durable else broker
        later = broker.open("lobby", Room())
        assert (later.epoch != order.epoch) != kind.shared
        assert (later.head, kept(later)) == (2 if kind.shared else 0, [])


def test_an_order_with_somebody_there_never_ends(broker: Desk[Broker], clock: ManualClock) -> None:
    """When nothing is kept any more, places go on rising."""
    room, name = Room(), new_room()
    order = broker.open(name, room)
    broker.publish(name, entries("a"))
    wait(broker)
    clock.pass_s(1000)
    broker.expire()
    broker.publish(name, entries("b"))
    wait(broker)
    assert [event.seq for event in kept(order)] == [2]


# --- retries


def test_what_is_sent_again_keeps_its_place(broker: Desk[Broker]) -> None:
    """An author's entry with an id that it used before is told to have the first one's place, and is not accepted."""
    room, name = Room(), new_room()
    order = broker.open(name, room)
    broker.publish(name, entries("a", "b"))
    broker.publish(name, entries("b", "c", "c"))
    wait(broker)
    assert [event.message for event in kept(order)] == ["ana: a", "ana: b", "ana: c"]
    assert [(entry.id, place.seq) for entry, place in room.repeated_entries] == [("id b", 2), ("id c", 3)]
    assert {place.time_ns for _, place in room.repeated_entries} == {event.time_ns for event in room.events}


def test_ids_are_each_authors_own(broker: Desk[Broker]) -> None:
    """Two authors may use the same id, and one without an id sends what it likes as often as it likes."""
    room, name = Room(), new_room()
    broker.open(name, room)
    for key in ("one", "two"):
        broker.publish(name, [Entry(Author("session", "", key), "x", id="id")])
    broker.publish(name, [Entry(Author("session", "", "one"), "x")] * 2)
    wait(broker)
    assert [event.seq for event in room.events] == [1, 2, 3, 4]
    assert room.repeated_entries == []


def test_ids_are_each_rooms_own(broker: Desk[Broker]) -> None:
    """The same author may use its id in another room."""
    rooms = [(new_room(), Room()) for _ in range(2)]
    for name, room in rooms:
        broker.open(name, room)
        broker.publish(name, entries("a"))
    wait(broker)
    assert [len(room.events) for _, room in rooms] == [1, 1]


def test_ids_are_remembered_for_a_while(broker: Desk[Broker], clock: ManualClock) -> None:
    """After ``dedup_s`` an id is as good as new."""
    room, name = Room(), new_room()
    broker.open(name, room)
    for seconds in (0, 9, 2):
        clock.pass_s(seconds)
        broker.publish(name, entries("a"))
        wait(broker)
        broker.expire()
    assert [event.seq for event in room.events] == [1, 2]
    assert [place.seq for _, place in room.repeated_entries] == [1]


def test_ids_are_remembered_when_all_have_left(broker: Desk[Broker]) -> None:
    """Whoever lost its connection, with everyone else, may send again what it is not sure of."""
    name, room = new_room(), Room()
    broker.open(name, Room())
    broker.publish(name, entries("a"))
    wait(broker)
    broker.release(name)
    broker.open(name, room)
    broker.publish(name, entries("a", "b"))
    wait(broker)
    assert [(event.seq, event.message) for event in room.events] == [(2, "ana: b")]
    assert [place.seq for _, place in room.repeated_entries] == [1]


def test_ids_that_cannot_be_remembered_are_refused(kind: BrokerKind, tmp_path: Path, clock: ManualClock) -> None:
    """Known ones are found, and messages without an id go on; when the oldest are forgotten there is room again.

    A store keeps ids in its file, where all of them fit.
    """
    if kind.durable:
        return
    budget = Budget(4 * ID_BYTES * 3)
    with opened(kind, tmp_path, clock, Retention(bytes=0, dedup_s=10, budget=budget)) as reopen:
        room, broker = Room(), reopen()
        broker.open("lobby", room)
        broker.publish("lobby", entries("a", "b", "c"))
        clock.pass_s(4)
        broker.publish("lobby", [*entries("d", "a"), Entry(Author("session", "", "key"), "x"), *entries("e")])
        wait(broker)
        assert [event.seq for event in room.events] == [1, 2, 3, 4]
        assert [(entry.id, place.seq) for entry, place in room.repeated_entries] == [("id a", 1)]
        assert [entry.id for entry, _ in room.refused_entries] == ["id d", "id e"]
        assert {(error.code, error.retry_after_s) for _, error in room.refused_entries} == {(ErrorCode.RATE_LIMITED, 6)}
        clock.pass_s(6)
        broker.publish("lobby", entries("d"))
        wait(broker)
        assert [event.message for event in room.events[4:]] == ["ana: d"]


# --- another process


def test_a_durable_order_survives(kind: BrokerKind, tmp_path: Path, clock: ManualClock) -> None:
    """Epoch, places, history and ids are there in the next process; without a store the order begins anew."""
    with opened(kind, tmp_path, clock, KEEPING) as reopen:
        room, broker = Room(), reopen()
        first = broker.open("lobby", room)
        broker.publish("lobby", entries("a", "b"))
        wait(broker)
        later, broker = Room(), reopen()
        second = broker.open("lobby", later)
        broker.publish("lobby", entries("b", "c"))
        wait(broker)
        if kind.durable:
            assert (second.epoch, [event.seq for event in kept(second)]) == (first.epoch, [1, 2, 3])
            assert kept(second)[:2] == room.events
            assert [place.seq for _, place in later.repeated_entries] == [2]
        else:
            assert second.epoch != first.epoch
            assert [event.seq for event in kept(second)] == [1, 2]
