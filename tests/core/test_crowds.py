"""Many who come and go at once: what nobody wants to hear costs nothing, what many want to is said in few writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from bcast_grpc.core.batch import Frame
from bcast_grpc.core.fanout import MAX_PATIENCE_S, NOTICES_SHARE, PATIENT_FROM
from bcast_grpc.core.limits import Limits
from bcast_grpc.core.outbox import Outbox
from bcast_grpc.core.slices import SLICE_S
from bcast_grpc.events import Kind, Request

from .world import Client, LaterBroker, World

CROWD = 300
MESSAGES = frozenset({Kind.MESSAGE})
LEFT = MESSAGES | {Kind.LEFT}
BOTH = LEFT | {Kind.JOINED}


@pytest.fixture
def world() -> World:
    """A hub with nobody in it."""
    return World()


@pytest.fixture
def offers(monkeypatch: pytest.MonkeyPatch) -> list[Outbox]:
    """Every offer that is made to a client, by its outbox."""
    made: list[Outbox] = []
    offer = Outbox.offer

    def count(outbox: Outbox, frames: Sequence[Frame], **options: Any) -> bool:
        made.append(outbox)
        return offer(outbox, frames, **options)

    monkeypatch.setattr(Outbox, "offer", count)
    return made


def crowd(world: World, *, kinds: frozenset[Kind] = LEFT, named: bool = True, count: int = CROWD) -> list[Client]:
    """Let many in; nothing is flushed yet."""
    first = len(world.clients)
    return [world.join(f"n{first + n}" if named else "", kinds=kinds) for n in range(count)]


def test_joins_that_nobody_wants_to_hear_of_cost_nothing(world: World, offers: list[Outbox]) -> None:
    """No flush is due after them, and nobody is offered anything."""
    clients = crowd(world)
    clients[0].ask(Request("join", "another"))
    assert world.scheduler.scheduled == []
    assert offers == []


def test_departures_that_nobody_wants_to_hear_of_cost_nothing(world: World, offers: list[Outbox]) -> None:
    """The same where all have said that they want no notices."""
    for client in crowd(world, kinds=MESSAGES):
        client.close()
    world.settle()
    assert offers == []


def test_ones_own_notices_are_for_the_others(world: World, offers: list[Outbox]) -> None:
    """Who alone wants notices is offered nothing of its own doing, but hears of everyone else."""
    ana = world.join("ana", kinds=BOTH)
    ana.ask(Request("join", "eva"))
    world.settle()
    assert offers == []
    world.join("bob", kinds=MESSAGES)
    world.settle()
    assert ana.texts() == ["bob joined"]


def test_a_join_costs_as_much_as_there_are_who_want_to_hear_of_it(world: World, offers: list[Outbox]) -> None:
    """One who watches a large room is offered each join; the many who do not want to know are offered nothing."""
    watcher = world.join(kinds=BOTH)
    for _ in range(CROWD):
        crowd(world, count=1)
        world.settle()
    assert len(offers) == CROWD
    assert set(offers) == {watcher.session.outbox}
    assert len(watcher.texts()) == CROWD


def test_who_asks_for_nothing_is_offered_nothing_when_others_leave(world: World, offers: list[Outbox]) -> None:
    """The end of a call is a matter between it and its room."""
    clients = crowd(world, named=False)
    for client in clients[: CROWD // 2]:
        client.session.leave()
        world.settle()
    assert offers == []
    assert world.hub.clients == CROWD - CROWD // 2


@pytest.mark.parametrize("kinds", [LEFT, BOTH])
def test_a_flood_is_told_in_few_writes(world: World, kinds: frozenset[Kind]) -> None:
    """However many come and go, those who want to know are written to a few times, and hear of each."""
    stay = crowd(world, kinds=kinds)
    world.settle()
    for client in stay:
        client.new()
        client.frames.clear()
    come_and_go = []
    for _ in range(CROWD):
        come_and_go += crowd(world, kinds=kinds, count=1)
        world.scheduler.advance(MAX_PATIENCE_S / CROWD / 10)  # a flood, though not all in one moment
    for client in come_and_go:
        client.close()
        world.scheduler.advance(MAX_PATIENCE_S / CROWD / 10)
    world.settle()
    joined = [f"n{n} joined" for n in range(CROWD, 2 * CROWD)] if Kind.JOINED in kinds else []
    for client in stay:
        assert client.texts() == joined + [f"n{n} left" for n in range(CROWD, 2 * CROWD)]
        assert len(client.frames) < 20


def test_who_comes_in_a_flood_hears_of_those_who_come_later(world: World) -> None:
    """What is told together is told to each from its own arrival on."""
    clients = crowd(world, kinds=BOTH)
    world.settle()
    for n, client in enumerate(clients):
        assert client.texts() == [f"n{later} joined" for later in range(n + 1, CROWD)]


def test_a_store_that_is_behind_does_not_tell_them_one_by_one() -> None:
    """Nor are those who come before it has answered told of what their welcome counted."""
    broker = LaterBroker()
    world = World(broker=broker)
    watchers = crowd(world, kinds=BOTH, count=5)
    world.settle()
    for client in watchers:
        client.new()
        client.frames.clear()
    watchers[0].say("hola")
    late = crowd(world, kinds=BOTH, count=CROWD)
    broker.accept()
    world.settle()
    told = [f"n{n} joined" for n in range(5, 5 + CROWD)]
    assert watchers[1].texts() == ["n0: hola", *told]
    assert len(watchers[1].frames) < 5
    for n, client in enumerate(late):
        assert client.texts() == ["n0: hola", *told[n + 1 :]]


def test_a_notice_waits_for_others_in_a_large_room_only(world: World) -> None:
    """In a small room it is told at once; in a large one within a second."""
    small, *_ = crowd(world, count=3)
    world.clients[-1].close()
    world.scheduler.run_soon()
    small.write_all()
    assert small.texts() == ["n2 left"]
    crowd(world, count=PATIENT_FROM)
    world.clients[-1].close()
    world.scheduler.run_soon()
    small.write_all()
    assert small.texts() == []
    world.scheduler.advance(MAX_PATIENCE_S)
    small.write_all()
    assert small.texts() == [f"n{PATIENT_FROM + 2} left"]


@pytest.mark.parametrize("write_s", [1e-6, 10e-6])
def test_notices_wait_as_long_as_writing_them_is_a_small_share_of_the_time(world: World, write_s: float) -> None:
    """What a write costs is seen from the last round, whatever machine and door that was."""

    def write(_: bytes) -> bool:
        world.scheduler.work(write_s)
        return True

    ana, *others = crowd(world)
    world.settle()
    for client in others:
        client.session.outbox.write_now = write
    for _ in range(2):  # the first round shows how many fit into a slice
        ana.say("hola")
        world.scheduler.run_soon()
        for client in others:
            client.write_all()
        world.scheduler.advance(1)
    others[-1].close()
    world.scheduler.run_soon()
    waits_s = world.scheduler.next_due(0) - world.scheduler.now
    assert waits_s == pytest.approx(CROWD * write_s / NOTICES_SHARE, rel=0.05)


def test_a_crowd_is_written_to_in_slices(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many at once as fit into a slice by what such writes cost, and not by what it costs to queue for the others.

    Nobody's writer is woken for that.
    """
    written: list[bytes] = []

    def write(data: bytes) -> bool:
        world.scheduler.work(10e-6)
        written.append(data)
        return True

    defer = Outbox.defer

    def queue(outbox: Outbox, frame: Frame) -> bool:
        world.scheduler.work(100e-6)
        return defer(outbox, frame)

    monkeypatch.setattr(Outbox, "defer", queue)
    ana, *others = crowd(world)
    world.settle()
    for client in others:
        client.session.outbox.write_now = write
        client.session.outbox.wake = lambda: pytest.fail("it was woken")
    ana.say("hola")
    world.settle()  # the first round shows what writes cost
    written.clear()
    ana.say("hola")
    slices = []
    while len(written) < len(others):
        world.scheduler.step()
        slices.append(len(written))
    assert slices[-2:] == [pytest.approx(SLICE_S / 10e-6, rel=0.1), len(others)]


def test_a_message_does_not_wait_with_them(world: World) -> None:
    """What is said in a large room is flushed at once, and takes along the notices before it."""
    ana, bob, eva, *_ = crowd(world)
    eva.close()
    world.scheduler.run_soon()
    bob.say("hola")
    world.scheduler.run_soon()
    ana.write_all()
    assert ana.texts() == ["n2 left", "n1: hola"]


def test_a_drain_of_many_is_not_told_to_those_who_leave_too(world: World, offers: list[Outbox]) -> None:
    """Each is offered its last words, and nothing about the others."""
    crowd(world)
    world.hub.close("over", lambda: 1.0, lambda: None)
    world.settle()
    assert len(offers) == CROWD
    assert world.hub.clients == 0


def test_more_notices_than_a_queue_holds_wait_for_nothing() -> None:
    """As many as a flush takes are flushed at once, so what waits is bounded."""
    world = World(Limits(queue_messages=400))
    watchers = crowd(world, count=PATIENT_FROM)
    extra = crowd(world, count=100)
    world.settle()
    for client in extra:
        client.close()
    world.scheduler.run_soon()
    watchers[0].write_all()
    assert watchers[0].texts() == [f"n{n} left" for n in range(PATIENT_FROM, PATIENT_FROM + 100)]
