"""A flush: everyone but the author, in order, encoded once, and acknowledged by what became of it."""

from __future__ import annotations

from collections import Counter

import pytest

from bcast_grpc.broker.base import Accepted
from bcast_grpc.core.room import Room
from bcast_grpc.events import NOBODY, Author, Event, Kind, Request, Welcome, wire_bytes

from .received import seqs
from .world import ALL, LaterBroker, World

MESSAGES = frozenset({Kind.MESSAGE})

# --- who gets what


def test_a_message_of_another_server_reaches_everyone_here(world: World) -> None:
    """Its author is nobody's client here, so nobody is answered; its place is in the same order."""
    ana, bob = world.join("ana"), world.join("bob")
    world.settle()
    event = Event(Kind.MESSAGE, "eva: hola", Author("elsewhere", "eva", ":eva"), 1)
    world.hub._rooms["lobby"].deliver([Accepted([None], [event], [wire_bytes(event)])])
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
