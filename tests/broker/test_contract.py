"""What a hub relies on, for every broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from secrets import token_hex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcast_grpc.broker.base import Broker
from bcast_grpc.broker.memory import MemoryBroker
from bcast_grpc.errors import BcastError
from bcast_grpc.events import Author, Entry, Position


@dataclass(frozen=True)
class Kind:
    """One kind of broker.

    Attributes:
        make: returns one with nothing in it.
        wait: returns when it has answered everything that it was asked.
    """

    make: Callable[[], Broker]
    wait: Callable[[Broker], None] = lambda _: None


BROKERS = {"memory": Kind(MemoryBroker)}


@dataclass
class Room:
    """The room on the other side, and what it was told."""

    accepted_entries: list[tuple[int, Entry]] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    refused_entries: list[tuple[Entry, BcastError]] = field(default_factory=list)

    def accepted(self, entries: Sequence[Entry], first_seq: int, time_ns: int) -> None:
        """Take entries with their places."""
        self.accepted_entries += enumerate(entries, first_seq)
        self.times.append(time_ns)

    def refused(self, entries: Sequence[Entry], error: BcastError) -> None:
        """Take back entries without a place."""
        self.refused_entries += [(entry, error) for entry in entries]


@pytest.fixture(params=BROKERS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind of broker."""
    return BROKERS[request.param]


@pytest.fixture
def broker(kind: Kind) -> Iterator[Broker]:
    """A broker with nothing in it."""
    broker = kind.make()
    yield broker
    broker.close()


def new_room() -> str:
    """A name that no order has had."""
    return f"room {token_hex(8)}"


def entries(*texts: str) -> list[Entry]:
    """Messages to put in order."""
    return [Entry(Author("session", "ana", "key"), f"ana: {text}", text.encode(), f"id {text}") for text in texts]


def test_a_new_order_begins_at_0(broker: Broker) -> None:
    """A room that nothing was said in has an epoch, and no place was given in it."""
    position = broker.open(new_room(), Room())
    assert isinstance(position, Position)
    assert position.epoch
    assert position.seq == 0


def test_epochs_are_names_that_anyone_can_write_down(broker: Broker) -> None:
    """Short ASCII without a colon, so that ``EPOCH:SEQ`` can be read back, and another for each room."""
    epochs = [broker.open(new_room(), Room()).epoch for _ in range(50)]
    assert len(set(epochs)) == 50
    for epoch in epochs:
        assert epoch.isascii()
        assert epoch.isprintable()
        assert len(epoch) <= 32
        assert not {":", " ", ","} & set(epoch)


def test_places_rise_by_one_from_1_on(kind: Kind, broker: Broker) -> None:
    """Every entry gets the next place, in the order of publishing, whether alone or with others."""
    room, name = Room(), new_room()
    broker.open(name, room)
    broker.publish(name, entries("a", "b"))
    broker.publish(name, entries("c"))
    kind.wait(broker)
    assert room.accepted_entries == list(enumerate(entries("a", "b", "c"), 1))
    assert room.refused_entries == []


def test_entries_come_back_as_they_were(kind: Kind, broker: Broker) -> None:
    """Author, text, payload and id are the broker's to keep, not to change."""
    room, name = Room(), new_room()
    broker.open(name, room)
    entry = Entry(Author("s", "José", ":c"), "José: \x00ñ\U0001f600", bytes(range(256)), "id")
    broker.publish(name, [entry])
    kind.wait(broker)
    assert room.accepted_entries == [(1, entry)]


def test_acceptance_has_a_time(kind: Kind, broker: Broker) -> None:
    """In nanoseconds since 1970."""
    room, name = Room(), new_room()
    broker.open(name, room)
    broker.publish(name, entries("a"))
    kind.wait(broker)
    assert all(1_700_000_000 * 10**9 < time_ns < 10_000_000_000 * 10**9 for time_ns in room.times)


def test_rooms_have_an_order_each(kind: Kind, broker: Broker) -> None:
    """What is said in one room is told to it alone, and takes no place in another."""
    rooms = {new_room(): Room() for _ in range(3)}
    for name, room in rooms.items():
        broker.open(name, room)
    for text in "ab":
        for name in rooms:
            broker.publish(name, entries(text))
    kind.wait(broker)
    assert [room.accepted_entries for room in rooms.values()] == [list(enumerate(entries("a", "b"), 1))] * 3


def test_names_of_rooms_are_any_text(kind: Kind, broker: Broker) -> None:
    """Whatever a client may call a room, its order is its own."""
    rooms = {
        name: Room() for name in ["lobby", "Lobby", "lobby ", "../lobby", "sala ñ", "a:b", "a.b", "*", ">", "x" * 128]
    }
    for name, room in rooms.items():
        broker.open(name, room)
    for name in rooms:
        broker.publish(name, entries(name))
    kind.wait(broker)
    assert [room.accepted_entries for room in rooms.values()] == [[(1, *entries(name))] for name in rooms]


def test_an_order_is_never_taken_up_behind_its_head(kind: Kind, broker: Broker) -> None:
    """A room that was forgotten goes on after its last place, or begins a new epoch: no place is given twice."""
    name = new_room()
    first_room, second_room = Room(), Room()
    first = broker.open(name, first_room)
    broker.publish(name, entries("a", "b"))
    kind.wait(broker)
    broker.forget(name)
    second = broker.open(name, second_room)
    assert second == Position(first.epoch, 2) or (second.epoch != first.epoch and second.seq == 0)
    broker.publish(name, entries("c"))
    kind.wait(broker)
    assert second_room.accepted_entries == [(second.seq + 1, *entries("c"))]
    assert len(first_room.accepted_entries) == 2


def test_forgetting_one_room_leaves_the_others(kind: Kind, broker: Broker) -> None:
    """An order goes on whatever becomes of its neighbours."""
    room, name, gone = Room(), new_room(), new_room()
    broker.open(name, room)
    broker.open(gone, Room())
    broker.publish(name, entries("a"))
    broker.forget(gone)
    broker.publish(name, entries("b"))
    kind.wait(broker)
    assert room.accepted_entries == list(enumerate(entries("a", "b"), 1))


def test_close_may_be_said_twice(broker: Broker) -> None:
    """Letting go of nothing is no fault."""
    broker.open(new_room(), Room())
    broker.close()
    broker.close()


@pytest.mark.parametrize("name", BROKERS)
@given(publishes=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5)), max_size=20))
@settings(deadline=None)
def test_whatever_is_published_every_room_has_it_once_and_in_order(name: str, publishes: list[tuple[int, int]]) -> None:
    """However publishes of several rooms interleave, each room has its own entries, in the places 1, 2, 3."""
    kind = BROKERS[name]
    broker = kind.make()
    rooms = [(new_room(), Room()) for _ in range(3)]
    for room_name, room in rooms:
        broker.open(room_name, room)
    sent: list[list[Entry]] = [[], [], []]
    for count, (which, size) in enumerate(publishes):
        batch = entries(*(f"{count} {number}" for number in range(size)))
        sent[which] += batch
        broker.publish(rooms[which][0], batch)
    kind.wait(broker)
    assert [room.accepted_entries for _, room in rooms] == [list(enumerate(batch, 1)) for batch in sent]
    broker.close()
