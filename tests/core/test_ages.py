"""Clients that have been connected for long are sent away: with all that is queued for them, and not all at once."""

from __future__ import annotations

from collections.abc import Callable

from bcast_grpc.core.ages import Ages
from bcast_grpc.core.limits import Limits
from bcast_grpc.errors import ErrorCode
from bcast_grpc.events import Closing, Kind

from .world import World

AGE_S, GRACE_S = 100.0, 5.0


class Time:
    """A clock that is set by hand."""

    s = 1000.0

    def __call__(self) -> float:
        """Return it."""
        return self.s


def aged(world: World, chance: Callable[[], float] = lambda: 0.5) -> tuple[Ages, Time]:
    """Look at a world's clients."""
    time = Time()
    return Ages(world.hub, AGE_S, GRACE_S, time, chance), time


def pass_by(ages: Ages, time: Time, s: float) -> None:
    """Let time pass, and look then."""
    time.s += s
    ages.look()


def test_a_client_that_has_been_there_for_long_is_sent_away() -> None:
    """It gets what is queued, then CLOSING, then an error that asks it to come back soon; who is newer stays."""
    world = World()
    ages, time = aged(world)
    ana = world.join("ana")
    ages.look()
    pass_by(ages, time, AGE_S - 1)
    bob = world.join("bob")
    world.settle()
    bob.say("hola")
    pass_by(ages, time, 2)
    world.settle()
    *_, message, closing = ana.received
    assert (message.message, closing.kind) == ("bob: hola", Kind.CLOSING)
    assert ana.error
    assert ana.error.code is ErrorCode.SHUTTING_DOWN
    assert ana.error.retryable
    assert closing.detail == Closing(ana.error.reason, ana.error.retry_after_s)
    assert 0 < ana.error.retry_after_s <= 1
    assert "max-connection-age-s" in ana.error.reason
    assert bob.error is None
    assert [event.message for event in bob.received if event.kind is Kind.LEFT] == ["ana left"]
    pass_by(ages, time, AGE_S)
    world.settle()
    assert bob.error
    assert not world.hub.clients
    ages.look()
    assert not ages._due_s
    assert not ages._leaving


def test_clients_that_came_together_go_at_different_times() -> None:
    """Within a tenth of the age before it, and a tenth after."""
    world = World()
    chances = iter((0.0, 0.5, 0.999, 0.5, 0.5, 0.5))
    ages, time = aged(world, lambda: next(chances))
    clients = [world.join(f"{number}") for number in range(3)]
    gone = []
    ages.look()
    for s in (AGE_S * 0.89, 2, AGE_S * 0.1, AGE_S * 0.1):
        pass_by(ages, time, s)
        world.settle()
        gone.append([client.error is not None for client in clients])
    assert gone == [[False] * 3, [True, False, False], [True, True, False], [True] * 3]


def test_a_client_that_does_not_read_is_disconnected_after_a_while() -> None:
    """What is queued for it is dropped then."""
    world = World(Limits(queue_messages=100))
    ages, time = aged(world)
    ana, bob = world.join("ana", batch=False), world.join("bob")
    world.settle()
    ages.look()
    bob.say("hola")
    world.scheduler.step()
    pass_by(ages, time, AGE_S + 1)
    while world.scheduler.step():
        pass
    pass_by(ages, time, GRACE_S - 1)
    assert not ana.session.outbox.discarded
    pass_by(ages, time, 2)
    assert ana.session.outbox.discarded
