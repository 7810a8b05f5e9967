"""What may happen between a client's admission and its arrival."""

from __future__ import annotations

import pytest

from bcast_grpc.core.hello import Hello
from bcast_grpc.core.limits import Limits
from bcast_grpc.core.publisher import Publisher
from bcast_grpc.core.session import Session
from bcast_grpc.errors import CallError, ErrorCode

from .world import PlainWire, World, admit

WIRE = PlainWire()


def test_an_admitted_client_keeps_its_room_open() -> None:
    """Also where everyone else leaves meanwhile; its room is the one that it was admitted to."""
    world = World()
    ana = world.join()
    admission = admit(world.hub, Hello())
    epoch = ana.session.epoch
    ana.close()
    assert list(world.hub.rooms) == ["lobby"]
    session = Session(admission, WIRE.encoder, wake=lambda: None)
    assert (session.epoch, world.hub.clients) == (epoch, 1)
    session.close()
    assert list(world.hub.rooms) == []


def test_a_client_that_goes_before_it_is_in_leaves_nothing() -> None:
    """It was counted nowhere, and its room goes with the last admission, however often that is released."""
    world = World()
    first, second = admit(world.hub, Hello()), admit(world.hub, Hello())
    first.release()
    first.release()
    assert (world.hub.clients, list(world.hub.rooms)) == (0, ["lobby"])
    second.release()
    assert list(world.hub.rooms) == []


def test_an_admission_is_used_once() -> None:
    """A second session of the same admission would have no room."""
    world = World()
    admission = admit(world.hub, Hello())
    Session(admission, WIRE.encoder, wake=lambda: None)
    with pytest.raises(AssertionError, match="once"):
        Session(admission, WIRE.encoder, wake=lambda: None)


def test_a_drain_that_begins_meanwhile_lets_nobody_in() -> None:
    """Neither a stream nor a producer, and no room is left."""
    world = World()
    stream, producer = admit(world.hub, Hello()), admit(world.hub, Hello(room="dev"))
    world.hub.close("going down", lambda: 1.0, lambda: None)
    with pytest.raises(CallError) as streams:
        Session(stream, WIRE.encoder, wake=lambda: None)
    with pytest.raises(CallError) as producers:
        Publisher(producer, answer=lambda _: None)
    assert streams.value.code is producers.value.code is ErrorCode.SHUTTING_DOWN
    assert (world.hub.clients, list(world.hub.rooms)) == (0, [])


def test_a_server_that_fills_up_meanwhile_refuses() -> None:
    """The places are counted when a client comes in, not when it is admitted."""
    world = World(Limits(max_clients=1))
    first, second = admit(world.hub, Hello()), admit(world.hub, Hello(room="dev"))
    Session(first, WIRE.encoder, wake=lambda: None)
    with pytest.raises(CallError) as refused:
        Session(second, WIRE.encoder, wake=lambda: None)
    assert refused.value.code is ErrorCode.SERVER_FULL
    assert (world.hub.clients, list(world.hub.rooms)) == (1, ["lobby"])


@pytest.mark.parametrize("early_first", [False, True])
def test_of_two_with_the_same_client_id_the_later_one_stays(early_first: bool) -> None:
    """Also where the earlier one is let in after it, as a connection may be whose client has reconnected since."""
    world = World()
    early, late = admit(world.hub, Hello(client="c")), admit(world.hub, Hello(client="c"))
    if early_first:
        replaced = Session(early, WIRE.encoder, wake=lambda: None)
        stays = Session(late, WIRE.encoder, wake=lambda: None)
        assert replaced.outbox.error
        assert replaced.outbox.error.code is ErrorCode.REPLACED
    else:
        stays = Session(late, WIRE.encoder, wake=lambda: None)
        with pytest.raises(CallError) as refused:
            Session(early, WIRE.encoder, wake=lambda: None)
        assert refused.value.code is ErrorCode.REPLACED
    assert (stays.outbox.closed, world.hub.clients) == (False, 1)
    stays.close()
    assert list(world.hub.rooms) == []
