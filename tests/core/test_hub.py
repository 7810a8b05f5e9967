"""The registry: who is in, which rooms there are, and who is told of it."""

from __future__ import annotations

from functools import partial

from bcast_grpc.broker.memory import MemoryBroker, MemoryOrder
from bcast_grpc.core.hello import Hello
from bcast_grpc.core.limits import Limits
from bcast_grpc.core.publisher import Publisher
from bcast_grpc.core.room import Room
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Kind, Request

from .received import refusal
from .world import ALL, NOTHING_KEPT, World, admit


class CountingBroker(MemoryBroker):
    """A broker that knows what it was asked.

    Attributes:
        rooms: those that were opened and not released.
    """

    def __init__(self) -> None:
        super().__init__(NOTHING_KEPT)
        self.rooms: list[str] = []

    def in_use(self, order: MemoryOrder) -> None:
        """Count it."""
        assert order.room not in self.rooms
        self.rooms.append(order.room)
        super().in_use(order)

    def released(self, order: MemoryOrder) -> None:
        """Count it no longer."""
        self.rooms.remove(order.room)
        super().released(order)


# --- rooms


def test_a_room_lasts_from_the_first_arrival_to_the_last_departure() -> None:
    """The broker is told of both, once each, and nothing of an empty room stays behind."""
    broker = CountingBroker()
    world = World(broker=broker)
    ana, bob, eva = world.join(), world.join(room="dev"), world.join(room="dev")
    assert list(world.hub.rooms) == broker.rooms == ["lobby", "dev"]
    bob.close()
    assert broker.rooms == ["lobby", "dev"]
    eva.close()
    assert list(world.hub.rooms) == broker.rooms == ["lobby"]
    ana.close()
    assert list(world.hub.rooms) == broker.rooms == []


def test_a_room_that_is_made_again_is_another_one(world: World) -> None:
    """Without a history its order begins anew, in a new epoch, and nothing of the old one comes to it."""
    ana = world.join("ana")
    epoch = ana.session.epoch
    ana.say("old")
    ana.close()
    bob = world.join(kinds=ALL)
    assert bob.session.epoch != epoch
    eva = world.join()
    eva.say("new")
    world.settle()
    assert [(event.message, event.seq) for event in bob.new()] == [("welcome to lobby: 1 here", 0), ("new", 1)]


def test_a_publisher_holds_its_room(world: World) -> None:
    """A room lives as long as anyone needs it, on a stream or not."""
    publisher = Publisher(admit(world.hub, Hello()), answer=lambda _: None)
    ana = world.join()
    epoch = ana.session.epoch
    ana.close()
    assert list(world.hub.rooms) == ["lobby"]
    assert publisher.epoch == epoch
    publisher.close()
    assert list(world.hub.rooms) == []


# --- clients


def test_every_client_is_counted_once(world: World) -> None:
    """Readers too; from the arrival of the call to its end, however often that is said."""
    ana = world.join()
    world.join(room="dev", reader=True)
    assert world.hub.clients == 2
    ana.close()
    ana.session.close()
    assert world.hub.clients == 1


def test_the_server_takes_so_many_clients() -> None:
    """One more is refused with SERVER_FULL and a time to come back, and leaves no room behind."""
    world = World(Limits(max_clients=2))
    ana = world.join()
    world.join(room="dev")
    error = refusal(lambda: world.join(room="other"))
    assert (error.code, error.retryable, error.retry_after_s) == (ErrorCode.SERVER_FULL, True, 5)
    assert "2 clients" in error.reason
    assert (world.hub.clients, list(world.hub.rooms)) == (2, ["lobby", "dev"])
    ana.close()
    world.join(room="other")
    assert (world.hub.clients, list(world.hub.rooms)) == (2, ["dev", "other"])


def test_a_full_server_lets_a_client_replace_itself() -> None:
    """Who reconnects needs no second place, and a producer needs none at all."""
    world = World(Limits(max_clients=1))
    world.join(client="c")
    world.join(client="c")
    Publisher(admit(world.hub, Hello()), answer=lambda _: None).close()
    assert world.hub.clients == 1


def test_an_address_has_so_many_clients() -> None:
    """One more is refused, and the text says which limit that is; others come in, and so does who takes its place."""
    world = World(Limits(max_clients_per_peer=2, spares_loopback=False))
    ana = world.join(client="a", peer="1.2.3.4:1")
    world.join(client="b", room="dev", peer="1.2.3.4:2")
    error = refusal(lambda: world.join(room="other", peer="ipv4:1.2.3.4:3"))
    assert (error.code, error.retryable, error.retry_after_s) == (ErrorCode.SERVER_FULL, True, 5)
    assert "max-clients-per-peer" in error.reason
    assert list(world.hub.rooms) == ["lobby", "dev"]
    world.join(peer="1.2.3.5:1")
    again = world.join(client="a", peer="1.2.3.4:4")
    ana.close()
    assert refusal(lambda: world.join(peer="1.2.3.4:5")).code is ErrorCode.SERVER_FULL
    again.close()
    world.join(peer="1.2.3.4:6")


def test_who_moves_takes_its_place_along() -> None:
    """A client that replaces itself from another address counts there, and is refused where that is full."""
    world = World(Limits(max_clients_per_peer=1, spares_loopback=False))
    first = world.join(client="c", peer="1.1.1.1:1")
    other = world.join(peer="2.2.2.2:1")
    assert refusal(lambda: world.join(client="c", peer="2.2.2.2:2")).code is ErrorCode.SERVER_FULL
    assert not first.session.outbox.closed
    other.close()
    moved = world.join(client="c", peer="2.2.2.2:2")
    world.join(peer="1.1.1.1:2").close()
    for client in (first, moved, moved):
        client.close()
    assert (len(world.hub.capacity.peers), world.hub.clients) == (0, 0)


def test_addresses_of_this_machine_are_spared_unless_the_limit_is_set() -> None:
    """Out of the box everything works on loopback; zero bounds nobody."""
    for peer in ("127.0.0.1:1", "ipv6:%5B::1%5D:1"):
        world = World(Limits(max_clients_per_peer=1))
        world.join(peer=peer)
        world.join(peer=peer)
        strict = World(Limits(max_clients_per_peer=1, spares_loopback=False))
        strict.join(peer=peer)
        assert refusal(partial(strict.join, peer=peer)).code is ErrorCode.SERVER_FULL
    unbounded = World(Limits(max_clients_per_peer=0, spares_loopback=False))
    for _ in range(3):
        unbounded.join(peer="1.2.3.4:5")


# --- arrivals, departures and names


def test_only_names_are_announced(world: World) -> None:
    """A client without a name comes and goes unnoticed."""
    bob = world.join(kinds=ALL)
    world.join().close()
    world.settle()
    assert bob.texts()[1:] == []


def test_arrivals_and_departures_are_told_once(world: World) -> None:
    """JOINED and LEFT carry the name and the session, and come once each, however often the end is said."""
    bob = world.join(kinds=ALL)
    ana = world.join("ana")
    ana.session.close()
    ana.session.close()
    world.settle()
    joined, left = bob.new()[1:]
    assert (joined.kind, joined.message, left.kind, left.message) == (Kind.JOINED, "ana joined", Kind.LEFT, "ana left")
    assert joined.author == left.author
    assert (left.sender, left.session) == ("ana", ana.session.id)


def test_a_client_is_not_told_of_itself(world: World) -> None:
    """Its own arrival is its welcome."""
    ana = world.join("ana", kinds=ALL)
    ana.ask(Request("join", "eva"))
    world.settle()
    assert ana.texts() == ["welcome to lobby: 1 here"]


def test_a_client_that_was_never_given_anything_is_let_out_too(world: World) -> None:
    """A departure is told whatever the state of the client's queue and writer."""
    bob = world.join()
    for end in ("vanish", "leave", "slow"):
        client = world.join(end)
        if end == "leave":
            client.session.leave()
        elif end == "slow":
            client.session.outbox.close(CallError(ErrorCode.SLOW_CONSUMER, "slow"), discard=True)
        client.session.close()
    world.settle()
    assert bob.texts() == ["vanish left", "leave left", "slow left"]


# --- progress


def test_progress_is_only_reported_where_someone_wants_it(world: World) -> None:
    """A room in which nobody asked for it is left in peace."""
    world.join()
    world.settle()
    world.hub.for_each_room(Room.report_progress)
    assert world.scheduler.scheduled == []
    watching = world.join(room="dev", kinds=ALL)
    world.hub.for_each_room(Room.report_progress)
    world.settle()
    assert watching.texts()[1:] == ["at 0"]


def test_rates_are_kept_where_there_is_a_rate() -> None:
    """Without a rate nothing is counted."""
    assert World().hub.rates is None
    assert World(Limits(rate=1.0)).hub.rates is not None
