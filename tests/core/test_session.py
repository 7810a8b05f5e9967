"""What each request of a client does, and in which order it is answered."""

from __future__ import annotations

import pytest

from bcast_grpc.core.limits import Limits
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Ack, Error, Kind, Member, Members, Request

from .world import ALL, Client, World

SLICE = 256


def codes(client: Client) -> list[tuple[str, ErrorCode]]:
    """The id and the code of each ERROR that came."""
    return [(event.id, event.detail.code) for event in client.new() if isinstance(event.detail, Error)]


# --- join


def test_join_gives_a_name(world: World) -> None:
    """From now on messages carry it, and those who want to know are told."""
    ana, bob = world.join(), world.join(kinds=ALL)
    ana.ask(Request(msg="before"), Request("join", "ana", id="x"), Request(msg="after"))
    world.settle()
    assert bob.texts()[1:] == ["before", "ana joined", "ana: after"]
    (ack,) = ana.new()
    assert (ack.id, ack.message, ack.detail) == ("x", "your name is ana", Ack(epoch=ana.session.epoch))


def test_join_changes_a_name(world: World) -> None:
    """Who had a name is introduced by both, once."""
    ana, bob = world.join("ana"), world.join(kinds=ALL)
    ana.ask(Request("join", "eva"), Request("join", "eva"))
    world.settle()
    notice = bob.new()[-1]
    assert (notice.kind, notice.message, notice.sender) == (Kind.JOINED, "ana is now eva", "eva")
    assert notice.session == ana.session.id
    ana.close()
    world.settle()
    assert bob.texts() == ["eva left"]


@pytest.mark.parametrize("name", ["", " ", "x" * 65, "a\nb"])
def test_a_name_that_does_not_fit_is_an_error(world: World, name: str) -> None:
    """NAME_INVALID, the old name stays, and nobody is told anything."""
    ana, bob = world.join("ana"), world.join(kinds=ALL)
    world.settle()
    bob.new()
    ana.ask(Request("join", name, id="x"), Request(msg="hola"))
    world.settle()
    assert codes(ana) == [("x", ErrorCode.NAME_INVALID)]
    assert bob.texts() == ["ana: hola"]


# --- who


def test_who_lists_everyone_in_order_of_arrival(world: World) -> None:
    """Each client with its session, name and arrival; readers and oneself among them; with or without an id."""
    ana, nobody = world.join("ana"), world.join()
    reader = world.join("bob", reader=True)
    world.join("other", room="elsewhere")
    ana.ask(Request("who", id="x"), Request("who"))
    world.settle()
    first, second = ana.new()
    assert (first.kind, first.id, second.id) == (Kind.MEMBERS, "x", "")
    assert first.message == second.message == "3 here: ana, bob and one without a name"
    assert isinstance(first.detail, Members)
    assert [(member.session, member.name) for member in first.detail.members] == [
        (ana.session.id, "ana"),
        (nobody.session.id, ""),
        (reader.session.id, "bob"),
    ]
    arrivals = [member.since_ns for member in first.detail.members]
    assert all(isinstance(member, Member) for member in first.detail.members)
    assert all(arrivals)


def test_who_knows_new_names_and_departures(world: World) -> None:
    """The list is that of the moment when it was asked for."""
    ana, bob = world.join("ana"), world.join("bob")
    ana.ask(Request("join", "eva"), Request("who"))
    bob.close()
    ana.ask(Request("who"))
    world.settle()
    assert [event.message for event in ana.new() if event.kind is Kind.MEMBERS] == [
        "2 here: eva and bob",
        "1 here: eva",
    ]


# --- leave


def test_leave_ends_the_call_after_what_is_queued(world: World) -> None:
    """Messages and acks that were due come first, then the ACK of the leave as the last event, then a good end."""
    ana, bob = world.join("ana"), world.join("bob")
    bob.say("before")
    ana.ask(Request(msg="mine", id="m"), Request("who", id="w"), Request("leave", id="l"))
    assert not ana.session.outbox.closed
    world.settle()
    new = ana.new()
    assert {event.kind for event in new[:-1]} == {Kind.MESSAGE, Kind.ACK, Kind.MEMBERS}
    assert len(new) == 4
    assert (new[-1].kind, new[-1].id, new[-1].message) == (Kind.ACK, "l", "goodbye")
    assert new[-1].detail == Ack(epoch=ana.session.epoch)
    assert ana.closed
    assert ana.error is None
    assert bob.texts() == ["ana: mine", "ana left"]


def test_leave_without_an_id_says_nothing(world: World) -> None:
    """Who wants no answer gets none: not one event, not one frame, then a good end."""
    ana = world.join()
    ana.ask(Request("leave"))
    world.settle()
    assert ana.frames == []
    assert ana.closed
    assert ana.error is None


def test_half_closing_is_a_leave(world: World) -> None:
    """``leave()`` lets out what is queued, then ends well; asked twice it is one leave."""
    ana, bob = world.join("ana"), world.join("bob")
    bob.say("before")
    ana.session.leave()
    ana.session.leave()
    world.settle()
    assert ana.texts() == ["bob: before"]
    assert ana.closed
    assert bob.texts() == ["ana left"]


def test_what_is_asked_after_leave_is_ignored(world: World) -> None:
    """Neither in the same frame nor in a later one is anything carried out or answered."""
    ana, bob = world.join("ana"), world.join("bob")
    requests = [
        Request(msg="one"),
        Request("leave", id="l"),
        Request(msg="two", id="2"),
        Request("join", "eva", id="3"),
    ]
    assert ana.session.handle(requests) == len(requests)
    assert ana.session.handle([Request("who", id="4"), Request(msg="three", id="5")]) == 2
    world.settle()
    assert [event.id for event in ana.new()] == ["l"]
    assert bob.texts() == ["ana: one", "ana left"]


def test_a_leaving_client_still_gets_what_was_accepted_before(world: World) -> None:
    """However many flushes that takes, and however slowly it reads."""
    world = World(Limits(queue_messages=20))
    ana, bob = world.join(), world.join()
    for number in range(17):  # more than three flushes
        bob.say(str(number))
    ana.session.leave()
    bob.say("after")
    world.settle()
    texts = ana.texts()
    assert texts[:17] == [str(number) for number in range(17)]
    assert texts[17:] in ([], ["after"])
    assert ana.closed
    assert ana.error is None


def test_fail_ends_the_call_with_the_error_after_what_is_queued(world: World) -> None:
    """A client whose frame does not parse gets what was due, and then the status that says why."""
    ana, bob = world.join("ana"), world.join("bob")
    bob.say("before")
    error = CallError(ErrorCode.MALFORMED, "no frame")
    ana.session.fail(error)
    ana.ask(Request(msg="ignored", id="x"))
    world.settle()
    assert ana.texts() == ["bob: before"]
    assert ana.error is error
    assert bob.texts() == ["ana left"]


# --- faults and answers


def test_an_unknown_operation_is_an_error(world: World) -> None:
    """UNKNOWN_OPERATION names it, shortened and harmless, and says what there is."""
    ana = world.join()
    ana.ask(Request("Broadcast", "hola", id="x"), Request("\x1b[2J" + "x" * 100))
    world.settle()
    first, second = ana.new()
    assert first.message == "unknown operation 'Broadcast'; use broadcast (or leave it empty), join, leave, who or auth"
    assert isinstance(first.detail, Error)
    assert first.detail.code is ErrorCode.UNKNOWN_OPERATION
    assert second.message.isprintable()
    assert len(second.message) < 200


def test_a_request_that_could_not_be_read_is_malformed(world: World) -> None:
    """The fault is answered under the request's id, and those around it are carried out."""
    ana, bob = world.join("ana"), world.join()
    ana.ask(Request(msg="one"), Request(msg="two", id="x", fault="a batch within a batch"), Request(msg="three"))
    world.settle()
    assert bob.texts() == ["ana: one", "ana: three"]
    (event,) = ana.new()
    assert (event.id, event.message) == ("x", "a batch within a batch")
    assert isinstance(event.detail, Error)
    assert event.detail.code is ErrorCode.MALFORMED


def test_a_fault_has_no_effect_on_the_others_in_its_frame(world: World) -> None:
    """Each request of a frame stands for itself, and the stream goes on."""
    ana, bob = world.join("ana"), world.join()
    ana.ask(Request(id="1"), Request(msg="one", id="2"), Request("?", id="3"), Request(msg="two", id="4"))
    world.settle()
    assert bob.texts() == ["ana: one", "ana: two"]
    assert {id_: type(answer) for id_, answer in ana.answers()} == {"1": Error, "2": Ack, "3": Error, "4": Ack}


def test_answers_come_in_the_order_of_their_requests(world: World) -> None:
    """Those that need no flush among themselves, and the acks of messages among themselves."""
    ana = world.join()
    requests = [
        Request(op, msg, id=f"{op or 'say'} {n}")
        for n in range(3)
        for op, msg in (("who", ""), ("", "hola"), ("?", ""))
    ]
    ana.ask(*requests)
    world.settle()
    ids = [event.id for event in ana.new()]
    assert sorted(ids) == sorted(request.id for request in requests)
    assert [id_ for id_ in ids if id_.startswith("say")] == ["say 0", "say 1", "say 2"]
    assert [id_ for id_ in ids if not id_.startswith("say")] == ["who 0", "? 0", "who 1", "? 1", "who 2", "? 2"]


def test_requests_are_handled_in_slices(world: World) -> None:
    """Of a long frame, 256 requests at a time are carried out, in order, and the next slice begins where one ended."""
    ana, bob = world.join(), world.join()
    requests = [Request(msg=str(number)) for number in range(2 * SLICE + 1)]
    assert ana.session.handle(requests) == SLICE
    world.settle()
    assert bob.texts() == [str(number) for number in range(SLICE)]
    assert ana.session.handle(requests, SLICE) == 2 * SLICE
    assert ana.session.handle(requests, 2 * SLICE) == len(requests)
    assert ana.session.handle(requests, len(requests)) == len(requests)
    world.settle()
    assert bob.texts() == [str(number) for number in range(SLICE, len(requests))]


def test_slices_are_no_larger_than_a_flush() -> None:
    """Where queues are small, so are slices: what one slice brings about fits into a queue."""
    world = World(Limits(queue_messages=40))
    ana = world.join()
    requests = [Request("?", id=str(number)) for number in range(30)]
    assert ana.session.handle(requests) == 10
    assert ana.session.handle(requests, 10) == 20


def test_a_question_that_costs_much_ends_a_slice(world: World) -> None:
    """A list of all who are here is long: between two of them others have their turn, and the asker reads the first."""
    ana, bob = world.join(), world.join()
    requests = [Request(msg="hola"), Request("who"), Request("who"), Request(msg="adios")]
    assert ana.session.handle(requests) == 2
    assert ana.session.handle(requests, 2) == 3
    assert ana.session.handle(requests, 3) == 4
    world.settle()
    assert bob.texts() == ["hola", "adios"]
    assert [event.kind for event in ana.new()] == [Kind.MEMBERS, Kind.MEMBERS]


def test_who_asks_faster_than_it_reads_is_backlogged() -> None:
    """While more than half of its queue is taken, its next slice is to wait; reading ends that."""
    world = World(Limits(queue_messages=40))
    ana = world.join()
    ana.ask(*(Request("?", id=str(number)) for number in range(20)))
    assert not ana.session.backlogged
    ana.ask(Request("?"))
    assert ana.session.backlogged
    ana.write_all()
    assert not ana.session.backlogged


def test_who_asks_for_nothing_is_not_backlogged() -> None:
    """A client that only speaks is never made to wait for its own reading: that is what its bounds are for."""
    world = World(Limits(queue_messages=4))
    ana, bob = world.join(), world.join()
    for number in range(3):
        bob.say(str(number))
        world.scheduler.advance(1)
    ana.say("x")
    assert ana.session.outbox.half_full
    assert not ana.session.backlogged


def test_nobody_waits_for_a_call_that_has_ended() -> None:
    """Neither does one whose queue was full."""
    world = World(Limits(queue_messages=4))
    ana = world.join()
    ana.ask(*(Request("?", id=str(number)) for number in range(10)))
    assert ana.session.outbox.discarded
    assert not ana.session.backlogged


def test_a_slice_is_one_publish(world: World) -> None:
    """What one author sends in a frame is put in order together, and encoded as one run."""
    ana, bob = world.join("ana"), world.join()
    ana.say(*(str(number) for number in range(100)))
    world.settle()
    assert len(bob.frames) == 1
    assert [event.seq for event in bob.new()] == list(range(1, 101))


def test_a_session_has_an_id_that_is_not_the_clients(world: World) -> None:
    """The public session id is the server's choice, new for each call, and says nothing of ``bcast-client``."""
    first, second = world.join(client="c"), world.join(client="c")
    assert len({first.session.id, second.session.id, "c"}) == 3
    assert "c" not in (first.session.id, second.session.id)
