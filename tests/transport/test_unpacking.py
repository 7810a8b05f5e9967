"""Few calls have a message unpacked at once; the others wait in turn, and for nobody who does not read."""

from __future__ import annotations

import asyncio

import pytest
from google.rpc import code_pb2

from bcast_grpc.transport.grpc import unpacking
from bcast_grpc.transport.grpc.messages import StatusError
from bcast_grpc.transport.grpc.unpacking import AT_ONCE, OF_ONE, Unpacking


class Unpacker:
    """A call that unpacks, once it may."""

    def __init__(self, shared: Unpacking, *, stalled: bool = False, network: str = "") -> None:
        self.shared = shared
        self.network = network or f"{id(self)}"
        self.stalled = stalled
        self.error: StatusError | None = None
        self.inside = asyncio.Event()

    def read_on(self) -> None:
        """Unpack, if that may be."""
        if self.shared.enter(self):
            self.inside.set()

    def fail(self, error: StatusError) -> None:
        """End, as a call does."""
        self.error = error
        self.shared.leave(self)


async def test_those_who_wait_follow_in_turn() -> None:
    """As soon as another is done; one that is gone meanwhile is left out."""
    shared = Unpacking()
    calls = [Unpacker(shared) for _ in range(AT_ONCE + 3)]
    for call in calls:
        call.read_on()
    assert [call.inside.is_set() for call in calls] == [True] * AT_ONCE + [False] * 3
    shared.leave(calls[AT_ONCE])
    shared.leave(calls[0])
    await calls[AT_ONCE + 1].inside.wait()
    assert not calls[AT_ONCE + 2].inside.is_set()
    shared.leave(calls[1])
    await calls[AT_ONCE + 2].inside.wait()


async def test_nobody_waits_for_a_client_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its call ends; those that wait for something else go on."""
    monkeypatch.setattr(unpacking, "PATIENCE_S", 0.0)
    shared = Unpacking()
    inside = [Unpacker(shared, stalled=number == 2) for number in range(AT_ONCE)]
    waiting = Unpacker(shared)
    for call in (*inside, waiting):
        call.read_on()
    await waiting.inside.wait()
    assert [call.error.code for call in inside if call.error] == [code_pb2.RESOURCE_EXHAUSTED]
    assert inside[2].error


async def test_who_stops_with_all_that_it_has_makes_no_other_address_wait() -> None:
    """Its calls wait for each other, and others unpack meanwhile; when it goes on, addresses take turns."""
    shared = Unpacking()
    stopped = [Unpacker(shared, stalled=True, network="a") for _ in range(100)]
    for call in stopped:
        call.read_on()
    others = [Unpacker(shared, network=network) for network in "bcd"]
    for call in others:
        call.read_on()
    assert sum(call.inside.is_set() for call in stopped) == OF_ONE
    assert [call.inside.is_set() for call in others] == [True, True, False]
    shared.leave(others[0])
    await others[2].inside.wait()
    assert not stopped[2].inside.is_set()
    shared.leave(stopped[0])
    await stopped[2].inside.wait()
    for call in (*stopped, *others):
        shared.leave(call)
    assert not shared._inside
    assert not shared._waiting
