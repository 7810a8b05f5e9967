"""One client, connected again: it takes the place of its former call."""

from __future__ import annotations

from contextlib import suppress

import pytest

from bcast_grpc.errors import BcastError, ErrorCode
from bcast_grpc.events import Entry, Request

from .received import code_of
from .world import ALL, World


def test_a_second_call_replaces_the_first(world: World) -> None:
    """The first ends at once with REPLACED; to the others nobody left or joined."""
    bob = world.join(kinds=ALL)
    first = world.join("ana", client="c")
    world.settle()
    bob.new()
    second = world.join("ana", client="c")
    bob.say("hola")
    world.settle()
    assert code_of(first) is ErrorCode.REPLACED
    assert (first.closed, first.new()) == (True, [])
    assert second.texts() == ["hola"]
    assert bob.new() == []
    assert world.hub.clients == 2
    second.close()
    world.settle()
    assert bob.texts() == ["ana left"]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [("ana", "eva", ["ana is now eva"]), ("", "eva", ["eva joined"]), ("ana", "", ["ana left"]), ("", "", [])],
)
def test_a_replacement_with_another_name_is_a_change_of_name(
    world: World, before: str, after: str, told: list[str]
) -> None:
    """The others see one client that has another name, has one now, or has none any more."""
    bob = world.join(kinds=ALL)
    world.join(before, client="c")
    world.settle()
    bob.new()
    world.join(after, client="c")
    world.settle()
    assert bob.texts() == told


def test_only_the_like_of_it_is_replaced(world: World) -> None:
    """A Subscribe does not replace a Connect, nor does a call to another room, or one with another id or none."""
    clients = [
        world.join(client="c"),
        world.join(client="c", reader=True),
        world.join(client="c", room="dev"),
        world.join(client="d"),
        world.join(),
        world.join(),
    ]
    assert [code_of(client) for client in clients] == [None] * 6
    assert world.hub.clients == 6
    again = world.join(client="c", reader=True)
    assert [code_of(client) for client in clients] == [None, ErrorCode.REPLACED, None, None, None, None]
    again.close()
    clients[1].session.close()
    assert world.hub.clients == 5


def test_a_client_can_be_replaced_again_and_again(world: World) -> None:
    """Each call ends with an error of its own, so that none keeps another's traceback alive."""
    calls = [world.join(client="c") for _ in range(4)]
    errors = [client.error for client in calls]
    assert errors[-1] is None
    assert len({id(error) for error in errors[:-1]}) == 3
    for call in calls:
        call.close()
    assert (world.hub.clients, list(world.hub.rooms)) == (0, [])


def test_a_replaced_client_changes_no_names(world: World) -> None:
    """What its old stream still asks for is nothing to the others: nobody joins who is not there."""
    bob = world.join(kinds=ALL)
    first = world.join("ana", client="c")
    world.join("ana", client="c")
    world.settle()
    bob.new()
    first.session.handle([Request("join", "ghost")])
    first.session.close()
    world.settle()
    assert bob.new() == []


def test_a_replaced_client_may_ask_who_is_here(world: World) -> None:
    """A request that comes too late is no fault, not even in a room that nobody is in any more."""
    first = world.join(client="c")
    world.join(client="c").close()
    first.session.handle([Request("who", id="x"), Request(msg="hola", id="y")])
    first.session.close()
    world.settle()
    assert (world.hub.clients, list(world.hub.rooms)) == (0, [])


def test_a_change_of_name_may_come_too_late(world: World) -> None:
    """Another thread's request for a name, overtaken by the end of its call, is told to nobody."""
    bob, ana = world.join(kinds=ALL), world.join("ana")
    room, member = ana.session._room, ana.session._member
    ana.close()
    world.settle()
    bob.new()
    world.hub.rename(room, member, "ghost")
    world.settle()
    assert bob.new() == []


def test_a_message_may_come_too_late(world: World) -> None:
    """A message that was overtaken by the end of its room is no fault, and nothing to the next room of that name."""
    ana = world.join("ana")
    room, author = ana.session._room, ana.session._member.author
    ana.close()
    with suppress(BcastError):
        room.publish([Entry(author, "ana: ghost")])
    bob = world.join()
    with suppress(BcastError):
        room.publish([Entry(author, "ana: ghost")])
    world.join().say("hola")
    world.settle()
    assert [(event.message, event.seq) for event in bob.new()] == [("hola", 1)]
