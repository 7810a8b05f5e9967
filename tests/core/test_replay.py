"""Going on where one was, and hearing what was said before: from the history, without a seam."""

from __future__ import annotations

import pytest

from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.memory import MemoryBroker
from bcast_grpc.core.limits import Limits, SlowPolicy
from bcast_grpc.core.room import Room
from bcast_grpc.events import Ack, Gap, GapReason, Kind, Request, ResumePoint

from .received import gaps, position, seqs, world_of
from .world import ALL, World


@pytest.fixture
def world() -> World:
    """One in which three messages were said, by somebody who is still there."""
    world = world_of()
    world.join("ana").say("1", "2", "3")
    world.settle()
    return world


# --- what was said before


@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize(("wanted", "heard"), [(0, []), (1, [3]), (2, [2, 3]), (3, [1, 2, 3]), (99, [1, 2, 3])])
def test_the_last_messages(world: World, wanted: int, heard: list[int], batch: bool) -> None:
    """Who asks for some of the last messages gets them, then what comes."""
    bob = world.join(batch=batch, history=wanted)
    world.settle()
    assert seqs(bob) == heard
    world.clients[0].say("4")
    world.settle()
    assert seqs(bob) == [4]


def test_the_welcome_comes_first(world: World) -> None:
    """Before what was said before; nothing was resumed."""
    bob = world.join(history=2, kinds=ALL)
    world.settle()
    first, *others = bob.received
    assert first.kind is Kind.WELCOME
    assert (first.seq, first.detail.resumed) == (3, False)  # type: ignore[union-attr]
    assert [event.seq for event in others] == [2, 3]


def test_ones_own_messages_stay_out_of_it() -> None:
    """Unless they are asked for."""
    world = world_of()
    for name in ("ana", "bob"):
        world.join(name, client=name).say("x", "y")
    for client in world.clients:
        client.close()
    quiet, loud = world.join(client="ana", history=9), world.join(client="bob", history=9, echo=True)
    world.settle()
    assert seqs(quiet) == [3, 4]
    assert seqs(loud) == [1, 2, 3, 4]


def test_what_is_said_meanwhile_follows(world: World) -> None:
    """Whatever comes while one is being fed comes after that, once."""
    ana = world.clients[0]
    bob = world.join(history=3)
    ana.say("4")
    bob.write()
    ana.say("5")
    world.scheduler.run_soon()
    bob.write()
    ana.say("6")
    world.settle()
    assert seqs(bob) == [1, 2, 3, 4, 5, 6]


def test_what_was_pending_at_the_arrival_is_not_forgotten(world: World) -> None:
    """A message that was accepted before one came, and flushed after, is a part of what was said before."""
    ana = world.clients[0]
    ana.say("4")  # not flushed yet
    bob, eva = world.join(history=2), world.join()
    world.settle()
    assert seqs(bob) == [3, 4]
    assert seqs(eva) == []


def test_everyone_shares_what_was_encoded() -> None:
    """Thousands who ask for the same are given the same bytes."""
    world = world_of()
    ana = world.join("ana")
    for n in range(600):
        ana.say(f"{n}")
    world.settle()
    before = len(world.batches.encoded)
    crowd = [world.join(history=600) for _ in range(50)]
    world.settle()
    assert all(seqs(client) == list(range(1, 601)) for client in crowd)
    assert len(world.batches.encoded) - before == 600


def test_it_is_not_counted_as_queued() -> None:
    """However long the history and however small the queue, who is fed at its own pace loses nothing."""
    world = world_of(queue_messages=8, messages=5000)
    ana = world.join("ana")
    for n in range(1000):
        ana.say(f"{n}")
        world.settle()
    bob = world.join(history=1000, batch=False)
    for _ in range(500):
        bob.write()
    ana.say("one more")
    world.settle()
    assert seqs(bob) == list(range(1, 1002))


# --- going on


def test_going_on_where_one_was(world: World) -> None:
    """What came after that place, and the welcome says that nothing is missing."""
    bob = world.join(after=position(world.clients[0], 1), kinds=ALL)
    world.settle()
    assert bob.received[0].detail.resumed is True  # type: ignore[union-attr]
    assert [event.seq for event in bob.received[1:]] == [2, 3]


def test_going_on_at_the_head(world: World) -> None:
    """There is nothing to be fed with."""
    bob = world.join(after=position(world.clients[0], 3), kinds=ALL)
    assert bob.received == []
    world.clients[0].say("4")
    world.settle()
    assert [event.kind for event in bob.received] == [Kind.WELCOME, Kind.MESSAGE]
    assert bob.received[0].detail.resumed is True  # type: ignore[union-attr]


def test_a_history_beside_a_place_has_no_effect(world: World) -> None:
    """The place counts."""
    bob = world.join(after=position(world.clients[0], 2), history=3)
    world.settle()
    assert seqs(bob) == [3]


@pytest.mark.parametrize("seq", [4, 2**64 - 1])
def test_a_place_beyond_the_head(world: World, seq: int) -> None:
    """The order went back: that is said as a new epoch is, then comes all that is kept, and what is said next."""
    bob = world.join(after=position(world.clients[0], seq), kinds=ALL)
    world.clients[0].say("4")
    world.settle()
    assert [event.kind for event in bob.received[:2]] == [Kind.WELCOME, Kind.GAP]
    assert bob.received[0].detail.resumed is False  # type: ignore[union-attr]
    assert gaps(bob.received) == [Gap(0, 0, GapReason.NEW_EPOCH)]
    assert seqs(bob) == [1, 2, 3, 4]


def test_a_place_of_another_order(world: World) -> None:
    """The order began anew: that is said, then comes all that is kept of the new one."""
    bob = world.join(after=ResumePoint("other", 99), kinds=ALL)
    world.settle()
    assert [event.kind for event in bob.received[:2]] == [Kind.WELCOME, Kind.GAP]
    assert bob.received[0].detail.resumed is False  # type: ignore[union-attr]
    assert gaps(bob.received) == [Gap(0, 0, GapReason.NEW_EPOCH)]
    assert seqs(bob) == [1, 2, 3]


def test_what_is_kept_no_longer_is_named() -> None:
    """A gap tells which are missing, then comes what is kept."""
    world = world_of(messages=2)
    ana = world.join("ana")
    ana.say("1", "2", "3", "4", "5")
    world.settle()
    bob = world.join(after=position(ana, 1), kinds=ALL)
    world.settle()
    assert bob.received[0].detail.resumed is False  # type: ignore[union-attr]
    assert gaps(bob.received) == [Gap(2, 3, GapReason.TRIMMED)]
    assert seqs(bob) == [4, 5]


def test_who_is_fed_too_slowly_is_told() -> None:
    """What went out of the history before it was read is missing, and named."""
    world = world_of(messages=4)
    ana = world.join("ana")
    ana.say("1", "2", "3", "4")
    world.settle()
    bob = world.join(history=4, batch=False)
    bob.write()
    for n in range(5, 12):
        ana.say(f"{n}")
        world.scheduler.run_soon()
        ana.write_all()
    world.settle()
    heard = bob.received
    (gap,) = gaps(heard)
    assert gap.reason is GapReason.SLOW
    assert [e.seq for e in heard if e.kind is Kind.MESSAGE] == [
        seq for seq in range(1, 12) if not gap.first_missed <= seq <= gap.last_missed
    ]


def test_what_expires_before_it_is_fed_is_not_the_clients_fault() -> None:
    """A gap names first what newer messages took the place of, then what is older than what is kept."""
    broker = MemoryBroker(Retention(messages=6))
    world = World(Limits(), broker)
    ana = world.join("ana")
    ana.say("1", "2", "3", "4", "5", "6")
    world.settle()
    bob = world.join(history=6, batch=False)
    ana.say("7", "8")
    (order,) = broker._used.values()
    order.history.drop_before(6)
    world.settle()
    assert gaps(bob.received) == [Gap(1, 2, GapReason.SLOW), Gap(3, 5, GapReason.TRIMMED)]
    assert seqs(bob) == [6, 7, 8]


def test_the_order_outlives_its_members(world: World) -> None:
    """When everyone has left, who comes back goes on."""
    place = position(world.clients[0], 2)
    world.clients[0].close()
    bob = world.join(after=place)
    world.settle()
    assert bob.session.epoch == place.epoch
    assert seqs(bob) == [3]


def test_leaving_waits_for_what_one_is_fed_with(world: World) -> None:
    """Who half-closes at once still gets what it asked for."""
    bob = world.join(history=3)
    bob.session.leave("bye")
    world.settle()
    assert bob.closed
    assert [event.seq for event in bob.received if event.kind is Kind.MESSAGE] == [1, 2, 3]
    assert bob.received[-1].id == "bye"


def test_notices_come_meanwhile() -> None:
    """Departures are in no history: who is being fed is told of them too, once."""
    world = world_of()
    ana, eva = world.join("ana"), world.join("eva")
    for n in range(600):
        ana.say(f"{n}")
    world.settle()
    bob = world.join(history=600)
    bob.write()
    eva.close()
    world.settle()
    texts = [event.message for event in bob.received if event.kind is Kind.LEFT]
    assert texts == ["eva left"]
    assert seqs(bob) == list(range(1, 601))


def test_progress_does_not_run_ahead() -> None:
    """It is a place to resume from: who is fed hears of it when all before it has come."""
    world = world_of()
    ana = world.join("ana")
    for n in range(600):
        ana.say(f"{n}")
    world.settle()
    bob = world.join(history=600, kinds=ALL)
    bob.write()
    world.hub.for_each_room(Room.report_progress)
    world.settle()
    world.hub.for_each_room(Room.report_progress)
    world.settle()
    heard = [(event.kind, event.seq) for event in bob.received if event.kind in (Kind.MESSAGE, Kind.PROGRESS)]
    assert heard == [*((Kind.MESSAGE, seq) for seq in range(1, 601)), (Kind.PROGRESS, 600)]


def test_progress_does_not_run_ahead_of_what_is_dropped() -> None:
    """Who resumes from it has been told what it was not given before."""
    world = world_of(queue_messages=8, slow_policy=SlowPolicy.DROP)
    ana, bob = world.join("ana"), world.join(batch=False, kinds=ALL)
    for n in range(1, 25):
        ana.say(f"{n}")
        world.scheduler.advance(1)
        ana.write_all()
        if n == 8:
            world.hub.for_each_room(Room.report_progress)
    world.settle()
    told = [event for event in bob.received if event.kind in (Kind.MESSAGE, Kind.GAP, Kind.PROGRESS)]
    (at,) = (place for place, event in enumerate(told) if event.kind is Kind.PROGRESS)
    before = told[:at]
    missed = {seq for gap in gaps(before) for seq in range(gap.first_missed, gap.last_missed + 1)}
    assert missed | {event.seq for event in before if event.kind is Kind.MESSAGE} >= set(range(1, 9))


def test_acks_count_those_who_are_fed(world: World) -> None:
    """They will get it; the author, where it is being fed itself, does not count."""
    ana = world.clients[0]
    world.join(history=3)
    ana.ask(Request(msg="x", id="id"))
    world.scheduler.run_soon()
    ana.write_all()
    ((_, ack),) = ana.answers()
    assert (ack.queued, ack.refused) == (1, 0)  # type: ignore[union-attr]


# --- properties


def test_who_is_fed_and_is_given_notices_counts_once() -> None:
    """An ack counts clients, not frames: the messages of one come from the history, its notices by the flush."""
    world = World(broker=MemoryBroker())
    ana = world.join("ana")
    ana.say("1")
    world.settle()
    world.join(history=1, kinds=ALL)
    ana.ask(Request("join", "eva"), Request(msg="2", id="x"))
    world.scheduler.run_soon()
    ana.write_all()
    (ack,) = [detail for id_, detail in ana.answers() if id_ == "x"]
    assert isinstance(ack, Ack)
    assert (ack.queued, ack.refused) == (1, 0)
