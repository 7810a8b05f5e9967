"""One client's side of the conversation: each operation, each fault, and the order of what is answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bcast_grpc.core.hello import Hello
from bcast_grpc.core.limits import Limits
from bcast_grpc.core.publisher import Publisher
from bcast_grpc.errors import BcastError, CallError, ErrorCode, RequestError
from bcast_grpc.events import Ack, Error, Event, Kind, Member, Members, Request

from .world import ALL, Client, LaterBroker, World, admit

SLICE = 256
DOWN = CallError(ErrorCode.BROKER_UNAVAILABLE, "the store is away")


def codes(client: Client) -> list[tuple[str, ErrorCode]]:
    """The id and the code of each ERROR that came."""
    return [(event.id, event.detail.code) for event in client.new() if isinstance(event.detail, Error)]


# --- broadcast


@pytest.mark.parametrize("operacion", ["", "broadcast"])
def test_a_broadcast_reaches_the_others(world: World, operacion: str) -> None:
    """What a client sends, every other client receives, as it was sent."""
    ana, bob, eva = world.join("ana"), world.join(), world.join()
    ana.ask(Request(operacion, "hola", b"\x00data"))
    world.settle()
    (event,) = bob.new()
    assert (event.kind, event.message, event.text, event.data) == (Kind.MESSAGE, "ana: hola", "hola", b"\x00data")
    assert (event.sender, event.session, event.seq, event.id) == ("ana", ana.session.id, 1, "")
    assert event.time_ns > 0
    assert eva.new() == [event]
    assert ana.new() == []


def test_an_author_without_a_name_is_relayed_verbatim(world: World) -> None:
    """Where there is no name, nothing is put before the text."""
    author, bob = world.join(), world.join()
    author.say("ana: hola")
    world.settle()
    assert [(event.message, event.sender) for event in bob.new()] == [("ana: hola", "")]


def test_a_payload_needs_no_text(world: World) -> None:
    """A broadcast of bytes alone is a message; a named author's reads ``name: ``."""
    ana, nobody, bob = world.join("ana"), world.join(), world.join()
    ana.ask(Request(data=b"1"))
    nobody.ask(Request(data=b"2"))
    world.settle()
    assert [(event.message, event.data) for event in bob.new()] == [("ana: ", b"1"), ("", b"2")]


def test_an_id_is_acknowledged(world: World) -> None:
    """One ACK answers it, with the message's place, the epoch, and how many others it is queued for."""
    ana = world.join("ana", echo=True)
    world.join()
    world.join(reader=True)
    ana.ask(Request(msg="hola", id="x"))
    world.settle()
    echo, ack = ana.new()
    assert (ack.kind, ack.id, ack.message, ack.seq) == (Kind.ACK, "x", "sent to 2", 0)
    assert ack.detail == Ack(1, ana.session.epoch, False, 2, 0)
    assert ack.time_ns == echo.time_ns


def test_without_an_id_nothing_is_acknowledged(world: World) -> None:
    """Who gives no id is told of faults only."""
    ana = world.join("ana")
    ana.ask(Request(msg="hola"), Request("join", "eva"))
    world.settle()
    assert ana.new() == []


@pytest.mark.parametrize("operacion", ["", "broadcast"])
def test_an_empty_broadcast_is_an_error(world: World, operacion: str) -> None:
    """Neither text nor payload: EMPTY_MESSAGE, and the stream goes on."""
    ana = world.join()
    ana.ask(Request(operacion, id="x"))
    world.settle()
    (event,) = ana.new()
    assert (event.kind, event.id, event.message) == (Kind.ERROR, "x", "a broadcast needs msg or data")
    assert event.detail == Error(ErrorCode.EMPTY_MESSAGE, "a broadcast needs msg or data")
    assert not ana.closed


def test_text_and_payload_count_together(world: World) -> None:
    """A message of exactly ``max_message_bytes`` of UTF-8 passes, one byte more is MESSAGE_TOO_LARGE."""
    ana, bob = world.join(), world.join()
    ana.ask(Request(msg="ñ" * 30_000, data=bytes(5536)))
    ana.ask(Request(msg="ñ" * 30_000, data=bytes(5537), id="x"))
    world.settle()
    assert len(bob.new()) == 1
    (event,) = ana.new()
    assert event.message == "msg and data together are 65537 bytes; the limit is 65536"
    assert isinstance(event.detail, Error)
    assert event.detail.code is ErrorCode.MESSAGE_TOO_LARGE


def test_a_client_over_its_rate_is_told_when_to_come_back() -> None:
    """RATE_LIMITED says how long to wait, costs nothing, and after that wait the message passes."""
    world = World(Limits(rate=4, burst=2))
    world.scheduler.now = 1000.0
    ana = world.join("ana")
    ana.ask(*(Request(msg="hola", id=str(number)) for number in range(3)))
    world.settle()
    answers = dict(ana.answers())
    error = answers["2"]
    assert error == Error(ErrorCode.RATE_LIMITED, "the limit is 4 messages a second; try again in 0.250 s", True, 0.25)
    assert [id_ for id_, answer in answers.items() if isinstance(answer, Ack)] == ["0", "1"]
    world.scheduler.advance(0.25)
    ana.ask(Request(msg="hola", id="3"))
    world.settle()
    assert [(id_, type(answer)) for id_, answer in ana.answers()] == [("3", Ack)]


def test_each_client_has_a_rate_of_its_own() -> None:
    """One client's messages do not count against another; faults do not count at all."""
    world = World(Limits(rate=1, burst=1))
    world.scheduler.now = 1000.0
    ana, bob = world.join(), world.join()
    ana.ask(Request(id="empty"), Request(msg="x", id="x" * 129), Request(msg="x"))
    bob.ask(Request(msg="x"))
    world.settle()
    assert [code for _, code in codes(ana)] == [ErrorCode.EMPTY_MESSAGE, ErrorCode.MALFORMED]
    assert codes(bob) == []


def test_a_stable_id_has_one_rate_over_all_its_calls() -> None:
    """Who connects anew under its ``bcast-client``, or publishes with it, does not start with a new bucket."""
    world = World(Limits(rate=1, burst=1))
    world.scheduler.now = 1000.0
    world.join(client="c").say("x")
    again = world.join(client="c")
    again.ask(Request(msg="x", id="x"))
    world.settle()
    assert codes(again) == [("x", ErrorCode.RATE_LIMITED)]
    publisher = Publisher(admit(world.hub, Hello(client="c"), "somewhere"), answer=lambda _: None)
    with pytest.raises(RequestError, match="RATE_LIMITED"):
        publisher.publish(Request(msg="x"))


def test_an_id_that_is_too_long_is_malformed(world: World) -> None:
    """An id has at most 128 bytes of UTF-8, on every operation."""
    ana = world.join()
    for operacion in ("", "join", "who", "leave", "nonsense"):
        ana.ask(Request(operacion, "x", id="ñ" * 65))
    world.settle()
    assert [code for _, code in codes(ana)] == [ErrorCode.MALFORMED] * 5
    ana.ask(Request(msg="x", id="ñ" * 64))
    world.settle()
    assert [event.kind for event in ana.new()] == [Kind.ACK]


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


# --- brokers that are away or slow


def test_a_broker_that_is_away_is_an_error_for_each_message() -> None:
    """BROKER_UNAVAILABLE answers each of them, nobody gets anything, and the stream goes on."""
    broker = LaterBroker()
    world = World(broker=broker)
    ana, bob = world.join("ana"), world.join()
    broker.fault = DOWN
    ana.ask(Request(msg="one", id="1"), Request(msg="two", id="2"), Request("who", id="3"))
    world.settle()
    assert [(event.id, event.kind) for event in ana.new()] == [
        ("1", Kind.ERROR),
        ("2", Kind.ERROR),
        ("3", Kind.MEMBERS),
    ]
    assert bob.new() == []
    assert not ana.closed


def test_a_broker_may_refuse_later() -> None:
    """Entries that get no place are answered with the reason, to a stream and to a publisher."""
    broker = LaterBroker()
    world = World(broker=broker)
    ana, bob = world.join(), world.join()
    answered: list[Event] = []
    publisher = Publisher(admit(world.hub, Hello()), answer=answered.append)
    ana.ask(Request(msg="one", id="1"))
    publisher.publish(Request(msg="two", id="2"))
    broker.refuse(DOWN)
    world.settle()
    expected = Error(ErrorCode.BROKER_UNAVAILABLE, "the store is away", retryable=True)
    assert ana.answers() == [("1", expected)]
    assert [(event.kind, event.id, event.detail) for event in answered] == [(Kind.ERROR, "2", expected)]
    assert bob.new() == []


def test_a_broker_may_accept_later() -> None:
    """Who is in when a message is accepted gets it, whoever was in when it was sent."""
    broker = LaterBroker()
    world = World(broker=broker)
    ana, gone = world.join(), world.join()
    ana.ask(Request(msg="hola", id="x"))
    gone.close()
    late = world.join(kinds=ALL)
    broker.accept()
    world.settle()
    welcome, message = late.new()
    assert (welcome.kind, welcome.seq, message.seq) == (Kind.WELCOME, 0, 1)
    assert ana.answers() == [("x", Ack(1, ana.session.epoch, False, 1, 0))]


def test_a_client_cannot_come_in_while_the_broker_is_away() -> None:
    """BROKER_UNAVAILABLE, and no half-open room stays behind."""
    broker = LaterBroker()
    broker.fault = DOWN
    world = World(broker=broker)
    with pytest.raises(BcastError, match="the store is away"):
        world.join()
    assert (world.hub.clients, list(world.hub.rooms)) == (0, [])
    broker.fault = None
    world.join()
    assert (world.hub.clients, list(world.hub.rooms)) == (1, ["lobby"])


# --- publishers


class Producer:
    """A publisher, and what it was answered."""

    def __init__(self, world: World, **hello: Any) -> None:
        self.answers: list[Event] = []
        answer: Callable[[Event], None] = self.answers.append
        self.publisher = Publisher(admit(world.hub, Hello(**hello), "ipv4:1.2.3.4:5"), answer=answer)


def test_a_publisher_reaches_everyone_and_is_answered_once(world: World) -> None:
    """A producer without a stream is told its message's place and how many have it, with or without an id."""
    ana, bob = world.join(), world.join(reader=True)
    for id_ in ("x", ""):
        producer = Producer(world, name="cron")
        producer.publisher.publish(Request(msg="tick", data=b"1", id=id_))
        world.settle()
        (event,) = producer.answers
        assert event.kind is Kind.ACK
        assert event.id == id_
        assert isinstance(event.detail, Ack)
        assert (event.detail.queued, event.detail.epoch) == (2, producer.publisher.epoch)
        producer.publisher.close()
    messages = ana.new()
    assert [(event.message, event.data, event.seq) for event in messages] == [
        ("cron: tick", b"1", 1),
        ("cron: tick", b"1", 2),
    ]
    assert bob.new() == messages


def test_a_publisher_is_nobody_in_the_room(world: World) -> None:
    """It is neither counted, nor listed, nor announced."""
    ana = world.join(kinds=ALL)
    producer = Producer(world, name="cron")
    ana.ask(Request("who"))
    producer.publisher.close()
    world.settle()
    assert world.hub.clients == 1
    assert ana.texts() == ["welcome to lobby: 1 here", "1 here: one without a name"]


def test_a_publisher_into_an_empty_room_reaches_nobody(world: World) -> None:
    """Its room is there as long as it is, and it is told that nobody got the message."""
    producer = Producer(world, room="dev")
    assert list(world.hub.rooms) == ["dev"]
    producer.publisher.publish(Request(msg="tick"))
    world.settle()
    (event,) = producer.answers
    assert event.detail == Ack(1, producer.publisher.epoch, False, 0, 0)
    producer.publisher.close()
    assert list(world.hub.rooms) == []


def test_a_publisher_that_was_closed_is_not_answered(world: World) -> None:
    """Who gave up waiting is forgotten, and the message is sent all the same."""
    ana = world.join()
    producer = Producer(world)
    producer.publisher.publish(Request(msg="tick"))
    producer.publisher.close()
    producer.publisher.close()
    world.settle()
    assert producer.answers == []
    assert ana.texts() == ["tick"]


def test_a_publishers_message_is_not_for_its_own_stream(world: World) -> None:
    """Not to the author holds for all calls with one ``bcast-client``; an echo is not counted."""
    own, echo = world.join(client="c"), world.join(client="c", reader=True, echo=True)
    other = world.join()
    producer = Producer(world, client="c")
    producer.publisher.publish(Request(msg="tick"))
    world.settle()
    assert (own.texts(), echo.texts(), other.texts()) == ([], ["tick"], ["tick"])
    (event,) = producer.answers
    assert isinstance(event.detail, Ack)
    assert event.detail.queued == 1


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (Request(), ErrorCode.EMPTY_MESSAGE),
        (Request(msg="x" * 65_537), ErrorCode.MESSAGE_TOO_LARGE),
        (Request(msg="x", id="x" * 129), ErrorCode.MALFORMED),
    ],
)
def test_a_publisher_is_refused_at_once(world: World, request_: Request, code: ErrorCode) -> None:
    """What is wrong with its message is raised, and nothing is sent."""
    ana = world.join()
    producer = Producer(world)
    with pytest.raises(RequestError) as caught:
        producer.publisher.publish(request_)
    world.settle()
    assert caught.value.code is code
    assert (producer.answers, ana.new()) == ([], [])


def test_publishers_of_one_peer_share_a_rate() -> None:
    """Without a stable id nobody passes its rate by making a call for each message; another peer is its own."""
    world = World(Limits(rate=1, burst=1))
    world.scheduler.now = 1000.0
    Producer(world).publisher.publish(Request(msg="x"))
    with pytest.raises(RequestError) as caught:
        Producer(world).publisher.publish(Request(msg="x"))
    assert caught.value.code is ErrorCode.RATE_LIMITED
    assert caught.value.retry_after_s == pytest.approx(1)
    Publisher(admit(world.hub, Hello(), "ipv4:5.6.7.8:9"), answer=lambda _: None).publish(Request(msg="x"))
