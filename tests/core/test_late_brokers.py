"""Brokers that are away, or answer later, as clients notice it."""

from __future__ import annotations

import pytest

from bcast_grpc.broker.base import Deliver, Lose
from bcast_grpc.broker.memory import MemoryBroker, MemoryOrder
from bcast_grpc.core.hello import Hello
from bcast_grpc.core.publisher import Publisher
from bcast_grpc.core.session import Session
from bcast_grpc.errors import BcastError, CallError, ErrorCode
from bcast_grpc.events import Ack, Error, Event, Kind, Request

from .received import refusal
from .world import ALL, NOTHING_KEPT, Client, LaterBroker, World, admit

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


class LosingBroker(MemoryBroker):
    """A broker whose orders may not be able to go on.

    Attributes:
        lose: ends the order that was begun last.
    """

    lose: Lose

    async def open(self, room: str) -> MemoryOrder:
        """Return the order in use, or a new one."""
        return self._used.get(room) or LosingOrder(room, self)


class LosingOrder(MemoryOrder):
    """One of its orders."""

    def __init__(self, room: str, broker: LosingBroker) -> None:
        super().__init__(room, broker)
        self.losing = broker

    def begin(self, deliver: Deliver, lose: Lose) -> None:
        """Begin."""
        super().begin(deliver, lose)
        self.losing.lose = lose


def test_whoever_was_admitted_to_an_order_that_is_lost_comes_again() -> None:
    """It is told so, as those who were in; the next admission opens another order, and nothing of the first is left."""
    broker = LosingBroker(NOTHING_KEPT)
    world = World(broker=broker)
    ana = world.join("ana")
    stream, single = admit(world.hub, Hello()), admit(world.hub, Hello(), publishing=True)
    publisher = Publisher(single, answer=lambda _: None)
    broker.lose(DOWN)
    assert ana.error is not None
    assert (ana.error.code, ana.session.outbox.discarded) == (DOWN.code, True)
    assert refusal(lambda: Session(stream, world.batches.encoder, wake=lambda: None)).code is DOWN.code
    assert refusal(lambda: publisher.publish(Request(msg="x"))).code is DOWN.code
    publisher.close()
    bob = world.join("bob")
    assert bob.session.epoch != ana.session.epoch
    for client in (ana, bob):
        client.close()
    world.settle()
    assert (world.hub.clients, world.hub.rooms, broker._used) == (0, [], {})
