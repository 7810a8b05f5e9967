"""Brokers that are away, or answer later, as clients notice it."""

from __future__ import annotations

import pytest

from bcast_grpc.core.hello import Hello
from bcast_grpc.core.publisher import Publisher
from bcast_grpc.errors import BcastError, CallError, ErrorCode
from bcast_grpc.events import Ack, Error, Event, Kind, Request

from .world import ALL, Client, LaterBroker, World, admit

DOWN = CallError(ErrorCode.BROKER_UNAVAILABLE, "the store is away")


def codes(client: Client) -> list[tuple[str, ErrorCode]]:
    """The id and the code of each ERROR that came."""
    return [(event.id, event.detail.code) for event in client.new() if isinstance(event.detail, Error)]


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
