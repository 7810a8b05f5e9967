"""What a broker over a network may do to a server: connect at the start, be out of reach, and lose an order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import aiohttp
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bcast_grpc import CannotStart
from bcast_grpc.broker.base import CannotOpen, Deliver, Lose, Report
from bcast_grpc.broker.memory import MemoryBroker, MemoryOrder
from bcast_grpc.core.presence import LocalPresence
from bcast_grpc.errors import BcastError, CallError, ErrorCode
from bcast_grpc.events import Entry
from bcast_grpc.server import Server, parts
from bcast_grpc.v1 import chat_pb2 as pb
from tests.engine import settings

from .conftest import LocalDoor, Serve
from .peers import eventually, within

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class RemoteBroker(MemoryBroker):
    """A broker that plays one over a network.

    Attributes:
        fault: keeps it from connecting.
        did: what it was asked for: to start, to close.
        report: says whether it can be reached.
        orders: those that were opened, of all rooms.
    """

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        self.did: list[str] = []
        self.report: Report = print
        self.orders: list[RemoteOrder] = []

    async def start(self, report: Report) -> None:
        """Connect, or fail."""
        await asyncio.sleep(0)
        self.did.append("start")
        self.report = report
        if self.fault:
            raise CannotOpen(self.fault)

    async def open(self, room: str) -> MemoryOrder:
        """Open a room after a while."""
        await asyncio.sleep(0)
        if not (order := self._used.get(room)):
            order = RemoteOrder(room, self)
            self.orders.append(order)
        return order

    async def close(self) -> None:
        """Disconnect."""
        self.did.append("close")
        await super().close()


class RemoteOrder(MemoryOrder):
    """An order of such a broker.

    Attributes:
        lose: ends the order.
        answers: whether it answers what is submitted.
    """

    lose: Lose
    answers = True

    def begin(self, deliver: Deliver, lose: Lose) -> None:
        """Begin."""
        super().begin(deliver, lose)
        self.lose = lose

    def submit(self, entries: Sequence[Entry]) -> None:
        """Submit, or leave it unanswered."""
        if self.answers:
            super().submit(entries)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> RemoteBroker:
    """The broker of servers that are started from now on."""
    broker = RemoteBroker()
    monkeypatch.setattr(parts, "backend", lambda *_: parts.Backend(broker, LocalPresence()))
    return broker


async def test_a_server_connects_before_it_listens(broker: RemoteBroker, serve: Serve) -> None:
    """The broker is started once, before any client can come, and closed at the end."""
    door = await serve()
    assert broker.did == ["start"]
    await within(door.server.drain())
    assert broker.did == ["start", "close"]


async def test_a_broker_out_of_reach_keeps_a_server_from_starting(broker: RemoteBroker) -> None:
    """The error says why; nothing is left open."""
    broker.fault = "nats://127.0.0.1:4222 cannot be reached"
    server = Server(settings(port=0))
    with pytest.raises(CannotStart, match=r"nats://127\.0\.0\.1:4222 cannot be reached"):
        await server.start()
    assert broker.did == ["start", "close"]
    assert not server.urls


@pytest.mark.parametrize("service", ["", "bcast_grpc.v1.Chat"])
async def test_health_says_whether_the_broker_can_be_reached(broker: RemoteBroker, serve: Serve, service: str) -> None:
    """All doors do, again and again; clients stay meanwhile."""
    door = await serve(http_port=0)
    ana, bob = await door.connect("ana"), await door.connect("bob")
    stub: Any = health_pb2_grpc.HealthStub(door.channel())
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=service))
    assert (await within(watch.read())).status == SERVING
    for _ in range(2):
        broker.report("the broker cannot be reached")
        assert (await within(watch.read())).status == NOT_SERVING
        assert await ready(door) == (503, "the broker cannot be reached\n")
        broker.report("")
        assert (await within(watch.read())).status == SERVING
        assert await ready(door) == (200, "ready\n")
    await ana.say("hola")
    assert (await bob.hear()).message == "ana: hola"
    watch.cancel()


async def ready(door: LocalDoor) -> tuple[int, str]:
    """Ask as a load balancer does."""
    tls: Any = door.tls or True
    async with aiohttp.ClientSession() as http, http.get(f"{door.http}/readyz", ssl=tls) as response:
        return response.status, await response.text()


def out_of_reach() -> CallError:
    """Why an order cannot go on."""
    return CallError(ErrorCode.BROKER_UNAVAILABLE, "the log cannot be reached")


async def test_a_lost_order_ends_the_streams_of_its_room(broker: RemoteBroker, serve: Serve) -> None:
    """They end with UNAVAILABLE; other rooms go on; those who come back have a new order, and a GAP says so."""
    door = await serve()
    ana, bob = await door.connect("ana"), await door.connect("bob")
    eva, leo = await door.connect("eva", room="dev"), await door.connect("leo", room="dev")
    await ana.say("hola", id="1")
    await ana.answer("1")
    broker.orders[0].lose(out_of_reach())
    for peer in (ana, bob):
        ending = await peer.end()
        assert (ending.code, ending.reason) == (grpc.StatusCode.UNAVAILABLE, "BROKER_UNAVAILABLE")
        assert ending.retryable
    again = await door.connect("ana", after=f"{ana.epoch}:1")
    assert again.epoch != ana.epoch
    assert (await again.hear()).gap.reason == pb.GAP_REASON_NEW_EPOCH
    await eva.say("hola")
    assert (await leo.hear()).message == "eva: hola"
    assert len(broker.orders) == 3


async def test_a_lost_order_answers_those_who_publish(broker: RemoteBroker, serve: Serve) -> None:
    """A message without an answer ends with an error that allows a retry, as a single call and in an application."""
    door = await serve()
    await door.connect("ana")
    [order] = broker.orders
    order.answers = False
    calls = asyncio.gather(door.publish_in_vain("hola"), in_application(door))
    room = door.server.hub._rooms["lobby"]
    await eventually(lambda: len(room.answers._attached) == 2)
    order.lose(out_of_reach())
    ending, code = await within(calls)
    assert (ending.code, ending.reason, code) == (grpc.StatusCode.UNAVAILABLE, "BROKER_UNAVAILABLE", 14)


async def in_application(door: LocalDoor) -> ErrorCode:
    """Publish in vain."""
    with pytest.raises(BcastError, match="cannot be reached") as raised:
        await door.server.publish("lobby", "hola")
    return raised.value.code
