"""What a client is in its room, what moves it, and what it gets meanwhile: the whole table, and each of it for real."""

from __future__ import annotations

from typing import Any

import pytest

from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.memory import MemoryBroker
from bcast_grpc.core.batch import Due
from bcast_grpc.core.limits import Limits, SlowPolicy
from bcast_grpc.core.room import Room
from bcast_grpc.core.states import ARRIVING, FED, GONE, LEAVING, LIVE, ImpossibleMove, Move, State
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Event, Kind

from .world import ALL, Client, LaterBroker, World

TABLE = """
          ARRIVED  BEHIND  LEVEL  LEAVE    END
ARRIVING  LIVE     FED     -      LEAVING  GONE
FED       FED      -       LIVE   FED      GONE
LIVE      -        FED     -      LEAVING  GONE
LEAVING   LEAVING  FED     -      LEAVING  GONE
GONE      GONE     -       -      GONE     GONE
"""

_MOVES, *_ROWS = [line.split() for line in TABLE.strip().splitlines()]
CELLS = [(row[0], move, after) for row in _ROWS for move, after in zip(_MOVES, row[1:], strict=True)]


def world_of(**limits: Any) -> World:
    """A room with a history."""
    return World(Limits(**limits), MemoryBroker(Retention()))


def put(world: World, state: State) -> tuple[Client, Client]:
    """Return a client in a state, and a live one that has sent the message "0", which is pending or in the history."""
    ana = world.join("ana")
    before = {LIVE, LEAVING, GONE} & {state}
    client = world.join(kinds=ALL) if before else None
    if client:
        world.settle()
        client.new()
    ana.say("0")
    if state is FED:
        world.settle()
    if client is None:
        client = world.join(kinds=ALL, history=1 if state is FED else 0)
    if state is LEAVING:
        client.session.leave()
    if state is GONE:
        client.close()
    assert client.state is state
    return client, ana


def queued(world: World, client: Client) -> list[Event]:
    """What a client's queue holds."""
    return [event for data, *_ in client.session.outbox.frames for event in world.batches.decode(data)]


# --- the table


@pytest.mark.parametrize(("before", "move", "after"), CELLS)
def test_a_move_leads_where_the_table_says(before: str, move: str, after: str) -> None:
    """Each of the moves in each of the states; what cannot happen is refused."""
    if after == "-":
        with pytest.raises(ImpossibleMove, match=f"a member that is {before.lower()} cannot"):
            State[before].after(Move[move])
    else:
        assert State[before].after(Move[move]) is State[after]


def test_the_table_is_complete() -> None:
    """It has every state and every move."""
    assert {(before, move) for before, move, _ in CELLS} == {
        (state.name, move.name) for state in State for move in Move
    }


def test_only_one_place_gives_a_state_its_messages() -> None:
    """A message that comes by a flush and from the history would come twice."""
    assert [state for state in State if state.fed and state.in_step] == []
    assert [state for state in State if not (state.fed or state.in_step or state is GONE)] == []


# --- what each state gets


@pytest.mark.parametrize("state", State)
def test_a_flush_pushes_the_kinds_of_the_state(state: State) -> None:
    """Messages go to all that are in step, notices also to those that are fed, nothing to those that are gone."""
    world = world_of()
    client, ana = put(world, state)
    ana.say("1")
    world.join("bob")
    world.hub.for_each_room(Room.report_progress)
    ana.close()
    world.scheduler.run_soon()
    kinds = {event.kind for event in queued(world, client)} - {Kind.WELCOME}
    assert kinds == state.flushed


@pytest.mark.parametrize("state", State)
def test_messages_come_once_in_order_from_wherever(state: State) -> None:
    """Who arrives does not get what was pending, who is fed or leaves does."""
    world = world_of()
    client, ana = put(world, state)
    ana.say("1")
    world.settle()
    messages = [event.message for event in client.new() if event.kind is Kind.MESSAGE]
    both = ["ana: 0", "ana: 1"]
    assert messages == {ARRIVING: both[1:], FED: both, LIVE: both, LEAVING: both, GONE: []}[state]


@pytest.mark.parametrize("state", State)
def test_answers_come_in_every_state_but_the_last(state: State) -> None:
    """An answer to something that was asked before goes out in time, also where the client wants to leave."""
    world = world_of()
    client, _ = put(world, state)
    client.session._room.answer(Due.of(client.session.id, [Event(Kind.ACK, "done", id="x")]))
    world.settle()
    assert ([event.id for event in client.new() if event.kind is Kind.ACK] == ["x"]) is state.answered


# --- each move, for real


@pytest.mark.parametrize("state", [ARRIVING, FED])
def test_who_has_come_is_live_soon(state: State) -> None:
    """After the flush of what was pending, or when the history is written."""
    world = world_of()
    client, _ = put(world, state)
    world.settle()
    assert client.state is LIVE


def test_who_comes_into_a_quiet_room_is_live_at_once() -> None:
    """Nothing is pending that it would have to skip."""
    assert world_of().join().state is LIVE


def test_who_comes_while_the_broker_thinks_arrives_until_it_has_answered() -> None:
    """Notices from before it came may be behind that."""
    broker = LaterBroker()
    world = World(broker=broker)
    ana = world.join("ana")
    ana.say("1")
    bob = world.join()
    world.settle()
    assert bob.state is ARRIVING
    broker.accept()
    world.settle()
    assert bob.state is LIVE


def test_who_is_fed_while_the_broker_thinks_is_level_when_it_has_answered() -> None:
    """Its writer waits for nothing else then, and is woken, also where nothing is flushed."""
    broker = LaterBroker(Retention())
    world = World(broker=broker)
    ana = world.join("ana")
    ana.say("1")
    broker.accept()
    world.settle()
    ana.say("2")
    bob = world.join(history=1)
    bob.session.leave()
    world.settle()
    assert bob.state is FED
    assert bob.texts() == ["ana: 1"]
    broker.refuse(CallError(ErrorCode.BROKER_UNAVAILABLE, "it cannot be written"))
    world.settle()
    assert (bob.state, bob.closed) == (GONE, True)


def test_a_full_queue_is_filled_from_the_history_if_it_may() -> None:
    """The same client is live again when it has read what it missed."""
    world = world_of(slow_policy=SlowPolicy.CATCH_UP, queue_messages=4)
    ana, slow = world.join("ana"), world.join()
    slow.write_all()
    for number in range(9):
        ana.say(str(number))
        while world.scheduler.step():
            ana.write_all()
    assert slow.state is FED
    world.settle()
    assert slow.state is LIVE
    assert slow.texts() == [f"ana: {number}" for number in range(9)]


@pytest.mark.parametrize("policy", [SlowPolicy.DISCONNECT, SlowPolicy.DROP])
def test_a_full_queue_ends_the_call_or_drops(policy: SlowPolicy) -> None:
    """Where the history is not asked, a slow client is gone, or live with a gap."""
    world = world_of(slow_policy=policy, queue_messages=4)
    ana, slow = world.join("ana"), world.join()
    slow.write_all()
    for number in range(9):
        ana.say(str(number))
        while world.scheduler.step():
            ana.write_all()
    assert slow.state is (GONE if policy is SlowPolicy.DISCONNECT else LIVE)


def test_who_leaves_is_leaving_until_the_flush() -> None:
    """Then its last words are queued, and it is gone as soon as it has taken them."""
    world = world_of()
    client, _ = put(world, LEAVING)
    world.scheduler.run_soon()
    assert client.state is GONE
    assert not client.closed
    client.write_all()
    assert client.closed
    assert client.texts() == ["ana: 0"]


def test_who_leaves_while_it_is_fed_is_fed_first() -> None:
    """It gets what was said before it left."""
    world = world_of()
    client, _ = put(world, FED)
    client.session.leave()
    assert client.state is FED
    world.settle()
    assert client.state is GONE
    assert client.texts()[1:] == ["ana: 0"]


def test_who_falls_behind_while_it_leaves_is_fed_first() -> None:
    """Its last words come after all that was pending when it left."""
    world = world_of(slow_policy=SlowPolicy.CATCH_UP, queue_messages=4)
    ana, slow = world.join("ana"), world.join()
    slow.write_all()
    for number in range(3):
        ana.say(str(number))
        while world.scheduler.step():
            ana.write_all()
    ana.say("3", "4", "5")
    slow.session.leave()
    assert slow.state is LEAVING
    while world.scheduler.step():
        ana.write_all()
    assert slow.state is FED
    world.settle()
    assert (slow.state, slow.closed) == (GONE, True)
    assert slow.texts() == [f"ana: {number}" for number in range(6)]


def test_an_error_does_not_wait_until_the_client_is_level() -> None:
    """Who is fed when its call fails, as in a drain, is gone with the next flush."""
    world = world_of()
    client, _ = put(world, FED)
    client.session.fail(CallError(ErrorCode.MALFORMED, "no"))
    assert client.state is FED
    world.scheduler.run_soon()
    assert client.state is GONE


def test_who_is_replaced_is_gone_at_once() -> None:
    """The new connection has its place."""
    world = world_of()
    first = world.join(client="c")
    second = world.join(client="c")
    assert (first.state, second.state) == (GONE, LIVE)
