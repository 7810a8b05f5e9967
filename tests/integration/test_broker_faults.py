"""What clients see when the broker fails: for a message, for a call, and when the server itself is at fault."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from grpc import StatusCode

from bcast_grpc.broker.base import Refused
from bcast_grpc.broker.memory import MemoryBroker, MemoryOrder
from bcast_grpc.errors import BcastError, ErrorCode
from bcast_grpc.events import Entry
from bcast_grpc.v1 import chat_pb2 as pb

from .conftest import LocalDoor
from .endings import check, check_goes_on


class FailingBroker(MemoryBroker):
    """A broker that can be told to fail.

    Attributes:
        fault: what it raises instead of working.
        late: refuse what it took, instead of raising.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fault: Exception | None = None
        self.late = False

    async def open(self, room: str) -> MemoryOrder:
        """Begin, or fail."""
        if self.fault:
            raise self.fault
        return self._used.get(room) or FailingOrder(room, self)


class FailingOrder(MemoryOrder):
    """An order of such a broker."""

    def __init__(self, room: str, broker: FailingBroker) -> None:
        super().__init__(room, broker)
        self.failing = broker

    def submit(self, entries: Sequence[Entry]) -> None:
        """Submit, or fail at once, or later."""
        if not self.failing.fault:
            super().submit(entries)
        elif self.failing.late and self._deliver:
            asyncio.get_running_loop().call_soon(self._deliver, [Refused(entries, gone())])
        else:
            raise self.failing.fault


@pytest.fixture
def broker(door: LocalDoor) -> FailingBroker:
    """The server's broker, which now can be told to fail."""
    hub = door.server.hub
    broker = FailingBroker()
    hub._broker = broker
    return broker


def gone() -> BcastError:
    """What a broker raises that lost its store."""
    return BcastError(ErrorCode.BROKER_UNAVAILABLE, "the store is gone")


async def test_the_broker_fails_for_a_message(door: LocalDoor, broker: FailingBroker) -> None:
    """A message that the broker cannot take is answered by BROKER_UNAVAILABLE, and the stream goes on."""
    ana, bob = await door.connect(), await door.connect()
    for late in (False, True):
        broker.fault, broker.late = gone(), late
        await ana.send(pb.ConnectRequest(batch=[pb.ConnectRequest(msg="lost", id=f"{n}") for n in range(2)]))
        for n, event in enumerate(await ana.hear_some(2)):
            assert (event.kind, event.id) == (pb.EVENT_KIND_ERROR, f"{n}")
            assert event.error.code == pb.ERROR_CODE_BROKER_UNAVAILABLE
            assert event.error.retryable
        broker.fault = None
        await check_goes_on(ana, bob)


async def test_the_broker_fails_for_a_call(door: LocalDoor, broker: FailingBroker) -> None:
    """A call whose room cannot be opened ends with UNAVAILABLE, and nothing of it stays."""
    broker.fault = gone()
    for ending in (await door.open().end(), await door.open_reader().end(), await door.publish_in_vain("hola")):
        check(ending, StatusCode.UNAVAILABLE, "BROKER_UNAVAILABLE", retryable=True)
    assert not door.server.hub.clients
    assert not door.server.hub.rooms


@pytest.mark.parametrize("late", [False, True])
async def test_the_broker_fails_for_publish(door: LocalDoor, broker: FailingBroker, late: bool) -> None:
    """``Publish`` ends with UNAVAILABLE when the broker cannot take the message, at once or later."""
    ana = await door.connect()
    broker.fault, broker.late = gone(), late
    check(await door.publish_in_vain("lost"), StatusCode.UNAVAILABLE, "BROKER_UNAVAILABLE", retryable=True)
    broker.fault = None
    await door.publish("hola")
    assert (await ana.hear()).message == "hola"


async def test_internal(door: LocalDoor, broker: FailingBroker, caplog: pytest.LogCaptureFixture) -> None:
    """A fault of the server's own ends the call with INTERNAL, tells no secrets, is logged, and harms nobody else."""
    ana, bob = await door.connect("ana"), await door.connect()
    broker.fault = ValueError("a secret")
    await ana.say("hola")
    endings = [await ana.end(), await door.open(room="dev").end(), await door.publish_in_vain("hola")]
    for ending in endings:
        check(ending, StatusCode.INTERNAL, "INTERNAL")
        assert "secret" not in ending.text
    broker.fault = None
    assert (await bob.hear()).message == "ana left"
    await check_goes_on(bob, await door.connect())
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["a secret"] * 3
    caplog.clear()
