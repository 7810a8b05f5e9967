"""The wall's clock may be set: what every broker keeps is measured by another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from bcast_grpc.broker.base import Broker
from bcast_grpc.events import Stamp

from .desk import Desk, kept
from .kinds import KEEPING, BrokerKind, ManualClock, Room, entries, new_room, opened, wait

# --- a clock that is set


@pytest.mark.parametrize("step_s", [200, -200, 1e9, -1e9])
def test_a_step_of_the_walls_clock_makes_no_retry_new(broker: Desk[Broker], clock: ManualClock, step_s: float) -> None:
    """An id is remembered for as long as ``dedup-s`` says, whatever the system's clock is set to meanwhile."""
    room, name = Room(), new_room()
    broker.open(name, room)
    broker.publish(name, entries("a"))
    clock.step_s(step_s)
    clock.pass_s(9)
    broker.expire()
    broker.publish(name, entries("a"))
    wait(broker)
    assert ([event.seq for event in room.events], [place.seq for _, place in room.repeated_entries]) == ([1], [1])


@pytest.mark.parametrize("step_s", [3700, -3700])
def test_a_step_of_the_walls_clock_drops_no_history(broker: Desk[Broker], clock: ManualClock, step_s: float) -> None:
    """Messages are kept for as long as ``history-age-s`` says, in a room with somebody in it and in one without."""
    left, name = new_room(), new_room()
    for each in (left, name):
        room = Room()
        order = broker.open(each, room)
        broker.publish(each, entries("a"))
    wait(broker)
    broker.release(left)
    clock.step_s(step_s)
    broker.expire()
    wait(broker)
    assert kept(order) == room.events
    assert [event.message for event in kept(broker.open(left, Room()))] == ["ana: a"]


def test_a_step_back_keeps_nothing_for_longer(broker: Desk[Broker], clock: ManualClock) -> None:
    """After ``dedup-s`` an id is new, after ``history-age-s`` a message is dropped, though the wall clock is behind."""
    room, name = Room(), new_room()
    order = broker.open(name, room)
    broker.publish(name, entries("a"))
    wait(broker)
    clock.step_s(-3700)
    clock.pass_s(11)
    broker.publish(name, entries("a"))
    wait(broker)
    assert ([event.seq for event in room.events], room.repeated_entries) == ([1, 2], [])
    clock.pass_s(55)
    broker.expire()
    assert [event.seq for event in kept(order)] == [2]
    clock.pass_s(10)
    broker.expire()
    assert kept(order) == []


@pytest.mark.parametrize("step_s", [3700, -3700])
def test_what_comes_after_a_step_is_measured_as_well(broker: Desk[Broker], clock: ManualClock, step_s: float) -> None:
    """Messages from before and after a step are each dropped at their own age."""
    room, name = Room(), new_room()
    order = broker.open(name, room)
    broker.publish(name, entries("a"))
    wait(broker)
    clock.pass_s(30)
    clock.step_s(step_s)
    broker.publish(name, entries("b"))
    wait(broker)
    clock.pass_s(31)
    broker.expire()
    assert [event.seq for event in kept(order)] == [2]
    clock.pass_s(30)
    broker.expire()
    assert kept(order) == []


# --- another process


@pytest.mark.parametrize("step_s", [3700, -3700])
def test_a_step_of_the_walls_clock_between_two_processes(
    kind: BrokerKind, tmp_path: Path, clock: ManualClock, step_s: float
) -> None:
    """It drops no history and makes no retry new, and nothing is kept for longer; what is shown stays as it was.

    Servers that share a log have only the wall's clock in common.
    """
    if not kind.durable or kind.shared:
        return
    with opened(kind, tmp_path, clock, KEEPING) as reopen:
        room, later, broker = Room(), Room(), reopen()
        first = broker.open("lobby", room)
        broker.publish("lobby", entries("a"))
        wait(broker)
        broker.close()
        clock.pass_s(9)
        clock.step_s(step_s)
        broker = reopen()
        second = broker.open("lobby", later)
        broker.publish("lobby", entries("a"))
        wait(broker)
        assert (second.epoch, kept(second)) == (first.epoch, room.events)
        assert [place for _, place in later.repeated_entries] == [Stamp(1, room.events[0].time_ns)]
        broker.close()
        clock.pass_s(2)
        clock.step_s(-2 * step_s)
        broker = reopen()
        broker.open("lobby", Room())
        broker.publish("lobby", entries("a"))
        wait(broker)
        broker.close()
        clock.pass_s(61)
        assert reopen().open("lobby", Room()).epoch != first.epoch


@pytest.mark.parametrize(("passed_s", "is_kept"), [(50, True), (-3700, True), (70, False)])
def test_after_a_restart_of_the_machine_the_walls_clock_is_all_there_is(
    kind: BrokerKind, tmp_path: Path, clock: ManualClock, passed_s: float, is_kept: bool
) -> None:
    """The time without a machine is what the wall's clock says, but never less than none."""
    if not kind.durable:
        return
    with opened(kind, tmp_path, clock, KEEPING) as reopen:
        room, broker = Room(), reopen()
        first = broker.open("lobby", room)
        broker.publish("lobby", entries("a"))
        wait(broker)
        broker.close()
        clock.started, clock.steady_ns = "tomorrow", 1
        clock.step_s(passed_s)
        second = reopen().open("lobby", Room())
        assert (second.epoch == first.epoch) == (is_kept or kind.shared)  # NATS has not restarted
        assert kept(second) == (room.events if is_kept else [])
