"""What is left of clients that have gone, and of what they sent: nothing, and nobody has to collect it."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Any

import grpc
import pytest
from aiohttp import web

from bcast_grpc.core.admission import Admission
from bcast_grpc.core.batch import Run
from bcast_grpc.core.clock import FlushClock
from bcast_grpc.core.member import Member
from bcast_grpc.core.outbox import Outbox
from bcast_grpc.core.publisher import Publisher
from bcast_grpc.core.room import Room
from bcast_grpc.core.session import Session
from bcast_grpc.events import Entry, Request
from bcast_grpc.transport import tcp_connection, websocket
from bcast_grpc.transport.grpc.calls import Calls
from bcast_grpc.transport.grpc.chat_call import ChatCall
from bcast_grpc.transport.grpc.connection import Connection
from bcast_grpc.transport.grpc.reader import Reader
from bcast_grpc.transport.grpc.service_call import ServiceCall
from bcast_grpc.transport.grpc.writer import Writer
from bcast_grpc.transport.stream import Stream
from bcast_grpc.v1 import chat_pb2 as pb
from bcast_grpc.wire.json_stream import RequestReader
from benchmarks.attacker import Attacker, request

from .conftest import LocalDoor, Serve
from .peers import Peer, eventually, within

OURS = (
    *(Admission, Entry, FlushClock, Member, Outbox, Publisher, Request, RequestReader, Room, Run, Session, Stream),
    *(ChatCall, ServiceCall),
    *(tcp_connection.Connection, websocket._Connection, web.WebSocketResponse, web.Request),
)
"""What there is of a client and of its frames."""

OF_CONNECTIONS = (Calls, Connection, Reader, Writer)
"""What there is of a gRPC connection: it stays as long as its client's library keeps it open."""

LARGE = pb.ConnectRequest(batch=[pb.ConnectRequest(msg=f"{n} " + "x" * 1000) for n in range(1000)])
TEXT = "[" + ",".join('{"msg":"' + "x" * 1000 + '"}' for _ in range(1000)) + "]"

Visit = Callable[[LocalDoor], Awaitable[None]]


@pytest.fixture(autouse=True)
def _without_a_collector() -> Iterator[None]:
    """Only references are counted, no cycle is found."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def things(kinds: Collection[type] = OURS) -> Counter[str]:
    """How many objects of each kind there are."""
    return Counter(type(thing).__name__ for thing in gc.get_objects() if type(thing) in kinds)


async def half_close(door: LocalDoor) -> None:
    """Send much, leave, and read to the end."""
    peer = await door.connect("ana", batch="1")
    await peer.send(LARGE)
    await peer.half_close()
    await peer.end()


async def break_off(door: LocalDoor) -> None:
    """Send much, and be gone."""
    peer = await door.connect("ana", batch="1")
    await peer.send(LARGE)
    await peer.ask("who", id="heard")
    await peer.answer("heard")
    peer.cancel()


async def send_rubbish(door: LocalDoor) -> None:
    """Be ended by an error."""
    peer = Peer(door.raw())
    await within(peer.call.write(b"\x7a\x00" * 20_000))
    await peer.end(pb.ConnectResponse.FromString)


async def be_replaced(door: LocalDoor) -> None:
    """Be thrown out by oneself."""
    first = await door.connect("ana", client="x")
    second = await door.connect("ana", client="x")
    await first.end()
    await second.half_close()
    await second.end()


async def subscribe(door: LocalDoor) -> None:
    """Read for a while."""
    (await door.subscribe("ana")).cancel()


async def publish(door: LocalDoor) -> None:
    """Send without a stream."""
    await door.publish("hola", room="other")


async def cancel_publish(door: LocalDoor) -> None:
    """Begin to publish, and think better of it."""
    channel = door.channel()
    call: Any = channel.stream_stream("/bcast_grpc.v1.Chat/Publish")()
    await within(call.wait_for_connection())
    check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
    await within(check(b""))  # by then the server has seen the call
    call.cancel()


async def publish_too_much(door: LocalDoor) -> None:
    """Send a message that is larger than any may be."""
    call = door.raw("Publish")
    await within(call.write(bytes(5_000_000)))
    assert await within(call.code()) is grpc.StatusCode.RESOURCE_EXHAUSTED


async def close_websocket(door: LocalDoor) -> None:
    """Send much, and say goodbye."""
    browser = await door.browse("?batch=1")
    await browser.socket.send(TEXT)
    await browser.send({"operacion": "who", "id": "heard"})
    await browser.hear()
    await browser.socket.close()


async def drop_websocket(door: LocalDoor) -> None:
    """Send much, and be gone."""
    browser = await door.browse("?batch=1")
    await browser.socket.send(TEXT)
    await browser.send({"operacion": "who", "id": "heard"})
    await browser.hear()
    browser.socket.transport.abort()


async def leave_websocket(door: LocalDoor) -> None:
    """Send what is no JSON."""
    browser = await door.browse()
    await browser.socket.send("hola")
    await browser.end()


async def close_socket(door: LocalDoor) -> None:
    """Send much, half-close, and read to the end."""
    if door.tls:
        pytest.skip("the event loop's own TLS cannot half-close")
    plug = await door.plug()
    plug.writer.write(TEXT.encode())
    plug.writer.write_eof()
    await plug.end()


async def reset_socket(door: LocalDoor) -> None:
    """Send half of much, and be gone."""
    plug = await door.plug()
    plug.writer.write(TEXT.encode()[:-1])
    await plug.writer.drain()
    plug.reset()


async def misuse_socket(door: LocalDoor) -> None:
    """Send what is no JSON."""
    plug = await door.plug()
    plug.writer.write(b"GET / HTTP/1.0\r\n\r\n")
    await plug.end()


@pytest.mark.parametrize(
    "visit",
    [
        *(half_close, break_off, send_rubbish, be_replaced, subscribe, publish, cancel_publish, publish_too_much),
        *(
            pytest.param(visit, marks=pytest.mark.one_engine)
            for visit in (close_websocket, drop_websocket, leave_websocket, close_socket, reset_socket, misuse_socket)
        ),
    ],
)
async def test_nothing_is_left_of_who_has_gone(serve: Serve, visit: Visit) -> None:
    """However it went; after the third there is no more than after the first."""
    door = await serve(http_port=0, tcp_port=0, history_messages=0)
    before = things()
    for _ in range(3):
        await visit(door)
    await eventually(lambda: not things() - before, every_s=0.1)


@pytest.mark.grpc_engine("native", reason="grpcio's connections are not ours")
async def test_nothing_is_left_of_a_connection(serve: Serve) -> None:
    """Once its client has closed it, with a call on it."""
    door = await serve()
    before = things(OF_CONNECTIONS)
    for _ in range(3):
        client = await Attacker.connect(door.address)
        await client.send(request(1))
        await client.is_heard()
        client.close()
    await eventually(lambda: not things(OF_CONNECTIONS) - before)


async def test_nothing_is_left_of_a_frame_that_was_handled(serve: Serve) -> None:
    """Who stays connected after it has sent much is no dearer for it, at any door."""
    door = await serve(http_port=0, tcp_port=0, history_messages=0)
    await door.connect("listener", batch="1")
    peer, browser, plug = await door.connect(batch="1"), await door.browse("?batch=1"), await door.plug()
    await eventually(lambda: door.server.hub.clients == 4)
    before = things()
    await peer.send(LARGE)
    await browser.socket.send(TEXT)
    plug.writer.write(TEXT.encode())
    for one in (browser, plug):
        await one.send({"operacion": "who", "id": "heard"})
        await one.hear_until("4 here: listener and 3 without a name")
    await peer.ask("who", id="heard")
    await peer.answer("heard")
    await eventually(lambda: not things() - before, every_s=0.1)
