"""What clients say and have received, in worlds that keep what was said."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.memory import MemoryBroker
from bcast_grpc.core.limits import Limits
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Ack, Event, Gap, Kind, ResumePoint

from .world import Client, World


def world_of(*, messages: int = 1000, **limits: Any) -> World:
    """A world in which so many messages are kept."""
    return World(Limits(**limits), MemoryBroker(Retention(messages=messages)))


def say_slowly(world: World, author: Client, numbers: Iterable[int]) -> None:
    """Have a client say numbers, each in a flush of its own, and read on; the others read nothing meanwhile."""
    for n in numbers:
        author.say(f"{n}")
        world.scheduler.advance(1)
        author.write_all()


def position(client: Client, seq: int) -> ResumePoint:
    """A place in the order that a client is in."""
    return ResumePoint(client.session.epoch, seq)


def seqs(client: Client) -> list[int]:
    """The places of the messages that a client has received since it was last asked."""
    return [event.seq for event in client.new() if event.kind is Kind.MESSAGE]


def gaps(events: list[Event]) -> list[Gap]:
    """What was said to be missing."""
    return [event.detail for event in events if isinstance(event.detail, Gap)]


def acks(client: Client) -> list[tuple[str, int, int, int]]:
    """The id, place, queued and refused of each ack that came."""
    return [(id_, ack.seq, ack.queued, ack.refused) for id_, ack in client.answers() if isinstance(ack, Ack)]


def code_of(client: Client) -> ErrorCode | None:
    """What a client's call ends with."""
    return client.error.code if client.error else None


def refusal(join: Callable[[], object]) -> CallError:
    """The error with which somebody is not let in."""
    with pytest.raises(CallError) as caught:
        join()
    return caught.value
