"""A world with little memory, and what fills it."""

from __future__ import annotations

from bcast_grpc.broker.budget import Budget
from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.memory import MemoryBroker
from bcast_grpc.core.hub import Hub
from bcast_grpc.core.limits import Limits

from .world import World


def world_of(budget: Budget, **retention: int) -> World:
    """A world with a bound."""
    world = World(Limits(queue_messages=100_000, queue_bytes=1 << 30))
    broker = MemoryBroker(Retention(budget=budget, **retention))
    world.hub = Hub(broker, world.scheduler, world.hub.limits, budget)
    return world


def speak(world: World, room: str, messages: int, size: int = 10_000) -> None:
    """Let somebody say so many messages, each by itself, and go."""
    ana = world.join("ana", room=room)
    for _ in range(messages):
        ana.say("x" * size)
        world.scheduler.settle()
        ana.write_all()
    ana.session.close()


def wait(world: World, seconds: int) -> None:
    """Let time pass, as on a server."""
    for _ in range(seconds):
        world.scheduler.advance(1)
        world.hub.relieve()
