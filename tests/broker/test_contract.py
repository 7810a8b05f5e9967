"""What a hub relies on, for every broker."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcast_grpc.broker.base import Accepted, Broker, Repeated
from bcast_grpc.broker.memory import MemoryBroker
from bcast_grpc.events import Author, Entry

from .desk import Desk, kept
from .kinds import BROKERS, KEEPING, BrokerKind, ManualClock, Room, entries, new_room, wait


def test_a_new_order_begins_at_0(broker: Desk[Broker]) -> None:
    """A room that nothing was said in has an epoch, and no place was given in it."""
    order = broker.open(new_room(), Room())
    assert order.epoch
    assert (order.head, order.oldest, len(kept(order))) == (0, 1, 0)


def test_epochs_are_names_that_anyone_can_write_down(broker: Desk[Broker]) -> None:
    """Short ASCII without a colon, so that ``EPOCH:SEQ`` can be read back, and another for each room."""
    epochs = [broker.open(new_room(), Room()).epoch for _ in range(50)]
    assert len(set(epochs)) == 50
    for epoch in epochs:
        assert epoch.isascii()
        assert epoch.isprintable()
        assert len(epoch) <= 32
        assert not {":", " ", ","} & set(epoch)


def test_places_rise_by_one_from_1_on(broker: Desk[Broker]) -> None:
    """Every entry gets the next place, in the order of publishing, whether alone or with others."""
    room, name = Room(), new_room()
    broker.open(name, room)
    broker.publish(name, entries("a", "b"))
    broker.publish(name, entries("c"))
    wait(broker)
    assert room.accepted_entries == list(enumerate(entries("a", "b", "c"), 1))
    assert room.refused_entries == []


def test_what_was_submitted_together_is_answered_together(broker: Desk[Broker], kind: BrokerKind) -> None:
    """One delivery has an outcome for all of it, in the order of submission; repeats are in between."""
    room, name = Room(), new_room()
    broker.open(name, room)
    broker.publish(name, entries("a", "b"))
    broker.publish(name, entries("b", "a", "c", "d", "c"))
    wait(broker)
    first = [(Accepted, ["ana: a", "ana: b"])]
    second = [(Repeated, ["ana: b", "ana: a"]), (Accepted, ["ana: c", "ana: d"]), (Repeated, ["ana: c"])]
    if kind.shared:
        assert [outcome for delivery in room.deliveries for outcome in delivery] == first + second
    else:
        assert room.deliveries == [first, second]
    assert [place.seq for _, place in room.repeated_entries] == [2, 1, 3]


def test_entries_come_back_as_they_were(broker: Desk[Broker]) -> None:
    """Author, text, payload and id are the broker's to keep, not to change."""
    room, name = Room(), new_room()
    broker.open(name, room)
    entry = Entry(Author("s", "José", ":c"), "José: \x00ñ\U0001f600", bytes(range(256)), "id")
    broker.publish(name, [entry])
    wait(broker)
    assert room.accepted_entries == [(1, entry)]


def test_acceptance_has_a_time(broker: Desk[Broker], clock: ManualClock) -> None:
    """In nanoseconds since 1970."""
    room, name = Room(), new_room()
    broker.open(name, room)
    broker.publish(name, entries("a"))
    wait(broker)
    assert [event.time_ns for event in room.events] == [clock.wall_ns()]


def test_what_waits_is_bounded_if_it_is_asked(broker: Desk[Broker]) -> None:
    """A room that submits only while its order is not full waits for answers, and then goes on."""
    room, name = Room(), new_room()
    order = broker.open(name, room)
    published = 0
    for text, times in [("x", 200), ("x" * 60_000, 5)]:
        for _ in range(times):  # whatever answers later does so from the loop, which does not run meanwhile
            if not order.full:
                broker.publish(name, [Entry(Author("session", "ana", "key"), text, b"x", "")] * 100)
                published += 100
        assert order.full != isinstance(broker.broker, MemoryBroker)
        wait(broker)
        assert not order.full
    assert len(room.accepted_entries) == published


def test_rooms_have_an_order_each(broker: Desk[Broker]) -> None:
    """What is said in one room is told to it alone, and takes no place in another."""
    rooms = {new_room(): Room() for _ in range(3)}
    for name, room in rooms.items():
        broker.open(name, room)
    for text in "ab":
        for name in rooms:
            broker.publish(name, entries(text))
    wait(broker)
    assert [room.accepted_entries for room in rooms.values()] == [list(enumerate(entries("a", "b"), 1))] * 3


def test_names_of_rooms_are_any_text(broker: Desk[Broker]) -> None:
    """Whatever a client may call a room, its order is its own."""
    rooms = {
        name: Room() for name in ["lobby", "Lobby", "lobby ", "../lobby", "sala ñ", "a:b", "a.b", "*", ">", "x" * 128]
    }
    for name, room in rooms.items():
        broker.open(name, room)
    for name in rooms:
        broker.publish(name, entries(name))
    wait(broker)
    assert [room.accepted_entries for room in rooms.values()] == [[(1, *entries(name))] for name in rooms]


def test_an_order_goes_on_where_it_was_left(broker: Desk[Broker]) -> None:
    """A room that everyone has left keeps its order: the epoch, the places that were given, and the history."""
    name = new_room()
    first_room, second_room = Room(), Room()
    epoch = broker.open(name, first_room).epoch
    broker.publish(name, entries("a", "b"))
    wait(broker)
    broker.release(name)
    order = broker.open(name, second_room)
    assert (order.epoch, order.head) == (epoch, 2)
    assert kept(order) == first_room.events
    broker.publish(name, entries("c"))
    wait(broker)
    assert second_room.accepted_entries == [(3, *entries("c"))]
    assert kept(order) == first_room.events + second_room.events
    assert len(first_room.accepted_entries) == 2


def test_forgetting_one_room_leaves_the_others(broker: Desk[Broker]) -> None:
    """An order goes on whatever becomes of its neighbours."""
    room, name, gone = Room(), new_room(), new_room()
    broker.open(name, room)
    broker.open(gone, Room())
    broker.publish(name, entries("a"))
    broker.release(gone)
    broker.publish(name, entries("b"))
    wait(broker)
    assert room.accepted_entries == list(enumerate(entries("a", "b"), 1))


def test_close_may_be_said_twice(broker: Desk[Broker]) -> None:
    """Letting go of nothing is no fault."""
    broker.open(new_room(), Room())
    for _ in range(2):
        broker.loop.run_until_complete(broker.broker.close())


@pytest.mark.parametrize("name", BROKERS)
@given(publishes=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5)), max_size=20))
@settings(deadline=None, max_examples=30)
def test_whatever_is_published_every_room_has_it_once_and_in_order(name: str, publishes: list[tuple[int, int]]) -> None:
    """However publishes of several rooms interleave, each room has its own entries, in the places 1, 2, 3."""
    with TemporaryDirectory() as place:
        broker = Desk(BROKERS[name].make(Path(place), KEEPING, ManualClock()))
        rooms = [(new_room(), Room()) for _ in range(3)]
        for room_name, room in rooms:
            broker.open(room_name, room)
        sent: list[list[Entry]] = [[], [], []]
        for count, (which, size) in enumerate(publishes):
            batch = entries(*(f"{count} {number}" for number in range(size)))
            sent[which] += batch
            broker.publish(rooms[which][0], batch)
        wait(broker)
        assert [room.accepted_entries for _, room in rooms] == [list(enumerate(batch, 1)) for batch in sent]
        broker.close()
