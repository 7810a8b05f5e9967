"""The checkers accept a right record, and each of them finds its violation in a wrong one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from .model import STEPS, Model
from .order import Order, stretches
from .promises import PROMISES, violations
from .records import Acked, Came, Client, Place, Present, Room, Saw, Sent, Step, Told, Visit, Welcomed, Went, author_of

S = TypeVar("S", bound=Step)


@dataclass(slots=True)
class Spot:
    """Where a step stands in the record."""

    client: Client
    visit: Visit
    index: int

    def put(self, *steps: Step) -> None:
        """Put others into its place."""
        self.visit.steps[self.index : self.index + 1] = steps


Bug: TypeAlias = Callable[[Room, st.DataObject], None]


def spots(room: Room, kind: type[S], fits: Callable[[Spot, S], bool] = lambda *_: True) -> list[tuple[Spot, S]]:
    """Return all steps of a kind that fit, and where they stand."""
    return [
        (spot, step)
        for client in room.clients
        for visit in client.visits
        for index, step in enumerate(visit.steps)
        if isinstance(step, kind) and fits(spot := Spot(client, visit, index), step)
    ]


def pick(
    room: Room, data: st.DataObject, kind: type[S], fits: Callable[[Spot, S], bool] = lambda *_: True
) -> tuple[Spot, S]:
    """Choose a step of a kind."""
    found = spots(room, kind, fits)
    assume(found)
    return data.draw(st.sampled_from(found))


def is_followed(spot: Spot, _: object) -> bool:
    """Whether the client got another message of the same epoch later, or was there at the end of it."""
    return any(isinstance(step, Saw) for step in spot.visit.steps[spot.index + 1 :]) or (
        spot.client.stayed and spot.visit is spot.client.visits[-1]
    )


def drop(room: Room, data: st.DataObject) -> None:
    """A message does not reach one client."""
    spot, _ = pick(room, data, Saw, is_followed)
    spot.put()


def drop_the_last(room: Room, data: st.DataObject) -> None:
    """The last words do not reach one client."""
    spot, _ = pick(room, data, Saw, lambda spot, _: is_followed(spot, _) and not later(spot, Saw))
    spot.put()


def later(spot: Spot, kind: type[Step]) -> bool:
    """Whether there is a step of a kind after this one, in the visit."""
    return any(isinstance(step, kind) for step in spot.visit.steps[spot.index + 1 :])


def drop_for_all(room: Room, data: st.DataObject) -> None:
    """A message reaches nobody, and its author does not hear of it either."""
    followed = {(spot.client.key, saw.text) for spot, saw in spots(room, Saw, lambda spot, _: later(spot, Saw))}
    times = Counter(text for _, text in followed)
    texts = sorted(text for text, count in times.items() if count > 1)
    assume(texts)
    text = data.draw(st.sampled_from(texts))
    for client in room.clients:
        for visit in client.visits:
            visit.steps = [step for step in visit.steps if getattr(step, "text", "") != text or isinstance(step, Sent)]


def swap(room: Room, data: st.DataObject) -> None:
    """Two messages reach one client in the wrong order."""
    spot, step = pick(room, data, Saw, lambda spot, _: later(spot, Saw))
    steps = spot.visit.steps
    other = next(i for i in range(spot.index + 1, len(steps)) if isinstance(steps[i], Saw))
    steps[spot.index], steps[other] = steps[other], step


def renumber(room: Room, data: st.DataObject) -> None:
    """One client gets two messages in each other's place."""
    spot, step = pick(room, data, Saw, lambda spot, _: later(spot, Saw))
    steps = spot.visit.steps
    index, other = next((i, s) for i, s in enumerate(steps) if i > spot.index and isinstance(s, Saw))
    steps[spot.index], steps[index] = Saw(step.seq, other.text), Saw(other.seq, step.text)


def split(room: Room, data: st.DataObject) -> None:
    """One client gets an order of its own."""
    spot, step = pick(room, data, Welcomed, lambda spot, _: spot.visit is spot.client.visits[-1] and spot.client.stayed)
    spot.put(step._replace(head=Place("other", step.head.seq)))


def overtake(room: Room, data: st.DataObject) -> None:
    """Two messages of one author are accepted in the wrong order, for everybody."""
    order = Order(room)
    pairs = [
        (one, two)
        for place, one in order.texts.items()
        for two in [order.texts.get(Place(place.epoch, place.seq + 1))]
        if two and author_of(one) == author_of(two)
    ]
    assume(pairs)
    one, two = data.draw(st.sampled_from(pairs))
    other = {one: two, two: one}
    for client in room.clients:
        for visit in client.visits:
            visit.steps = [
                step._replace(text=other.get(step.text, step.text)) if isinstance(step, Saw | Acked) else step
                for step in visit.steps
            ]


def misplace_an_ack(room: Room, data: st.DataObject) -> None:
    """An ack names another place than others saw; what nobody saw may have been anywhere."""
    seen = {(way.epoch, text) for one in room.clients for way in stretches(one, room.kept) for _, text in way.seen}
    spot, ack = pick(room, data, Acked, lambda _, ack: (ack.place.epoch, ack.text) in seen)
    spot.put(ack._replace(place=Place(ack.place.epoch, ack.place.seq + 1)))


def acknowledge_what_is_lost(room: Room, data: st.DataObject) -> None:
    """The server acknowledges, ends, and what came last is not in its store."""
    assume(room.durable)
    spot, ack = pick(room, data, Acked)
    spot.put(ack._replace(place=Place("lost", ack.place.seq)))


def never_answer(room: Room, data: st.DataObject) -> None:
    """A message is neither acknowledged nor refused."""
    spot, _ = pick(room, data, Acked)
    spot.put()


def take_for_a_retry(room: Room, data: st.DataObject) -> None:
    """A new message is taken for an old one, and lost."""
    sent = [step.text for client in room.clients for step in client.steps if isinstance(step, Sent)]
    spot, ack = pick(room, data, Acked, lambda _, ack: sent.count(ack.text) == 1)
    spot.put(ack._replace(duplicate=True))


def invent(room: Room, data: st.DataObject) -> None:
    """A message arrives that nobody sent, or not like this."""
    spot, step = pick(room, data, Saw)
    spot.put(step._replace(text=f"garbled {step.text}"))


def double(room: Room, data: st.DataObject) -> None:
    """A message reaches one client twice."""
    spot, step = pick(room, data, Saw)
    spot.put(step, step)


def double_over_a_resume(room: Room, data: st.DataObject) -> None:
    """A client gets again what it had before it came back."""
    spot, step = pick(room, data, Saw, lambda spot, _: bool(next_visit(spot)))
    visit = next_visit(spot)
    assert visit
    visit.steps.insert(1, step)


def next_visit(spot: Spot) -> Visit | None:
    """Return the next visit of a step's client, if it is one of the same epoch."""
    visits = [visit for visit in spot.client.visits if visit.welcome]
    follow = visits[visits.index(spot.visit) + 1 :]
    assert spot.visit.welcome
    same = follow and follow[0].welcome and follow[0].welcome.head.epoch == spot.visit.welcome.head.epoch
    return follow[0] if same else None


def accept_twice(room: Room, data: st.DataObject) -> None:
    """A retry is accepted as a new message."""
    order = Order(room)
    seen = {step.text for client in room.clients for step in client.steps if isinstance(step, Saw)}
    spot, ack = pick(room, data, Acked, lambda _, ack: ack.duplicate and ack.text in seen)
    spot.put(Acked(ack.text, Place(ack.place.epoch, order.heads[ack.place.epoch] + 1)))


def echo(room: Room, data: st.DataObject) -> None:
    """An author gets its own message."""
    spot, ack = pick(room, data, Acked, lambda spot, _: not spot.client.echo)
    spot.put(Saw(ack.place.seq, ack.text), ack)


def tell_of_oneself(room: Room, data: st.DataObject) -> None:
    """A client gets its own JOINED."""
    spot, step = pick(room, data, Present)
    spot.put(step, Came(spot.client.key))


def hide_a_gap(room: Room, data: st.DataObject) -> None:
    """A client that resumes gets no GAP for what is gone."""
    spot, _ = pick(room, data, Told, lambda spot, told: told.reason == "NEW_EPOCH" or missed_others(room, spot, told))
    spot.put()


def missed_others(room: Room, spot: Spot, told: Told) -> bool:
    """Whether others' messages are in a gap, and a message follows."""
    order = Order(room)
    assert spot.visit.welcome
    epoch = spot.visit.welcome.head.epoch
    texts = [order.texts.get(Place(epoch, seq)) for seq in range(told.first, told.last + 1)]
    foreign = [text for text in texts if text and (spot.client.echo or author_of(text) != spot.client.key)]
    return bool(foreign) and later(spot, Saw)


def tell_too_much(room: Room, data: st.DataObject) -> None:
    """A GAP covers a message that the client gets."""
    spot, told = pick(room, data, Told, lambda spot, told: told.reason == "TRIMMED")
    spot.put(told._replace(last=told.last + 1))


def tell_what_was_seen(room: Room, data: st.DataObject) -> None:
    """A GAP covers a message that the client got before."""
    spot, step = pick(room, data, Saw)
    spot.put(step, Told(step.seq, step.seq, "SLOW"))


def begin_anew_for_nothing(room: Room, data: st.DataObject) -> None:
    """A client gets a GAP for a new epoch, but it is the same one."""
    spot, step = pick(room, data, Welcomed, lambda _, step: step.resumed)
    spot.put(step._replace(resumed=False), Told(0, 0, "NEW_EPOCH"))


def pretend_to_resume(room: Room, data: st.DataObject) -> None:
    """WELCOME says that the client missed nothing, but it did."""
    spot, _ = pick(room, data, Told)
    welcome = spot.visit.steps[0]
    assert isinstance(welcome, Welcomed)
    spot.visit.steps[0] = welcome._replace(resumed=True)


def refuse_a_place(room: Room, data: st.DataObject) -> None:
    """A client is refused with a place that the server gave it."""
    spot, _ = pick(room, data, Welcomed, lambda spot, _: bool(spot.visit.after))
    spot.visit.steps = []
    spot.visit.ending = "METADATA_INVALID"


def forget_a_departure(room: Room, data: st.DataObject) -> None:
    """A client that is there at the end does not get somebody's LEFT."""
    spot, _ = pick(
        room, data, Went, lambda spot, went: is_at_the_end(spot) and went.name == "leo" and not retold(spot, went)
    )
    spot.put()


def is_at_the_end(spot: Spot) -> bool:
    """Whether the visit lasted to the end."""
    return spot.visit is spot.client.visits[-1] and not spot.client.gone


def retold(spot: Spot, went: Went) -> bool:
    """Whether somebody came and left again after that."""
    return any(step == went for step in spot.visit.steps[spot.index + 1 :])


def tell_a_departure_twice(room: Room, data: st.DataObject) -> None:
    """A client gets a LEFT twice."""
    spot, step = pick(room, data, Went)
    spot.put(step, step)


def bury_the_living(room: Room, data: st.DataObject) -> None:
    """A client gets the LEFT of somebody who is there."""
    spot, _ = pick(room, data, Present, lambda spot, _: is_at_the_end(spot))
    name = next(client.key for client in room.clients if not client.gone and client is not spot.client)
    assume(not any(isinstance(step, Came) and step.name == name for step in spot.visit.steps))
    spot.visit.steps.append(Went(name))


BUGS: dict[str, list[Bug]] = {
    "to all others": [drop, drop_the_last, drop_for_all],
    "one order": [swap, renumber, split, overtake],
    "an ack holds": [misplace_an_ack, acknowledge_what_is_lost, never_answer, take_for_a_retry, invent],
    "nothing twice": [double, double_over_a_resume, accept_twice],
    "never one's own": [echo, tell_of_oneself],
    "gaps are reported": [
        hide_a_gap,
        tell_too_much,
        tell_what_was_seen,
        begin_anew_for_nothing,
        pretend_to_resume,
        refuse_a_place,
    ],
    "departures are reported once": [forget_a_departure, tell_a_departure_twice, bury_the_living],
}


CASES = [pytest.param(promise, bug, id=f"{promise}: {bug.__name__}") for promise, bugs in BUGS.items() for bug in bugs]


def test_each_promise_can_be_broken() -> None:
    """Every checker has bugs to find."""
    assert BUGS.keys() == PROMISES.keys()


@given(steps=STEPS, durable=st.booleans())
def test_what_is_right_passes(steps: list[tuple[str, int]], durable: bool) -> None:
    """Whatever happens: nothing is wrong with the record of a server that keeps its promises."""
    assert not violations(Model(durable=durable).play(steps))


@pytest.mark.parametrize(("promise", "bug"), CASES)
@settings(max_examples=40, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(steps=STEPS, durable=st.booleans(), data=st.data())
def test_what_is_wrong_is_found(
    promise: str, bug: Bug, steps: list[tuple[str, int]], durable: bool, data: st.DataObject
) -> None:
    """The promise's own checker finds the bug, wherever it is."""
    room = Model(durable=durable).play(steps)
    bug(room, data)
    assert list(PROMISES[promise](room)), bug.__doc__


@pytest.mark.parametrize("refusing", [False, True])
def test_a_refusal_that_was_not_heard_excuses_the_order(refusing: bool) -> None:
    """A client that was cut off before it heard of it sends the message again, after later ones that were accepted."""
    first = Visit(steps=[Welcomed(Place("e", 0), False), Sent("c1/1"), Sent("c1/2")], ending="lost")
    acks = [Acked("c1/1", Place("e", 2)), Acked("c1/2", Place("e", 1), duplicate=True)]
    again = Visit(steps=[Welcomed(Place("e", 1), True), Sent("c1/1"), Sent("c1/2"), *acks])
    room = Room("lobby", durable=True, kept=10, clients=[Client("c1", visits=[first, again])], refusing=refusing)
    found = [violation for violation in violations(room) if "after c1/2" in violation]
    assert len(found) == (not refusing)


@pytest.mark.parametrize("restored", [False, True])
def test_a_try_that_outlived_a_log_that_was_set_back_excuses_the_order(restored: bool) -> None:
    """Whoever publishes tries again elsewhere; the first server may append it once the log has forgotten that."""
    tries: list[Step] = [Sent("c1/1"), Sent("c1/1"), Acked("c1/1", Place("lost", 1))]
    author = Client("c1", visits=[Visit(steps=[*tries, Sent("c1/2"), Acked("c1/2", Place("e", 1))])])
    reader = Client("c2", visits=[Visit(steps=[Welcomed(Place("e", 0), False), Saw(1, "c1/2"), Saw(2, "c1/1")])])
    room = Room("lobby", not restored, kept=10, clients=[author, reader], restored=restored, refusing=True)
    found = [violation for violation in violations(room) if "after c1/2" in violation]
    assert len(found) == (not restored)


def test_a_place_beyond_all_messages_is_found_at_once() -> None:
    """No checker goes through all the places up to it."""
    gap = Told(2**60, 2**60, "SLOW")
    visit = Visit(steps=[Welcomed(Place("e", 0), False), Sent("c1/1"), Acked("c1/1", Place("e", 1)), gap])
    room = Room("lobby", durable=True, kept=10, clients=[Client("c1", visits=[visit])])
    (found,) = violations(room)
    assert str(2**60) in found
