"""The cases by which gRPC's implementations are held against each other, as far as they apply to this service."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bcast_grpc.v1 import chat_pb2 as pb
from bcast_grpc.v1 import chat_pb2_grpc

from .conftest import LocalDoor
from .peers import Ending, Peer, eventually, within

CHAT = "/bcast_grpc.v1.Chat"
ODD = '/100% "\\~,;'


async def call_in_vain(door: LocalDoor, path: str) -> Ending:
    """Return the status that a call fails with."""
    call: Any = door.channel().unary_unary(path)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await within(call(b""))
    return Ending.of(caught.value)


async def test_empty_unary(door: LocalDoor) -> None:
    """A request without a byte is a message."""
    health: Any = health_pb2_grpc.HealthStub(door.channel())
    answer = await within(health.Check(health_pb2.HealthCheckRequest()))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_large_unary(door: LocalDoor) -> None:
    """More than a window, both ways."""
    ana, data = await door.connect(), bytes(range(256)) * 256
    ack = await door.publish(data=data)
    assert ack.queued == 1
    assert (await ana.hear()).data == data


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.NoCompression])
async def test_client_compressed(door: LocalDoor, compression: grpc.Compression) -> None:
    """A compressed request, on a call of either kind."""
    bob, channel = await door.connect("bob"), door.channel()
    stub: Any = chat_pb2_grpc.ChatStub(channel)  # type: ignore[no-untyped-call]
    await within(stub.Publish(pb.PublishRequest(msg="hola " * 1000), compression=compression))
    ana = await Peer(stub.Connect(compression=compression)).arrive()
    await ana.say("¿qué tal?" * 1000)
    assert [event.message for event in await bob.hear_some(2)] == ["hola " * 1000, "¿qué tal?" * 1000]


async def test_ping_pong(door: LocalDoor) -> None:
    """Each request is answered before the next."""
    ana = await door.connect("ana")
    for n in range(10):
        await ana.say("x" * n * 5000, id=f"{n + 1}")
        assert (await ana.answer(f"{n + 1}")).id


async def test_half_duplex(door: LocalDoor) -> None:
    """All is sent, then the client's side ends, and all is answered."""
    ana = await door.connect("ana")
    for n in range(10):
        await ana.say("hola", id=f"{n}")
    await ana.half_close()
    ending = await ana.end()
    assert ending.code is StatusCode.OK
    assert [event.id for event in ending.before] == [f"{n}" for n in range(10)]


async def test_empty_stream(door: LocalDoor) -> None:
    """A client that ends its side at once has come and gone."""
    ana = door.open()
    await ana.half_close()
    assert await ana.end() == Ending(StatusCode.OK)


async def test_cancel_after_begin(door: LocalDoor) -> None:
    """The server forgets it."""
    ana = door.open("ana")
    ana.cancel()
    assert await ana.call.code() is StatusCode.CANCELLED
    await eventually(lambda: not door.server.hub.clients)


async def test_cancel_after_first_response(door: LocalDoor) -> None:
    """The same, in the middle; the others are told."""
    ana, bob = await door.connect("ana"), await door.connect("bob")
    await ana.ask("who", id="1")
    await ana.hear()
    ana.cancel()
    assert await ana.call.code() is StatusCode.CANCELLED
    assert (await bob.hear()).message == "ana left"


@pytest.mark.parametrize("method", ["Connect", "Subscribe"])
async def test_timeout_on_sleeping_server(door: LocalDoor, method: str) -> None:
    """A call that nobody says anything on ends when its time is over, at both ends."""
    stub: Any = door.stub()
    request = [] if method == "Connect" else [pb.SubscribeRequest()]
    peer = Peer(getattr(stub, method)(*request, timeout=0.3))
    assert (await peer.end()).code is StatusCode.DEADLINE_EXCEEDED
    await eventually(lambda: not door.server.hub.clients)


async def test_unimplemented_method(door: LocalDoor) -> None:
    """Of this service, and of one that is not there."""
    for path in (f"{CHAT}/Dance", "/bcast_grpc.v2.Chat/Connect"):
        assert (await call_in_vain(door, path)).code is StatusCode.UNIMPLEMENTED


@pytest.mark.grpc_engine("native", reason="grpcio's core does not name the method")
async def test_special_status_message(door: LocalDoor) -> None:
    """Whatever is in a status's text comes as it was."""
    ending = await call_in_vain(door, ODD)
    assert (ending.code, ending.text) == (StatusCode.UNIMPLEMENTED, f"{ODD}: there is no such method")


async def test_custom_metadata(door: LocalDoor) -> None:
    """Unknown keys are ignored, binary ones too."""
    ana = await door.open("ana", [("x-grpc-test-echo-initial", "x"), ("x-test-bin", b"\x0a\x0b\xff")]).arrive()
    assert ana.session
