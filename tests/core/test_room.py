"""A flush: everyone but the author, in order, encoded once, and acknowledged by what became of it."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcast_grpc.broker.base import Accepted
from bcast_grpc.core.clock import MAX_PAUSE_S, MAX_ROUND_S
from bcast_grpc.core.limits import Limits
from bcast_grpc.core.room import Room
from bcast_grpc.errors import ErrorCode
from bcast_grpc.events import NOBODY, Ack, Author, Event, Kind, Request, Welcome

from .world import ALL, Client, LaterBroker, World

MESSAGES = frozenset({Kind.MESSAGE})


@pytest.fixture
def world() -> World:
    """A hub with nobody in it."""
    return World()


def seqs(client: Client) -> list[int]:
    """The places of the messages that came."""
    return [event.seq for event in client.new() if event.kind is Kind.MESSAGE]


def acks(client: Client) -> list[tuple[str, int, int, int]]:
    """The id, place, queued and refused of each ack that came."""
    return [(id_, ack.seq, ack.queued, ack.refused) for id_, ack in client.answers() if isinstance(ack, Ack)]


# --- who gets what


def test_a_message_of_another_server_reaches_everyone_here(world: World) -> None:
    """Its author is nobody's client here, so nobody is answered; its place is in the same order."""
    ana, bob = world.join("ana"), world.join("bob")
    world.settle()
    event = Event(Kind.MESSAGE, "eva: hola", Author("elsewhere", "eva", ":eva"), 1)
    world.hub._rooms["lobby"].deliver([Accepted([None], [event])])
    world.settle()
    assert [client.new() for client in (ana, bob)] == [[event], [event]]


def test_everyone_but_the_author_gets_a_message_in_one_order(world: World) -> None:
    """Messages of several authors have one order, and each author sees it without its own."""
    ana, bob, eva = world.join(), world.join(), world.join()
    ana.say("1", "2")
    bob.say("3")
    ana.say("4")
    world.settle()
    assert (seqs(ana), seqs(bob), seqs(eva)) == ([3], [1, 2, 4], [1, 2, 3, 4])


def test_echo_is_ones_own_messages_too(world: World) -> None:
    """Who asks for an echo gets its messages in their place, but not notices of its own doing."""
    ana, bob = world.join("ana", echo=True, kinds=ALL), world.join()
    ana.say("1")
    bob.say("2")
    ana.ask(Request("join", "eva"), Request(msg="3"))
    world.settle()
    assert ana.texts()[1:] == ["ana: 1", "2", "eva: 3"]


def test_not_to_the_author_is_by_its_own_stable_id(world: World) -> None:
    """The other calls of a client with a ``bcast-client`` do not get its messages either, and get everyone else's."""
    writer, reader = world.join(client="c"), world.join(client="c", reader=True)
    other = world.join(client="d")
    writer.say("1")
    other.say("2")
    world.settle()
    assert (seqs(reader), seqs(writer), seqs(other)) == ([2], [2], [1])


def test_an_id_of_ones_own_that_looks_like_a_session_is_nobody_elses(world: World) -> None:
    """Giving a public session id as ``bcast-client`` neither throws its owner out nor hides messages from it."""
    victim = world.join("victim")
    attacker = world.join("attacker", client=victim.session.id)
    attacker.say("hola")
    world.settle()
    assert victim.error is None
    assert victim.texts() == ["attacker: hola"]
    assert world.hub.clients == 2


def test_who_comes_in_the_middle_gets_what_is_accepted_from_then_on(world: World) -> None:
    """What was accepted before, though no flush has come yet, is not for it; what comes after is."""
    ana = world.join()
    ana.say("1", "2")
    bob = world.join(kinds=ALL)
    ana.say("3")
    eva = world.join(kinds=ALL)
    ana.say("4")
    world.settle()
    assert (seqs(bob), seqs(eva)) == ([3, 4], [4])


def test_a_welcome_is_the_first_event_and_says_where_the_room_is(world: World) -> None:
    """It carries the head after which everything follows, and how many are in, oneself included."""
    ana = world.join()
    ana.say("1", "2")
    bob = world.join("bob", kinds=ALL)
    ana.say("3")
    world.settle()
    welcome, message = bob.new()
    assert (welcome.kind, welcome.seq, welcome.message) == (Kind.WELCOME, 2, "welcome to lobby: 2 here")
    assert welcome.detail == Welcome(bob.session.id, "lobby", bob.session.epoch, False, 2)
    assert message.seq == 3


def test_a_welcome_does_not_wait_for_a_flush(world: World) -> None:
    """Who comes is told at once, also while the room is busy."""
    ana = world.join(kinds=ALL)
    ana.write_all()
    assert ana.texts() == ["welcome to lobby: 1 here"]


@pytest.mark.parametrize("kind", [Kind.JOINED, Kind.LEFT, Kind.PROGRESS])
def test_notices_go_to_those_who_want_them(world: World, kind: Kind) -> None:
    """Each of ``joined``, ``left`` and ``progress`` comes to whom it was asked for, alone and beside messages."""
    wants, does_not = world.join(kinds=MESSAGES | {kind}), world.join(kinds=MESSAGES)
    ana = world.join("ana")
    ana.say("1")
    world.hub.for_each_room(Room.report_progress)
    ana.close()
    world.settle()
    texts = {Kind.JOINED: "ana joined", Kind.LEFT: "ana left", Kind.PROGRESS: "at 1"}
    assert [(event.kind, event.message) for event in wants.new() if event.kind is not Kind.MESSAGE] == [
        (kind, texts[kind])
    ]
    assert does_not.texts() == ["ana: 1"]


def test_notices_keep_their_place_among_messages(world: World) -> None:
    """What was said before a departure is read before it, and what was said under a name after its arrival."""
    bob = world.join(kinds=ALL)
    ana = world.join("ana")
    ana.say("1")
    ana.ask(Request("join", "eva"), Request(msg="2"))
    ana.close()
    world.settle()
    assert bob.texts()[1:] == ["ana joined", "ana: 1", "ana is now eva", "eva: 2", "eva left"]


def test_notices_keep_their_place_while_the_broker_thinks() -> None:
    """Also where messages have no place yet when their author changes its name, and leaves, and comes back."""
    broker = LaterBroker()
    world = World(broker=broker)
    bob = world.join(kinds=ALL)
    ana = world.join("ana")
    ana.say("1")
    ana.ask(Request("join", "eva"), Request(msg="2"))
    ana.close()
    world.join("eva").say("3")
    world.settle()
    assert bob.texts() == ["welcome to lobby: 1 here", "ana joined"]
    broker.accept()
    world.settle()
    assert bob.texts() == ["ana: 1", "ana is now eva", "eva: 2", "eva left", "eva joined", "eva: 3"]


def test_who_comes_meanwhile_is_not_told_of_what_was_before() -> None:
    """Also where the notices of it are still to come: the welcome has counted them."""
    broker = LaterBroker()
    world = World(broker=broker)
    writer, ana = world.join(kinds=MESSAGES), world.join("ana")
    writer.say("1")
    ana.close()
    world.join("cy")
    bob = world.join("bob", kinds=ALL)
    writer.say("2")
    world.join("eva")
    world.settle()
    broker.accept()
    world.settle()
    late = world.join("late", kinds=ALL)
    world.settle()
    assert bob.texts() == ["welcome to lobby: 3 here", "1", "2", "eva joined", "late joined"]
    assert late.texts() == ["welcome to lobby: 5 here"]


def test_progress_says_how_far_the_room_is(world: World) -> None:
    """Also in a room in which nothing ever happened, and to a client that sent the last message itself."""
    ana = world.join(kinds=ALL)
    world.hub.for_each_room(Room.report_progress)
    world.settle()
    progress = ana.new()[-1]
    assert (progress.kind, progress.message, progress.seq, progress.author) == (Kind.PROGRESS, "at 0", 0, NOBODY)
    ana.say("1")
    world.hub.for_each_room(Room.report_progress)
    world.settle()
    assert ana.texts() == ["at 1"]


def test_rooms_have_nothing_to_do_with_each_other(world: World) -> None:
    """Each has its own order and epoch, and nothing passes between them."""
    ana, bob = world.join("ana"), world.join("bob", room="dev", kinds=ALL)
    eva = world.join(room="dev")
    ana.say("1")
    eva.say("1")
    ana.close()
    world.settle()
    assert ana.session.epoch != bob.session.epoch
    assert seqs(bob) == [1]


# --- encoding


def test_one_encoding_serves_everyone(world: World) -> None:
    """Each event is encoded once for each wire format, and all get the same bytes object."""
    batching = [world.join() for _ in range(3)]
    single = [world.join(batch=False) for _ in range(3)]
    ana = world.join("ana")
    ana.say("1", "2", "3")
    world.settle()
    for wire in (world.batches, world.singly):
        assert Counter(event.seq for event in wire.encoded) == {1: 1, 2: 1, 3: 1}
    assert len({id(client.frames[0]) for client in batching}) == 1
    for frame in range(3):
        assert len({id(client.frames[frame]) for client in single}) == 1


def test_an_authors_own_view_is_made_of_the_same_encoding(world: World) -> None:
    """Leaving out one's own messages, and coming late, costs a join, not an encoding."""
    ana, bob = world.join(), world.join()
    ana.say("1")
    bob.say("2")
    late = world.join()
    ana.say("3")
    world.settle()
    assert (seqs(ana), seqs(bob), seqs(late)) == ([2], [1, 3], [3])
    assert Counter(event.seq for event in world.batches.encoded) == {1: 1, 2: 1, 3: 1}


def test_a_format_that_nobody_uses_costs_nothing(world: World) -> None:
    """Where all clients take batches, nothing is encoded singly."""
    ana = world.join()
    world.join()
    ana.say("1")
    world.settle()
    assert world.singly.encoded == []


def test_a_client_without_batches_gets_one_event_a_frame(world: World) -> None:
    """Who did not ask for ``batch`` never sees two events in one frame."""
    ana, bob = world.join(), world.join(batch=False, kinds=ALL)
    ana.say("1", "2", "3")
    ana.ask(Request("join", "ana"))
    bob.ask(Request("who", id="1"), Request("who", id="2"))
    world.settle()
    assert [len(world.singly.decode(frame)) for frame in bob.frames] == [1] * 7


# --- acks


def test_an_ack_counts_what_became_of_its_message() -> None:
    """How many others have it in their queue, and how many queues were full; who is gone is neither."""
    world = World(Limits(queue_messages=4))
    ana = world.join("ana", echo=True)
    fine, slow, leaving, gone = (world.join() for _ in range(4))
    world.join(reader=True)
    ana.say("1", "2", "3", "4")
    while slow.session.outbox.queued_messages < 4:  # a flush takes one message here
        assert world.scheduler.step()
        for client in (ana, fine, leaving, world.clients[-1]):
            client.write_all()
    assert slow.session.outbox.queued_messages == 4
    leaving.session.leave()
    world.scheduler.advance(1)
    assert leaving.session.outbox.closed
    gone.close()
    slow.awake = leaving.awake = False  # both are still in the room
    ana.new()
    ana.ask(Request(msg="5", id="x"))
    world.settle()
    assert acks(ana) == [("x", 5, 2, 1)]


def test_an_ack_leaves_with_the_flush_of_its_message(world: World) -> None:
    """Before that flush the queues have nothing, and the author has heard nothing."""
    ana, bob = world.join(), world.join()
    ana.ask(Request(msg="1", id="x"))
    ana.write_all()
    assert ana.new() == []
    assert bob.session.outbox.queued_messages == 0
    world.scheduler.run_soon()
    assert bob.session.outbox.queued_messages == 1
    ana.write_all()
    assert acks(ana) == [("x", 1, 1, 0)]


def test_acks_of_a_flush_go_out_together(world: World) -> None:
    """However many messages of one author a flush holds, their acks are one offer and one frame."""
    ana = world.join()
    world.join()
    ana.ask(*(Request(msg="x", id=str(number)) for number in range(100)))
    world.settle()
    assert len(ana.frames) == 1
    assert [id_ for id_, *_ in acks(ana)] == [str(number) for number in range(100)]


def test_who_came_after_a_message_is_not_counted(world: World) -> None:
    """An ack counts those who were in when the message was accepted."""
    ana = world.join()
    ana.ask(Request(msg="1", id="x"))
    world.join()
    ana.ask(Request(msg="2", id="y"))
    world.settle()
    assert acks(ana) == [("x", 1, 0, 0), ("y", 2, 1, 0)]


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
