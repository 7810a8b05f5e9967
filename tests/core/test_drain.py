"""The end of a hub: nobody is let in, and everyone gets what is queued."""

from __future__ import annotations

from bcast_grpc.core.hello import Hello
from bcast_grpc.core.publisher import Publisher
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Closing, Kind, Request

from .received import code_of, refusal
from .world import World, admit


def test_close_lets_nobody_in(world: World) -> None:
    """Neither a stream nor a producer, each with an error of its own."""
    world.hub.close("going down", lambda: 1.0, lambda: None)
    first, second = refusal(world.join), refusal(world.join)
    assert first is not second
    assert (first.code, first.reason, first.retryable) == (ErrorCode.SHUTTING_DOWN, "going down", True)
    third = refusal(lambda: Publisher(admit(world.hub, Hello()), answer=lambda _: None))
    assert third.code is ErrorCode.SHUTTING_DOWN
    assert list(world.hub.rooms) == []


def test_close_gives_everyone_what_is_queued_then_a_closing(world: World) -> None:
    """CLOSING is the last event, with a time to come back of one's own, then the call ends with SHUTTING_DOWN."""
    ana, bob, eva = world.join("ana"), world.join(batch=False), world.join(room="dev")
    bob.ask(Request(msg="hola", id="x"))
    times = iter([1.0, 2.0, 3.0])
    emptied: list[int] = []
    world.hub.close("going down", lambda: next(times), lambda: emptied.append(world.hub.clients))
    assert emptied == []
    world.settle()
    for client, texts, after_s in (
        (ana, ["hola", "going down"], 1),
        (bob, ["sent to 1", "going down"], 2),
        (eva, ["going down"], 3),
    ):
        events = client.new()
        assert [event.message for event in events if event.kind is not Kind.LEFT] == texts
        assert (events[-1].kind, events[-1].detail) == (Kind.CLOSING, Closing("going down", after_s))
        assert client.closed
        assert client.error is not None
        assert (client.error.code, client.error.retry_after_s) == (ErrorCode.SHUTTING_DOWN, after_s)
    assert emptied == [0]


def test_close_of_an_empty_hub_is_done_at_once(world: World) -> None:
    """Where nobody is in there is nothing to wait for."""
    emptied: list[int] = []
    world.hub.close("going down", lambda: 1.0, lambda: emptied.append(1))
    assert emptied == [1]


def test_who_was_leaving_already_leaves_well(world: World) -> None:
    """A drain does not turn a good end into an error."""
    ana = world.join()
    ana.session.leave()
    world.hub.close("going down", lambda: 1.0, lambda: None)
    world.settle()
    assert ana.closed
    assert ana.error is None


def test_discard_cuts_short_who_does_not_read(world: World) -> None:
    """Those who are still here after a drain end with SHUTTING_DOWN, without what is queued for them."""
    ana, bob = world.join(), world.join()
    ana.say("hola")
    world.hub.close("going down", lambda: 1.0, lambda: None)
    going = CallError(ErrorCode.SHUTTING_DOWN, "going down")
    world.hub.for_each_room(lambda room: room.disconnect(going))
    assert [code_of(client) for client in (ana, bob)] == [ErrorCode.SHUTTING_DOWN] * 2
    world.settle()
    assert bob.new() == []
    assert world.hub.clients == 0
