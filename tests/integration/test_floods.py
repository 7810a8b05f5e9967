"""Frames that hold more than they seem to: refused or read in slices, while the others talk."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import grpc
import pytest

from bcast_grpc.transport import unfinished
from bcast_grpc.v1 import chat_pb2 as pb
from bcast_grpc.wire.protobuf_requests import MAX_REQUESTS

from .conftest import Serve
from .json_peers import WebSocketPeer
from .peers import Peer, eventually, within

pytestmark = pytest.mark.usefixtures("patient")

MIB = 2**20


def sized(tag: bytes, value: bytes) -> bytes:
    """A field with a size, whatever stands in it."""
    size, rest = bytearray(), len(value)
    while rest > 0x7F:
        size.append(rest & 0x7F | 0x80)
        rest >>= 7
    return tag + bytes([*size, rest]) + value


EMPTY = b"\x7a\x00"
"""A request of a batch that says nothing."""

TOO_MANY = {
    "empty requests": EMPTY * (2 * MIB),
    "overlong tags": b"\xfa\x00\x00" * MIB,
    "one too many": EMPTY * (MAX_REQUESTS + 1),
}
TOO_MANY_FIELDS = {
    "unknown fields": b"\x50\x00" * (2 * MIB),
    "one field again and again": b"\x12\x00" * (2 * MIB),
    "groups": b"\x53\x54" * (2 * MIB),
    "groups without an end": b"\x53" * (2 * MIB),
}
NESTED = {
    "a batch in a batch": sized(b"\x7a", EMPTY * MIB),
    "deeper": sized(b"\x7a", sized(b"\x7a", sized(b"\x7a", EMPTY * MIB))),
}


async def talk(sender: Peer, listener: Peer, attack: Awaitable[object]) -> None:
    """Let one talk to the other until the attack is over: everything is heard."""
    attacking = asyncio.ensure_future(attack)
    said: list[str] = []
    while not attacking.done():
        said.append(f"{len(said)}")
        await sender.say(said[-1])
        await asyncio.wait([attacking], timeout=0.01)
    await attacking
    await sender.say("the end")
    assert [event.message for event in await listener.hear_until("the end")] == said


@pytest.mark.parametrize("frame", TOO_MANY.values(), ids=TOO_MANY)
async def test_more_requests_than_a_frame_may_hold_are_malformed(serve: Serve, frame: bytes) -> None:
    """The call ends, with the number, before there is an object for each; ten clients at once harm nobody."""
    door = await serve()
    sender, listener = await door.connect(), await door.connect()

    async def attack() -> None:
        peer = Peer(door.raw())
        await peer.call.write(frame)
        end = await peer.end(pb.ConnectResponse.FromString)
        assert (end.code, end.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED")
        assert f"{MAX_REQUESTS}" in end.text

    await talk(sender, listener, asyncio.gather(*(attack() for _ in range(10))))


@pytest.mark.parametrize("frame", TOO_MANY_FIELDS.values(), ids=TOO_MANY_FIELDS)
async def test_more_fields_than_a_frame_may_have_are_malformed(serve: Serve, frame: bytes) -> None:
    """What no client has a reason to send is not parsed."""
    door = await serve()
    peer = Peer(door.raw())
    await within(peer.call.write(frame))
    end = await peer.end(pb.ConnectResponse.FromString)
    assert (end.reason, end.text) == ("MALFORMED", "more than 64 fields in a frame, beside its batch")


@pytest.mark.parametrize("frame", NESTED.values(), ids=NESTED)
async def test_a_large_batch_in_a_batch_is_an_event(serve: Serve, frame: bytes) -> None:
    """It is answered with an error without a look at what is in it, and the stream goes on."""
    door = await serve()
    peer, other = Peer(door.raw(pairs=[("bcast-batch", "1")])), await door.connect()
    await within(peer.call.write(frame))
    (event,) = pb.ConnectResponse.FromString(await within(peer.call.read())).batch
    assert event.error.code == pb.ERROR_CODE_MALFORMED
    await within(peer.call.write(pb.ConnectRequest(msg="hola").SerializeToString()))
    assert (await other.hear()).message == "hola"


async def test_as_many_requests_as_a_frame_may_hold_are_carried_out(serve: Serve) -> None:
    """In their order, with the others in between."""
    door = await serve()
    sender, listener = await door.connect(room="other"), await door.connect(room="other")
    many, hearer = await door.connect(), await door.connect(batch="1")
    frame = pb.ConnectRequest(batch=[pb.ConnectRequest(msg=f"{n}") for n in range(MAX_REQUESTS)])

    async def hear() -> None:
        await many.send(frame)
        assert [event.message for event in await hearer.hear_some(MAX_REQUESTS)] == [
            f"{n}" for n in range(MAX_REQUESTS)
        ]

    await talk(sender, listener, hear())


@pytest.mark.parametrize("method", ["Publish", "Subscribe"])
async def test_bodies_of_the_other_calls_have_few_fields(serve: Serve, method: str) -> None:
    """A message with a million fields is MALFORMED there too."""
    door = await serve()
    channel: Any = door.channel()
    kind = channel.unary_unary if method == "Publish" else channel.unary_stream
    call = kind(f"/bcast_grpc.v1.Chat/{method}")(b"\x50\x00" * MIB)
    assert await within(call.code()) is grpc.StatusCode.INVALID_ARGUMENT
    assert "more than 64 fields" in await within(call.details())


MANY_VALUES = {
    "empty lists": b"[" + b"[]," * MIB + b"[]]",
    "empty objects": b"[" + b"{}," * MIB + b"{}]",
    "one too many": b"[" + b"{}," * MAX_REQUESTS + b"{}]",
    "in a batch": b'{"batch":[' + b"{}," * MAX_REQUESTS + b"{}]}",
    "unknown keys": b"{" + b",".join(b'"%d":0' % n for n in range(300_000)) + b"}",
    "lists in an unknown key": b'{"x":[' + b"[[[[[]]]]]," * 300_000 + b"[]]}",
}


@pytest.mark.one_engine
@pytest.mark.parametrize("frame", MANY_VALUES.values(), ids=MANY_VALUES)
async def test_the_json_doors_refuse_as_many(serve: Serve, frame: bytes) -> None:
    """An array, or any value, of more than a frame may hold ends the connection, with the number."""
    door = await serve(http_port=0, tcp_port=0)
    sender, listener = await door.connect(), await door.connect()
    browser, plug = await door.browse("?events=none"), await door.plug()

    async def through_websocket() -> None:
        await browser.socket.send(frame.decode())
        assert f"{MAX_REQUESTS}" in (await last(browser))["error"]["reason"]
        assert browser.closed[0] == 4016

    async def through_socket() -> None:
        plug.writer.write(frame)
        event = (await plug.end())[-1]
        assert event["error"]["code"] == "ERROR_CODE_MALFORMED"
        assert f"{MAX_REQUESTS}" in event["error"]["reason"]

    async def last(peer: WebSocketPeer) -> dict[str, dict[str, str]]:
        return (await peer.end())[-1]

    await talk(sender, listener, asyncio.gather(through_websocket(), through_socket()))


@pytest.mark.one_engine
async def test_texts_full_of_commas_are_texts(serve: Serve) -> None:
    """What stands within a text is no value, however much of it there is."""
    door = await serve(http_port=0, tcp_port=0, max_message_bytes=2 * MIB, queue_bytes=16 * MIB)
    listener = await door.connect(batch="1")
    text = "[{,zz" * 200_000
    browser, plug = await door.browse(), await door.plug()
    await browser.say(text)
    assert (await listener.hear()).message == text
    await plug.say(text)
    assert (await listener.hear()).message == text


async def test_tiny_frames_by_the_thousand(serve: Serve) -> None:
    """Each door has its turns between them, however they come."""
    door = await serve(http_port=0, tcp_port=0)
    sender, listener = await door.connect(room="other"), await door.connect(room="other")
    browser, plug, peer = await door.browse(), await door.plug(), Peer(door.raw())

    async def through_websocket() -> None:
        for n in range(3000):
            await browser.socket.send("{}") if n % 3 else await browser.socket.ping()
        for _ in range(2000):
            assert (await browser.hear())["error"]["code"] == "ERROR_CODE_EMPTY_MESSAGE"

    async def through_socket() -> None:
        plug.writer.write(b"{}" * 20_000)
        for _ in range(20_000):
            assert (await plug.hear())["error"]["code"] == "ERROR_CODE_EMPTY_MESSAGE"

    async def through_grpc() -> None:
        for _ in range(1000):
            await peer.call.write(b"")
        for _ in range(1000):
            event = pb.ConnectResponse.FromString(await within(peer.call.read()))
            assert event.error.code == pb.ERROR_CODE_EMPTY_MESSAGE

    await talk(sender, listener, asyncio.gather(through_websocket(), through_socket(), through_grpc()))


def fragment(payload: bytes, *, first: bool = False, last: bool = False) -> bytes:
    """A part of a message on a WebSocket, of a client that masks with zeros."""
    return bytes([last << 7 | first, 0xFE]) + len(payload).to_bytes(2) + bytes(4) + payload


@pytest.mark.one_engine
async def test_messages_that_never_end_fill_no_memory(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection goes whose message began first, whatever it sends in between; the others may finish theirs."""
    monkeypatch.setattr(unfinished, "MAX_BYTES", 200_000)
    monkeypatch.setattr(unfinished, "_LEAST_BYTES", 200_000)
    door = await serve(http_port=0, tcp_port=0)
    listener, kept = await door.connect(), door.server._connections.unfinished
    ping = b"\x89\x80\0\0\0\0"
    browsers, plugs = [await door.browse() for _ in range(2)], [await door.plug() for _ in range(2)]
    begin, rest = b'{"msg":"' + b"x" * 30_000, b"x" * 30_000
    for total, browser in enumerate(browsers, 1):
        browser.socket.transport.write(fragment(begin, first=True) + ping + fragment(rest) + ping * 200)
        await eventually(lambda total=total: kept._total > total * 60_000)  # type: ignore[misc]
    plugs[0].writer.write(begin + rest)
    await eventually(lambda: len(kept._sizes) == 3)
    plugs[1].writer.write(begin + rest)
    await within(browsers[0].socket.wait_closed())
    browsers[1].socket.transport.write(fragment(b'"}', last=True))
    for plug in plugs:
        plug.writer.write(b'"}')
    for _ in range(3):
        assert (await listener.hear()).message == "x" * 60_000
    await eventually(lambda: not (kept._sizes or kept._total))


@pytest.mark.one_engine
async def test_nothing_is_kept_for_who_has_left(serve: Serve) -> None:
    """What comes after that is dropped, so what came of a message will never be whole."""
    door = await serve(tcp_port=0)
    plug = await door.plug()
    plug.writer.write(b'{"operacion":"leave"}{"msg":"' + b"x" * 12_000)
    await plug.end()
    kept = door.server._connections.unfinished
    assert (len(kept._sizes), kept._total) == (0, 0)
