"""The server looks at a token and forgets it: it holds none while a client is in its room, and none afterwards."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Awaitable, Callable
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import jwt
import pytest

from bcast_grpc.http2 import frames as wire
from bcast_grpc.v1 import chat_pb2 as pb
from benchmarks.attacker import ACKNOWLEDGEMENT, CONNECT, GREETING, PUBLISH, Attacker, block, data, message, request
from tests import tokens

from .conftest import LocalDoor, Serve
from .peers import eventually, within

HANDSHAKE = (
    "GET /ws?events=welcome HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}\r\n"
)

Way: TypeAlias = tuple[str, "Way | None"]
"""The kind of a thing, and the way to it."""

Come: TypeAlias = Callable[[LocalDoor, str], Awaitable[Callable[[], None]]]
"""Presents a token, given backwards so that nothing in the test holds it; returns what ends the connection."""


def backwards() -> str:
    """A token that nothing holds; it is short, so that it fits into any cache."""
    return jwt.encode(tokens.claims(), tokens.ed_key(), "EdDSA")[::-1]


def held(backwards: str) -> list[str]:
    """Find what holds a token, in all that Python knows of: the kinds of things that lead to it."""
    forms: dict[type, str | bytes] = {str: backwards[::-1], bytes: backwards[::-1].encode()}
    forms[bytearray] = forms[bytes]
    found: list[str] = []
    tracked = gc.get_objects()
    pending: list[tuple[object, Way]] = [
        (thing, (type(thing).__name__, None)) for thing in tracked if thing is not forms
    ]
    seen = {id(thing) for thing in tracked}
    while pending:
        thing, way = pending.pop()
        for part in gc.get_referents(thing):
            if form := forms.get(type(part)):
                if part is not form and form in part:
                    found.append(spell(way))
            elif id(part) not in seen:
                seen.add(id(part))
                pending.append((part, (type(part).__name__, way)))
    return found


def spell(way: Way | None) -> str:
    """Name what leads to a thing."""
    return f"{spell(way[1])} → {way[0]}" if way else ""


async def by_connect(doors: LocalDoor, backwards: str) -> Callable[[], None]:
    """With metadata."""
    attacker = await Attacker.connect(doors.address, ssl=doors.tls)
    await attacker.is_heard()
    await attacker.send(request(1, block(CONNECT, ("authorization", f"Bearer {backwards[::-1]}"))))
    await within(attacker.until(lambda: 1 in attacker.answered))
    return attacker.close


async def by_an_early_call(doors: LocalDoor, backwards: str) -> Callable[[], None]:
    """With metadata, before it is agreed that there is no table of them."""
    attacker = await Attacker.connect(doors.address, GREETING.removesuffix(ACKNOWLEDGEMENT), ssl=doors.tls)
    await attacker.send(request(1, block(CONNECT, ("authorization", f"Bearer {backwards[::-1]}"))))
    await within(attacker.until(lambda: 1 in attacker.answered))
    await attacker.send(ACKNOWLEDGEMENT)
    await attacker.is_heard()
    return attacker.close


async def by_publish(doors: LocalDoor, backwards: str) -> Callable[[], None]:
    """With metadata, for one message."""
    attacker = await Attacker.connect(doors.address, ssl=doors.tls)
    await attacker.is_heard()
    published = message(pb.PublishRequest(msg="hola").SerializeToString())
    await attacker.send(
        request(1, block(PUBLISH, ("authorization", f"Bearer {backwards[::-1]}"))) + data(1, published, wire.END_STREAM)
    )
    await within(attacker.until(lambda: 1 in attacker.ended))
    return attacker.close


async def by_a_health_check(doors: LocalDoor, backwards: str) -> Callable[[], None]:
    """With metadata that nobody asked for."""
    attacker = await Attacker.connect(doors.address, ssl=doors.tls)
    await attacker.is_heard()
    watch = block("/grpc.health.v1.Health/Watch", ("authorization", f"Bearer {backwards[::-1]}"))
    await attacker.send(request(1, watch) + data(1, message(b"")))
    await within(attacker.until(lambda: 1 in attacker.answered))
    return attacker.close


async def by_renewal(doors: LocalDoor, backwards: str) -> Callable[[], None]:
    """On a running stream."""
    attacker = await Attacker.connect(doors.address, ssl=doors.tls)
    await attacker.send(request(1, block(CONNECT, ("authorization", f"Bearer {tokens.token()}"))))
    await within(attacker.until(lambda: 1 in attacker.answered))
    renewal = pb.ConnectRequest(operacion="auth", msg=backwards[::-1], id="1").SerializeToString()
    await attacker.send(data(1, message(renewal)))
    del renewal
    await within(attacker.until(lambda: attacker.taken > 0))
    return attacker.close


async def by_header(doors: LocalDoor, backwards: str) -> Callable[[], None]:
    """With a header of the WebSocket's handshake."""
    return await _browse(doors, lambda: HANDSHAKE.format(f"Authorization: Bearer {backwards[::-1]}\r\n").encode())


async def by_subprotocol(doors: LocalDoor, backwards: str) -> Callable[[], None]:
    """With a subprotocol, as browsers do."""
    offer = "Sec-WebSocket-Protocol: bcast, bcast.token.{}\r\n"
    return await _browse(doors, lambda: HANDSHAKE.format(offer.format(backwards[::-1])).encode())


async def by_first_message(doors: LocalDoor, backwards: str) -> Callable[[], None]:
    """With the first message of a WebSocket."""

    def handshake() -> bytes:
        text = json.dumps({"operacion": "auth", "msg": backwards[::-1]}).encode()
        return (
            HANDSHAKE.format("").encode() + b"\x81\xfe" + len(text).to_bytes(2) + bytes(4) + text
        )  # masked with zeros

    return await _browse(doors, handshake)


async def _browse(doors: LocalDoor, sent: Callable[[], bytes]) -> Callable[[], None]:
    reader, writer = await asyncio.open_connection("127.0.0.1", doors.server.http_port, ssl=doors.tls)
    writer.write(sent())
    await within(reader.readuntil(b"EVENT_KIND_WELCOME"))
    return writer.close


async def by_first_object(doors: LocalDoor, backwards: str) -> Callable[[], None]:
    """With the first object of a plain socket."""
    reader, writer = await asyncio.open_connection("127.0.0.1", doors.server.tcp_port, ssl=doors.tls)
    writer.write(json.dumps({"operacion": "auth", "msg": backwards[::-1], "id": "in"}).encode())
    await within(reader.readuntil(b"EVENT_KIND_ACK"))
    return writer.close


@pytest.mark.one_engine
def test_what_is_held_is_found() -> None:
    """As the key of a cache, too, and as a part of something longer."""
    token = backwards()
    assert not held(token)
    kept = lru_cache(lambda text, number: number)
    kept(f"Bearer {token[::-1]}", 1)
    assert len(held(token)) == 1
    kept.cache_clear()
    assert not held(token)


@pytest.mark.grpc_engine("native", reason="what grpcio keeps is not ours")
@pytest.mark.parametrize(
    "come",
    [
        *(by_connect, by_an_early_call, by_publish, by_a_health_check, by_renewal),
        *(by_header, by_subprotocol, by_first_message, by_first_object),
    ],
)
async def test_the_server_does_not_hold_tokens(serve: Serve, tmp_path: Path, come: Come) -> None:
    """As soon as a client is in its room, whichever way its token came."""
    key = tmp_path / "ed.pem"
    key.write_bytes(tokens.pem_of(tokens.ed_key()))
    keys = str(key), str(tokens.key_file(tmp_path))
    doors = await serve(token_keys=keys, token_audience=tokens.AUDIENCE, http_port=0, tcp_port=0)
    token = backwards()
    leave = await come(doors, token)
    found = held(token)
    leave()
    assert not found


@pytest.mark.grpc_engine("native", reason="what grpcio keeps is not ours")
async def test_the_server_does_not_hold_what_it_refuses(serve: Serve, tmp_path: Path) -> None:
    """While the connection goes on."""
    doors = await serve(token_keys=(str(tokens.key_file(tmp_path)),))
    token = backwards()
    attacker = await Attacker.connect(doors.address, ssl=doors.tls)
    await attacker.is_heard()
    await attacker.send(request(1, block(CONNECT, ("authorization", f"Bearer {token[::-1]}"))))
    await within(attacker.until(lambda: 1 in attacker.ended))
    found = held(token)
    attacker.close()
    assert not found


@pytest.mark.parametrize(
    "asked",
    [
        (
            "GET /ws?token={} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ),
        "GET /?token={} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}\r\n\r\n",
        (
            "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://evil.example\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Protocol: bcast, bcast.token.{}\r\n\r\n"
        ),
    ],
    ids=["in the address", "in the address of the page", "no handshake", "the page", "a foreign page"],
)
async def test_no_token_is_left_of_an_http_request(serve: Serve, tmp_path: Path, asked: str) -> None:
    """Whatever the answer is: the server closes the connection, and nothing remembers the address."""
    doors = await serve(token_keys=(str(tokens.key_file(tmp_path)),), http_port=0)
    token = backwards()
    reader, writer = await asyncio.open_connection("127.0.0.1", doors.server.http_port, ssl=doors.tls)
    writer.write(asked.format(token[::-1]).encode())
    assert await within(reader.readuntil(b"\r\n\r\n"))
    if asked.startswith("GET /ws?"):
        writer.write(b"\x88\x80\0\0\0\0")  # to a close of the WebSocket
    await within(reader.read())
    writer.close()
    await eventually(lambda: not held(token))
