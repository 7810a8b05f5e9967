"""Clients that read too slowly: they lose messages and are told which, or are fed from the history."""

from __future__ import annotations

import pytest

from bcast_grpc.core.limits import SlowPolicy
from bcast_grpc.events import Gap, GapReason, Kind, Request

from .received import gaps, say_slowly, seqs, world_of


def test_dropping_the_oldest(caplog: pytest.LogCaptureFixture) -> None:
    """A client that reads too slowly loses the oldest messages, is told which, and stays; one line in the log."""
    world = world_of(queue_messages=8, slow_policy=SlowPolicy.DROP)
    ana, bob = world.join("ana"), world.join(batch=False)
    say_slowly(world, ana, range(1, 21))
    world.settle()
    (gap,) = gaps(bob.received)
    assert gap == Gap(1, 12, GapReason.SLOW)
    assert [event.seq for event in bob.received if event.kind is Kind.MESSAGE] == list(range(13, 21))
    assert bob.received[0].kind is Kind.GAP
    assert not bob.closed
    assert len([record for record in caplog.records if "slow consumer" in record.message]) == 1


def test_what_was_dropped_is_told_though_nothing_follows() -> None:
    """Answers took the place of all the messages in the queue: there is none left before which it could be told."""
    world = world_of(queue_messages=8, slow_policy=SlowPolicy.DROP)
    ana, bob = world.join("ana"), world.join(batch=False)
    say_slowly(world, ana, range(1, 9))
    for n in range(10):
        bob.ask(Request("who", id=f"{n}"))
    world.settle()
    assert gaps(bob.received) == [Gap(1, 8, GapReason.SLOW)]


def test_what_one_was_fed_with_is_not_called_missed() -> None:
    """Who was fed from the history and falls behind later is told of a gap after that."""
    world = world_of(queue_messages=8, slow_policy=SlowPolicy.DROP)
    ana = world.join("ana")
    ana.say("1", "2", "3")
    world.settle()
    bob = world.join(history=3, batch=False)
    bob.write()
    ana.say("4", "5", "6")
    world.settle()
    assert seqs(bob) == [1, 2, 3, 4, 5, 6]
    say_slowly(world, ana, range(7, 27))
    world.settle()
    assert gaps(bob.received) == [Gap(7, 18, GapReason.SLOW)]


def test_dropping_spares_what_is_in_no_history() -> None:
    """Departures and answers are not dropped."""
    world = world_of(queue_messages=8, slow_policy=SlowPolicy.DROP)
    ana, eva, bob = world.join("ana"), world.join("eva"), world.join(batch=True)
    ana.say("1", "2")
    eva.close()
    say_slowly(world, ana, range(3, 21))
    bob.ask(Request("join", "bob", id="renamed"))
    world.settle()
    assert [event.message for event in bob.received if event.kind is Kind.LEFT] == ["eva left"]
    assert [id_ for id_, _ in bob.answers()] == ["renamed"]


def test_catching_up(caplog: pytest.LogCaptureFixture) -> None:
    """A client that fell behind is fed from the history until it is level again, and misses nothing."""
    world = world_of(queue_messages=8, slow_policy=SlowPolicy.CATCH_UP)
    ana, eva, bob = world.join("ana"), world.join("eva"), world.join(batch=False)
    for n in range(1, 101):
        ana.say(f"{n}")
        world.scheduler.advance(1)
        ana.write_all()
        eva.write_all()
    eva.close()
    world.settle()
    ana.say("101")
    world.settle()
    assert seqs(bob) == list(range(1, 102))
    assert [event.message for event in bob.received if event.kind is Kind.LEFT] == ["eva left"]
    assert len([record for record in caplog.records if "slow consumer" in record.message]) == 1


def test_catching_up_has_its_limits() -> None:
    """What the history does not hold any more is named in a gap."""
    world = world_of(queue_messages=8, messages=20, slow_policy=SlowPolicy.CATCH_UP)
    ana, bob = world.join("ana"), world.join(batch=False)
    say_slowly(world, ana, range(1, 101))
    world.settle()
    (gap,) = gaps(bob.received)
    assert (gap.last_missed, gap.reason) == (80, GapReason.SLOW)
    assert [event.seq for event in bob.received if event.kind is Kind.MESSAGE] == [
        *range(1, gap.first_missed),
        *range(81, 101),
    ]


def test_leaving_waits_for_who_falls_behind_meanwhile() -> None:
    """Who says goodbye and is slow is given all that was said before that."""
    world = world_of(queue_messages=8, slow_policy=SlowPolicy.CATCH_UP)
    ana, bob = world.join("ana"), world.join(batch=False)
    for n in range(1, 31):
        ana.say(f"{n}")
        if n < 8:
            world.scheduler.advance(1)
            ana.write_all()
    bob.session.leave("bye")
    world.settle()
    assert bob.closed
    assert [event.seq for event in bob.received if event.kind is Kind.MESSAGE] == list(range(1, 31))
    assert bob.received[-1].id == "bye"


def test_nothing_is_called_missed_and_given_after_all() -> None:
    """Where less is kept than a flush takes, what is pending is given by the flush, and is in no gap."""
    world = world_of(messages=2)
    ana = world.join("ana")
    ana.say("1", "2")
    world.settle()
    bob = world.join(history=2, batch=False)
    ana.say(*(f"{n}" for n in range(3, 11)))  # not flushed yet
    bob.write_all()
    world.settle()
    heard = [event.seq for event in bob.received if event.kind is Kind.MESSAGE]
    told = {seq for gap in gaps(bob.received) for seq in range(gap.first_missed, gap.last_missed + 1)}
    assert sorted([*heard, *told]) == list(range(1, 11))


def test_who_is_disconnected_is_told_the_last_place() -> None:
    """So that it knows where to go on."""
    world = world_of(queue_messages=8)
    ana, bob = world.join("ana"), world.join(batch=False)
    ana.say("1")
    world.settle()
    say_slowly(world, ana, range(20))
    assert bob.error is not None
    assert "the last message sent to it is 1" in bob.error.reason
