"""What a hub relies on, for every broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcast_grpc.broker.base import Accepted, Broker, Outcome, Refused, Repeated
from bcast_grpc.broker.budget import Budget
from bcast_grpc.broker.clock import Clock
from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.ids import ID_BYTES
from bcast_grpc.broker.memory import MemoryBroker
from bcast_grpc.broker.sqlite import SqliteBroker
from bcast_grpc.errors import BcastError, ErrorCode
from bcast_grpc.events import Author, Entry, Event, Stamp

from .desk import Desk, kept


@dataclass
class ManualClock(Clock):
    """The time, which passes when it is told to; the wall's may step."""

    steady_ns: int = 5_000_000_000_000
    shown_ns: int = field(default_factory=time.time_ns)
    started: str = "today"

    def now_ns(self) -> int:
        """Return what all is measured by."""
        return self.steady_ns

    def wall_ns(self) -> int:
        """Return what is shown."""
        return self.shown_ns

    def boot(self) -> str:
        """Return the machine's last start."""
        return self.started

    def boot_ns(self) -> int:
        """Return what all processes measure by."""
        return self.steady_ns

    def pass_s(self, seconds: float) -> None:
        """Let it pass."""
        self.steady_ns += round(seconds * 1e9)
        self.step_s(seconds)

    def step_s(self, seconds: float) -> None:
        """Set the wall's clock forward, or back."""
        self.shown_ns += round(seconds * 1e9)


class Make(Protocol):
    """Makes a broker; with the same place it has what another one kept there."""

    def __call__(self, place: Path, retention: Retention, clock: ManualClock) -> Broker:
        """Make it."""


@dataclass(frozen=True)
class BrokerKind:
    """One kind of broker.

    Attributes:
        make: returns one.
        durable: whether another one that is made later goes on with what this one had.
    """

    make: Make
    durable: bool = False


BROKERS = {
    "memory": BrokerKind(lambda _, retention, clock: MemoryBroker(retention, clock)),
    "sqlite": BrokerKind(lambda place, retention, clock: SqliteBroker(place / "store", retention, clock), durable=True),
}
KEEPING = Retention(messages=1000, bytes=1 << 20, age_s=60, dedup_s=10)


def wait(broker: Desk[Any]) -> None:
    """Wait until everything that was published has been answered."""
    broker.wait()


@dataclass
class Room:
    """The room on the other side, and what was delivered to it.

    Attributes:
        deliveries: of each delivery the outcomes, as the kind of each and the texts in it.
    """

    deliveries: list[list[tuple[type[Outcome], list[str]]]] = field(default_factory=list)
    accepted_entries: list[tuple[int, Entry | None]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    repeated_entries: list[tuple[Entry, Stamp]] = field(default_factory=list)
    refused_entries: list[tuple[Entry, BcastError]] = field(default_factory=list)

    def __call__(self, outcomes: Sequence[Outcome]) -> None:
        """Take note of what became of entries."""
        self.deliveries.append([(type(outcome), [e.message for e in outcome.entries if e]) for outcome in outcomes])
        for outcome in outcomes:
            match outcome:
                case Accepted(entries, events):
                    self.accepted_entries += [(event.seq, entry) for entry, event in zip(entries, events, strict=True)]
                    self.events += events
                case Repeated(entries, places):
                    self.repeated_entries += zip(entries, places, strict=True)
                case Refused(entries, error):
                    self.refused_entries += [(entry, error) for entry in entries]


@pytest.fixture(params=BROKERS)
def kind(request: pytest.FixtureRequest) -> BrokerKind:
    """Each kind of broker."""
    return BROKERS[request.param]


@pytest.fixture
def clock() -> ManualClock:
    """The brokers' time."""
    return ManualClock()


@pytest.fixture
def broker(kind: BrokerKind, tmp_path: Path, clock: ManualClock) -> Iterator[Desk[Broker]]:
    """A broker with nothing in it."""
    broker = Desk(kind.make(tmp_path, KEEPING, clock))
    yield broker
    broker.close()


def new_room() -> str:
    """A name that no order has had."""
    return f"room {token_hex(8)}"


def entries(*texts: str) -> list[Entry]:
    """Messages to put in order."""
    return [Entry(Author("session", "ana", "key"), f"ana: {text}", text.encode(), f"id {text}") for text in texts]


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


def test_what_was_submitted_together_is_answered_together(broker: Desk[Broker]) -> None:
    """One delivery has an outcome for all of it, in the order of submission; repeats are in between."""
    room, name = Room(), new_room()
    broker.open(name, room)
    broker.publish(name, entries("a", "b"))
    broker.publish(name, entries("b", "a", "c", "d", "c"))
    wait(broker)
    assert room.deliveries == [
        [(Accepted, ["ana: a", "ana: b"])],
        [(Repeated, ["ana: b", "ana: a"]), (Accepted, ["ana: c", "ana: d"]), (Repeated, ["ana: c"])],
    ]
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
    broker.close()
    broker.close()


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
        assert later.epoch != order.epoch
        assert (later.head, kept(later)) == (0, [])


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


# --- a clock that is set


@pytest.mark.parametrize("step_s", [200, -200, 1e9, -1e9])
def test_a_step_of_the_walls_clock_makes_no_retry_new(broker: Desk[Broker], clock: ManualClock, step_s: float) -> None:
    """An id is remembered for as long as ``dedup-s`` says, whatever the system's clock is set to meanwhile."""
    room, name = Room(), new_room()
    broker.open(name, room)
    broker.publish(name, entries("a"))
    clock.step_s(step_s)
    clock.pass_s(9)
    broker.expire()
    broker.publish(name, entries("a"))
    wait(broker)
    assert ([event.seq for event in room.events], [place.seq for _, place in room.repeated_entries]) == ([1], [1])


@pytest.mark.parametrize("step_s", [3700, -3700])
def test_a_step_of_the_walls_clock_drops_no_history(broker: Desk[Broker], clock: ManualClock, step_s: float) -> None:
    """Messages are kept for as long as ``history-age-s`` says, in a room with somebody in it and in one without."""
    left, name = new_room(), new_room()
    for each in (left, name):
        room = Room()
        order = broker.open(each, room)
        broker.publish(each, entries("a"))
    wait(broker)
    broker.release(left)
    clock.step_s(step_s)
    broker.expire()
    wait(broker)
    assert kept(order) == room.events
    assert [event.message for event in kept(broker.open(left, Room()))] == ["ana: a"]


def test_a_step_back_keeps_nothing_for_longer(broker: Desk[Broker], clock: ManualClock) -> None:
    """After ``dedup-s`` an id is new, after ``history-age-s`` a message is dropped, though the wall clock is behind."""
    room, name = Room(), new_room()
    order = broker.open(name, room)
    broker.publish(name, entries("a"))
    wait(broker)
    clock.step_s(-3700)
    clock.pass_s(11)
    broker.publish(name, entries("a"))
    wait(broker)
    assert ([event.seq for event in room.events], room.repeated_entries) == ([1, 2], [])
    clock.pass_s(55)
    broker.expire()
    assert [event.seq for event in kept(order)] == [2]
    clock.pass_s(10)
    broker.expire()
    assert kept(order) == []


@pytest.mark.parametrize("step_s", [3700, -3700])
def test_what_comes_after_a_step_is_measured_as_well(broker: Desk[Broker], clock: ManualClock, step_s: float) -> None:
    """Messages from before and after a step are each dropped at their own age."""
    room, name = Room(), new_room()
    order = broker.open(name, room)
    broker.publish(name, entries("a"))
    wait(broker)
    clock.pass_s(30)
    clock.step_s(step_s)
    broker.publish(name, entries("b"))
    wait(broker)
    clock.pass_s(31)
    broker.expire()
    assert [event.seq for event in kept(order)] == [2]
    clock.pass_s(30)
    broker.expire()
    assert kept(order) == []


# --- another process


@contextmanager
def opened(
    kind: BrokerKind, place: Path, clock: ManualClock, retention: Retention
) -> Iterator[Callable[[], Desk[Broker]]]:
    """Give what makes a broker in place of the last one, which is closed."""
    brokers: list[Desk[Broker]] = []

    def reopen() -> Desk[Broker]:
        for broker in brokers:
            broker.close()
        brokers.append(Desk(kind.make(place, retention, clock)))
        return brokers[-1]

    yield reopen
    for broker in brokers:
        broker.close()


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


@pytest.mark.parametrize("step_s", [3700, -3700])
def test_a_step_of_the_walls_clock_between_two_processes(
    kind: BrokerKind, tmp_path: Path, clock: ManualClock, step_s: float
) -> None:
    """It drops no history and makes no retry new, and nothing is kept for longer; what is shown stays as it was."""
    if not kind.durable:
        return
    with opened(kind, tmp_path, clock, KEEPING) as reopen:
        room, later, broker = Room(), Room(), reopen()
        first = broker.open("lobby", room)
        broker.publish("lobby", entries("a"))
        wait(broker)
        broker.close()
        clock.pass_s(9)
        clock.step_s(step_s)
        broker = reopen()
        second = broker.open("lobby", later)
        broker.publish("lobby", entries("a"))
        wait(broker)
        assert (second.epoch, kept(second)) == (first.epoch, room.events)
        assert [place for _, place in later.repeated_entries] == [Stamp(1, room.events[0].time_ns)]
        broker.close()
        clock.pass_s(2)
        clock.step_s(-2 * step_s)
        broker = reopen()
        broker.open("lobby", Room())
        broker.publish("lobby", entries("a"))
        wait(broker)
        broker.close()
        clock.pass_s(61)
        assert reopen().open("lobby", Room()).epoch != first.epoch


@pytest.mark.parametrize(("passed_s", "is_kept"), [(50, True), (-3700, True), (70, False)])
def test_after_a_restart_of_the_machine_the_walls_clock_is_all_there_is(
    kind: BrokerKind, tmp_path: Path, clock: ManualClock, passed_s: float, is_kept: bool
) -> None:
    """The time without a machine is what the wall's clock says, but never less than none."""
    if not kind.durable:
        return
    with opened(kind, tmp_path, clock, KEEPING) as reopen:
        room, broker = Room(), reopen()
        first = broker.open("lobby", room)
        broker.publish("lobby", entries("a"))
        wait(broker)
        broker.close()
        clock.started, clock.steady_ns = "tomorrow", 1
        clock.step_s(passed_s)
        second = reopen().open("lobby", Room())
        assert (second.epoch == first.epoch, kept(second)) == (is_kept, room.events if is_kept else [])


# --- properties


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
