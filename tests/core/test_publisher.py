"""Authors that hold no stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bcast_grpc.core.hello import Hello
from bcast_grpc.core.limits import Limits
from bcast_grpc.core.publisher import Publisher
from bcast_grpc.errors import ErrorCode, RequestError
from bcast_grpc.events import Ack, Error, Event, Kind, Request

from .world import ALL, Client, World, admit


def codes(client: Client) -> list[tuple[str, ErrorCode]]:
    """The id and the code of each ERROR that came."""
    return [(event.id, event.detail.code) for event in client.new() if isinstance(event.detail, Error)]


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


@pytest.mark.parametrize(
    ("first", "second", "spared"),
    [
        ("ipv4:1.2.3.4:5", "ipv4:1.2.3.4:6", True),
        ("1.2.3.4:5", "1.2.3.4:5", True),
        ("[2001:db8::1]:5", "[2001:db8::ffff]:6", True),
        ("127.0.0.1:5", "127.0.0.1:5", True),
        ("127.0.0.1:5", "127.0.0.1:6", False),
    ],
)
def test_publishers_of_one_address_share_a_rate(first: str, second: str, spared: bool) -> None:
    """Without a stable id nobody passes its rate by making a call for each message, or a connection for each."""
    world = World(Limits(rate=1, burst=1, spares_loopback=spared))
    world.scheduler.now = 1000.0
    publisher(world, first).publish(Request(msg="x"))
    with pytest.raises(RequestError) as caught:
        publisher(world, second).publish(Request(msg="x"))
    assert caught.value.code is ErrorCode.RATE_LIMITED
    assert caught.value.retry_after_s == pytest.approx(1)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("ipv4:1.2.3.4:5", "ipv4:5.6.7.8:5"),
        ("[2001:db8::1]:5", "[2001:db8:0:1::1]:5"),
        ("127.0.0.1:5", "127.0.0.1:6"),  # a proxy's, perhaps
    ],
)
def test_publishers_at_other_addresses_have_rates_of_their_own(first: str, second: str) -> None:
    """And so do connections from this machine, whose address has no bounds."""
    world = World(Limits(rate=1, burst=1, spares_loopback=True))
    world.scheduler.now = 1000.0
    publisher(world, first).publish(Request(msg="x"))
    publisher(world, second).publish(Request(msg="x"))


def publisher(world: World, peer: str) -> Publisher:
    """Let somebody publish who says nothing of itself."""
    return Publisher(admit(world.hub, Hello(), peer), answer=lambda _: None)
