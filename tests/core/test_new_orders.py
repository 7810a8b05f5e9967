"""An order that begins anew while clients are in its room: each learns of it, at its place among the messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.memory import MemoryBroker
from bcast_grpc.core.identity import ALL_RIGHTS
from bcast_grpc.core.limits import Limits, SlowPolicy
from bcast_grpc.core.room import Room
from bcast_grpc.core.states import State
from bcast_grpc.errors import ErrorCode
from bcast_grpc.events import Ack, Event, Gap, GapReason, Kind, Request, ResumePoint, Welcome
from tests.anew import begin_anew

from .received import code_of, gaps, say_slowly, seqs, world_of
from .world import ALL, Client, World

ANEW = Gap(0, 0, GapReason.NEW_EPOCH)


def digest(events: Sequence[Event]) -> list[int | str]:
    """What a client received: the places of messages, and ``anew`` where the order began anew."""
    return [
        event.seq if event.kind is Kind.MESSAGE else "anew" if event.detail == ANEW else f"{event.detail}"
        for event in events
        if event.kind in (Kind.MESSAGE, Kind.GAP)
    ]


def test_the_gap_stands_between_the_messages_of_two_orders() -> None:
    """Even if those of the old one had not been flushed; whoever is idle learns of it at once."""
    world = world_of()
    ana, bob = world.join("ana"), world.join("bob")
    ana.say("1", "2")
    begin_anew(world.hub)
    ana.say("3")
    world.settle()
    assert digest(bob.received) == [1, 2, "anew", 1]
    assert digest(ana.received) == ["anew"]
    begin_anew(world.hub)
    world.settle()
    assert digest(bob.new())[-1:] == ["anew"]


def test_a_welcome_with_the_new_epoch_comes_first() -> None:
    """It is for those who want it what a connection to the new order would begin with."""
    world = world_of()
    ana, bob = world.join("ana"), world.join(kinds=ALL)
    ana.say("1")
    world.settle()
    bob.new()
    epoch = begin_anew(world.hub, kept=3)
    world.settle()
    welcome, *others = bob.new()
    assert (welcome.kind, welcome.seq) == (Kind.WELCOME, 3)
    assert welcome.detail == Welcome(bob.session.id, "lobby", epoch, False, 2)
    assert digest(others) == ["anew", 1, 2, 3]


def test_what_the_new_order_has_already_is_received_by_everyone() -> None:
    """As by a client that comes back to it; then the next messages follow."""
    world = world_of()
    ana, bob = world.join("ana"), world.join("bob")
    ana.say("1")
    begin_anew(world.hub, kept=600)
    ana.say("601")
    world.settle()
    ana.say("602")
    world.settle()
    assert digest(bob.received) == [1, "anew", *range(1, 603)]
    assert digest(ana.received) == ["anew", *range(1, 601)]
    assert bob.state is State.LIVE


def test_acks_carry_the_epoch_that_their_messages_are_in() -> None:
    """Those that were not flushed yet are still of the old one."""
    world = world_of()
    ana = world.join("ana")
    old = ana.session.epoch
    ana.ask(Request(msg="1", id="a"))
    new = begin_anew(world.hub)
    ana.ask(Request(msg="2", id="b"), Request(msg="2", id="b"))
    world.settle()
    found = [(id_, ack.seq, ack.epoch) for id_, ack in ana.answers() if isinstance(ack, Ack)]
    assert found == [("a", 1, old), ("b", 1, new), ("b", 1, new)]


def test_who_comes_afterwards_knows_of_no_other_order() -> None:
    """Though the flush that changes the others to it comes later."""
    world = world_of()
    ana = world.join("ana")
    old = ana.session.epoch
    ana.say("1", "2")
    begin_anew(world.hub, kept=2)
    bob, eva = world.join("bob", history=2), world.join("eva", after=ResumePoint(old, 1))
    rita = world.join("rita")
    ana.say("3")
    world.settle()
    assert digest(rita.received) == [3]
    assert digest(bob.received) == [1, 2, 3]
    assert digest(eva.received) == ["anew", 1, 2, 3]


def test_whoever_is_fed_goes_on_in_the_new_order() -> None:
    """It gets no more of the old one, whatever its numbers are."""
    world = world_of(messages=2000)
    ana = world.join("ana")
    ana.say(*(f"{n}" for n in range(1, 1001)))
    world.settle()
    bob = world.join("bob", history=1000)
    bob.write()
    begin_anew(world.hub, kept=5)
    world.settle()
    ana.say("6")
    world.settle()
    received = digest(bob.received)
    assert received[-7:] == ["anew", 1, 2, 3, 4, 5, 6]
    assert received[:-7] == list(range(1, len(received) - 6))


@pytest.mark.parametrize("policy", SlowPolicy)
def test_clients_that_read_nothing_learn_of_it_behind_what_they_have(policy: SlowPolicy) -> None:
    """With any policy, and no gap has numbers of both orders."""
    world = world_of(queue_messages=8, slow_policy=policy)
    ana, bob = world.join("ana"), world.join("bob", batch=False)
    for n in range(1, 101):
        ana.say(f"{n}")
        world.settle()
    say_slowly(world, ana, range(101, 108))
    begin_anew(world.hub)
    say_slowly(world, ana, range(1, 4) if policy is SlowPolicy.DISCONNECT else range(1, 21))
    world.settle()
    received = digest(bob.received)
    if policy is SlowPolicy.DISCONNECT and bob.closed:
        return
    last = received[received.index("anew") + 1 :]
    assert last == [1, 2, 3] or last[-1] == 20
    assert all(gap == ANEW or gap.first_missed <= gap.last_missed for gap in gaps(bob.received))


def test_what_is_left_out_of_a_new_order_is_told_after_its_beginning() -> None:
    """Though a ``PROGRESS`` of the old one is still to be read."""
    world = world_of(queue_messages=8, slow_policy=SlowPolicy.DROP)
    ana, bob = world.join("ana"), world.join("bob", batch=False, kinds=ALL)
    world.settle()
    world.hub.for_each_room(Room.report_progress)
    world.scheduler.advance(1)
    begin_anew(world.hub)
    say_slowly(world, ana, range(1, 21))
    world.settle()
    assert digest(bob.received) == ["anew", f"{Gap(1, 15, GapReason.SLOW)}", *range(16, 21)]


@pytest.mark.parametrize("policy", [SlowPolicy.CATCH_UP, SlowPolicy.DROP])
def test_what_a_new_order_has_dropped_before_it_is_told_of_is_not_missing(policy: SlowPolicy) -> None:
    """It is still pushed, to those who read it, or is in a ``GAP``."""
    world = world_of(queue_messages=8, slow_policy=policy, messages=3)
    ana, bob = world.join("ana"), world.join("bob", batch=False)
    world.settle()
    begin_anew(world.hub)
    for n in range(1, 21):
        ana.say(f"{n}")
    say_slowly(world, ana, range(21, 41))
    world.settle()
    beginning, *others = gaps(bob.received)
    told = [seq for gap in others for seq in range(gap.first_missed, gap.last_missed + 1)]
    assert beginning == ANEW
    assert sorted(told + seqs(bob)) == list(range(1, 41))


def test_without_the_right_to_read_history_only_what_follows_is_received() -> None:
    """What the new order has already is history."""
    world = world_of()
    ana, bob = world.join("ana"), world.join("bob")
    bob.session._member.rights = replace(ALL_RIGHTS, history=False)
    begin_anew(world.hub, kept=3)
    ana.say("4")
    world.settle()
    assert gaps(bob.received) == [ANEW, Gap(1, 3, GapReason.NOT_ALLOWED)]
    assert seqs(bob) == [4]


def test_a_client_that_is_leaving_gets_its_last_words() -> None:
    """A call ends as it would have ended otherwise."""
    world = world_of()
    ana, bob = world.join("ana"), world.join("bob")
    ana.say("1")
    bob.ask(Request("leave", id="bye"))
    begin_anew(world.hub, kept=1)
    world.settle()
    assert bob.closed
    assert [id_ for id_, _ in bob.answers()] == ["bye"]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.integers(1, 8)),
        st.tuples(st.just("anew"), st.integers(0, 5)),
        st.tuples(st.just("join"), st.integers(0, 3)),
        st.tuples(st.just("write"), st.integers(0, 5)),
        st.tuples(st.just("loop"), st.sampled_from([0, 0, 1])),
        st.tuples(st.just("progress"), st.just(0)),
    ),
    min_size=5,
    max_size=40,
)


@given(policy=st.sampled_from([SlowPolicy.CATCH_UP, SlowPolicy.DROP]), messages=st.sampled_from([3, 1000]), steps=STEPS)
@settings(deadline=None, max_examples=500)
def test_whatever_happens_nothing_is_lost_or_repeated_between_two_new_orders(
    policy: SlowPolicy, messages: int, steps: list[tuple[str, int]]
) -> None:
    """Every client gets each order's messages once and in order or is told what it misses, and all get the last."""
    world = World(Limits(queue_messages=6, slow_policy=policy), MemoryBroker(Retention(messages=messages)))
    ana = world.join("ana", kinds=ALL)
    orders = 0
    known: dict[Client, int] = {}
    for step, number in steps:
        if step == "say":
            ana.say(*"abcdefgh"[:number])
        elif step == "anew":
            begin_anew(world.hub, kept=number)
            orders += 1
        elif step == "join":
            known[world.join(kinds=ALL, history=number, batch=bool(number % 2))] = orders
        elif step == "write":
            world.clients[number % len(world.clients)].write()
        elif step == "progress":
            world.hub.for_each_room(Room.report_progress)
        else:
            world.scheduler.advance(number)
            ana.write_all()
    world.settle()
    eva = world.join("eva", history=1000)
    world.settle()
    kept = [event.seq for event in eva.received if event.kind is Kind.MESSAGE]
    for client, order in known.items():
        check(client, kept[-1] if kept else 0, begins=0 if messages == 1000 else None)
        if not client.closed:
            assert min(1, orders - order) <= gaps(client.received).count(ANEW) <= orders - order


def check(client: Client, head: int, begins: int | None) -> None:
    """Check what a client received, up to the head of the last order, unless it had to take too many notices.

    Args:
        client: the client.
        head: the place of the last message.
        begins: the place before the first message that is kept of each order, where that is known.
    """
    last: int | None = None
    for event in client.received:
        if event.kind is Kind.WELCOME:
            assert isinstance(event.detail, Welcome)
            epoch = event.detail.epoch
        elif event.detail == ANEW:
            last = begins
        elif isinstance(event.detail, Gap):
            assert last is None or event.detail.first_missed == last + 1
            last = event.detail.last_missed
        elif event.kind is Kind.MESSAGE:
            assert last is None or event.seq == last + 1
            last = event.seq
    if client.closed:
        assert code_of(client) is ErrorCode.SLOW_CONSUMER
        return
    assert epoch == client.session.epoch
    assert last is None or last == head


def test_falling_behind_in_a_flush_of_the_old_order() -> None:
    """The history has no old order to be fed from any more, so the client goes on in the new one."""
    world = world_of(queue_messages=6, slow_policy=SlowPolicy.CATCH_UP)
    ana, bob = world.join("ana"), world.join("bob", batch=False)
    say_slowly(world, ana, range(1, 6))
    ana.say("6", "7", "8")
    begin_anew(world.hub, kept=1)
    world.scheduler.advance(1)
    ana.say("2")
    world.settle()
    assert digest(bob.received) == [1, 2, 3, 4, 5, 6, "anew", 1, 2]
