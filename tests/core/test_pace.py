"""How fast a room goes: who is slow harms nobody, and intake waits for the flushes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from bcast_grpc.core.clock import MAX_PAUSE_S, MAX_ROUND_S
from bcast_grpc.core.limits import Limits
from bcast_grpc.errors import ErrorCode
from bcast_grpc.events import Event, Request

from .received import seqs
from .world import World

# --- slow clients


def test_a_slow_client_harms_nobody_else() -> None:
    """It alone is ended, with what would have come next refused; the others get everything."""
    world = World(Limits(queue_messages=8))
    ana, bob, slow = world.join("ana"), world.join(), world.join("slow")
    for number in range(50):
        ana.say(str(number))
        while world.scheduler.step():
            ana.write_all()
            bob.write_all()
    assert slow.error is not None
    assert slow.error.code is ErrorCode.SLOW_CONSUMER
    assert bob.texts() == [f"ana: {number}" for number in range(50)]
    slow.write_all()
    world.settle()
    assert slow.closed
    assert slow.new() == []
    assert bob.texts() == ["slow left"]


@given(
    st.integers(1, 40),
    st.sampled_from([5000, 70_000]),
    st.lists(st.lists(st.integers(0, 4000), min_size=1, max_size=60), min_size=1, max_size=6),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_who_keeps_up_is_never_slow(
    queue_messages: int, queue_bytes: int, rounds: list[list[int]], batch: bool
) -> None:
    """A client that has read each flush before the next one comes gets everything, however small the bounds are."""
    world = World(Limits(max_message_bytes=4000, queue_messages=queue_messages, queue_bytes=queue_bytes))
    ana, bob = world.join(), world.join(batch=batch)
    for sizes in rounds:
        ana.ask(*(Request(data=bytes(size + 1)) for size in sizes if size < 4000))
    while world.scheduler.step():
        bob.write_all()
    assert bob.error is None
    assert seqs(bob) == list(range(1, 1 + sum(size < 4000 for sizes in rounds for size in sizes)))


# --- the pace


def test_intake_waits_for_a_flush_when_much_is_pending() -> None:
    """A room is congested while a flush has enough to take, and calls those who wait after the next flush."""
    world = World(Limits(queue_messages=16))
    ana = world.join()
    world.join()
    ana.say("1", "2", "3")
    assert not ana.session.congested
    ana.say("4")
    assert ana.session.congested
    called: list[bool] = []
    ana.session.when_flushed(lambda: called.append(ana.session.congested))
    assert called == []
    world.settle()
    assert called == [False]


def test_waiting_for_a_flush_brings_one_about(world: World) -> None:
    """Nobody waits for ever in a room in which nothing is pending."""
    ana = world.join()
    called: list[bool] = []
    ana.session.when_flushed(lambda: called.append(True))
    world.settle()
    assert called == [True]


def test_messages_are_collected_while_writers_are_busy(world: World) -> None:
    """What comes meanwhile goes out together when they are done."""
    ana, bob = world.join(), world.join()
    bob.write_all()
    ana.say("1")
    world.scheduler.run_soon()
    ana.say("2")
    ana.say("3")
    world.scheduler.advance(MAX_ROUND_S / 2)
    assert bob.session.outbox.queued_messages == 1
    world.settle()
    assert [[event.seq for event in world.batches.decode(frame)] for frame in bob.frames] == [[1], [2, 3]]


def test_a_writer_that_stopped_holds_no_flush_up_for_long(world: World) -> None:
    """One flush is late, by ``MAX_ROUND_S`` at most; from then on that writer is no part of the rounds."""
    ana, bob, stopped = world.join(), world.join(), world.join()
    for client in (bob, stopped):
        client.write_all()
    began = world.scheduler.now
    for number in range(3):
        ana.say(str(number))
        world.scheduler.run_soon()
        while seqs(bob) != [number + 1]:
            bob.write_all()
            world.scheduler.step()
    assert world.scheduler.now - began <= MAX_ROUND_S + 2 * MAX_PAUSE_S
    assert stopped.session.outbox.queued_messages == 3


def test_a_client_counts_once_in_a_round(world: World) -> None:
    """One that is done, and is then given answers to write, does not stand in for another that is still busy."""
    ana, bob, eva = world.join(), world.join(), world.join()
    for client in (bob, eva):
        client.write_all()
    ana.say("1")
    world.scheduler.run_soon()
    ana.say("2")
    for _ in range(3):
        bob.write_all()
        bob.ask(Request("who"))
    world.scheduler.advance(MAX_ROUND_S / 2)
    assert eva.session.outbox.queued_messages == 1, "eva has not written, so there is no next flush"
    eva.write_all()
    world.scheduler.advance(MAX_PAUSE_S)
    assert eva.session.outbox.queued_messages == 1
    assert seqs(eva) == [1]


def test_an_author_that_is_given_its_acks_is_part_of_the_round(world: World) -> None:
    """Its writer was set off like the others', so the next flush waits for it too."""
    ana, bob = world.join(), world.join()
    for client in (ana, bob):
        client.write_all()
    ana.ask(Request(msg="1", id="x"))
    world.scheduler.run_soon()
    ana.say("2")
    bob.write_all()
    world.scheduler.advance(MAX_ROUND_S / 2)
    assert bob.session.outbox.queued_messages == 0
    ana.write_all()
    world.scheduler.advance(MAX_PAUSE_S)
    assert bob.session.outbox.queued_messages == 1


def test_a_client_that_leaves_is_waited_for_no_more(world: World) -> None:
    """A writer that will write no more does not hold the round open."""
    ana, bob, gone = world.join(), world.join(), world.join()
    for client in (bob, gone):
        client.write_all()
    ana.say("1")
    world.scheduler.run_soon()
    ana.say("2")
    gone.close()
    bob.write_all()
    world.scheduler.advance(MAX_PAUSE_S)
    assert seqs(bob) == [1]
    bob.write_all()
    assert seqs(bob) == [2]


def test_one_event_object_reaches_all(world: World) -> None:
    """Values are shared, not copied."""
    ana, bob, eva = world.join(), world.join(), world.join()
    ana.say("1")
    world.settle()
    first: Event = bob.new()[0]
    assert eva.new()[0] is first
