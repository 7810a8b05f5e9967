"""Who gets in, at every door: with which token, with which rights, and for how long."""

from __future__ import annotations

import logging
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError
from websockets.exceptions import ConnectionClosed

from bcast_grpc.auth import refusals
from bcast_grpc.transport.tcp_door import TcpDoor
from bcast_grpc.v1 import chat_pb2 as pb
from tests import tokens
from tests.authority import Authority

from .conftest import LocalDoor, Serve, Spawn
from .peers import Ending, Peer, eventually, within

RIGHTS = """
[anonymous]
"public/*" = ["join"]

[subjects."deploy-bot"]
"*" = ["send"]

[everyone]
"lobby" = ["join", "send", "history", "who"]
"""

Enter: TypeAlias = Callable[[LocalDoor, str], Awaitable[str]]
"""Comes to a door with a token, or none if it is empty; returns ``in``, or the code that it is refused with."""


@pytest.fixture
def unbanned(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tokens are refused, the next one is read."""
    monkeypatch.setattr(refusals, "MOST", 10**6)


@pytest.fixture
async def guarded(serve: Serve, tmp_path: Path) -> LocalDoor:
    """A server that takes tokens, at all doors."""
    return await serve(
        token_keys=(str(tokens.key_file(tmp_path)),), token_audience=tokens.AUDIENCE, http_port=0, tcp_port=0
    )


def bearer(token: str) -> dict[str, str]:
    """The metadata or headers that present a token."""
    return {"authorization": f"Bearer {token}"} if token else {}


async def by_connect(doors: LocalDoor, token: str) -> str:
    """With metadata."""
    peer = doors.open(pairs=bearer(token).items())
    return await _outcome(peer)


async def by_subscribe(doors: LocalDoor, token: str) -> str:
    """With metadata, to read only."""
    return await _outcome(doors.open_reader(pairs=bearer(token).items()))


async def _outcome(peer: Peer) -> str:
    try:
        await within(peer.call.initial_metadata())
        await peer.arrive()
    except (AssertionError, AioRpcError):
        return (await peer.end()).reason
    peer.cancel()
    return "in"


async def by_publish(doors: LocalDoor, token: str) -> str:
    """With metadata, for one message."""
    try:
        await doors.publish("hola", pairs=bearer(token).items())
    except AioRpcError as error:
        return Ending.of(error).reason
    return "in"


async def by_header(doors: LocalDoor, token: str) -> str:
    """With a header of the WebSocket's handshake."""
    return await _browse(doors, additional_headers=bearer(token))


async def by_subprotocol(doors: LocalDoor, token: str) -> str:
    """With a subprotocol, as browsers do."""
    protocols = ["bcast", *([f"bcast.token.{token}"] if token else [])]
    return await _browse(doors, subprotocols=protocols)


async def _browse(doors: LocalDoor, **options: Any) -> str:
    peer = await doors.browse("?events=welcome", **options)
    if not options.get("additional_headers") and not any(len(p) > 6 for p in options.get("subprotocols", ())):
        await peer.send({"msg": "no token"})
    return await _first_word(peer)


async def by_first_message(doors: LocalDoor, token: str) -> str:
    """With the first message of a WebSocket."""
    peer = await doors.browse("?events=welcome")
    await peer.send({"operacion": "auth", "msg": token})
    return await _first_word(peer)


async def by_first_object(doors: LocalDoor, token: str) -> str:
    """With the first object of a plain socket."""
    peer = await doors.plug()
    await peer.send({"operacion": "auth", "msg": token, "id": "in"}, {"operacion": "who", "id": "who"})
    event = await peer.hear()
    if event["kind"] == "EVENT_KIND_ERROR":
        await peer.end()
        return str(event["error"]["code"]).removeprefix("ERROR_CODE_")
    assert (event["kind"], event["id"]) == ("EVENT_KIND_ACK", "in")
    assert (await peer.hear())["id"] == "who"
    return "in"


async def _first_word(peer: Any) -> str:
    try:
        event = await peer.hear()
    except ConnectionClosed:
        return "closed"
    if event["kind"] == "EVENT_KIND_ERROR":
        await peer.end()
        return str(event["error"]["code"]).removeprefix("ERROR_CODE_")
    return "in"


DOORS: list[Enter] = [
    by_connect, by_subscribe, by_publish, by_header, by_subprotocol, by_first_message, by_first_object,
]  # fmt: skip


@pytest.mark.usefixtures("unbanned")
@pytest.mark.parametrize("enter", DOORS)
async def test_only_a_good_token_opens_a_door(
    guarded: LocalDoor, enter: Enter, caplog: pytest.LogCaptureFixture
) -> None:
    """Every wrong one gets the same answer, but for one that came too late; the log says why, without the token."""
    caplog.set_level(logging.INFO)
    wrong = tokens.wrong_tokens()
    outcomes = {what: await enter(guarded, token) for what, token in wrong.items()}
    expected = dict.fromkeys(wrong, "UNAUTHENTICATED") | {"expired": "TOKEN_EXPIRED"}
    assert outcomes == expected
    assert await enter(guarded, "") == "UNAUTHENTICATED"
    assert guarded.server.hub.rooms == []
    assert await enter(guarded, tokens.token()) == "in"
    logged = caplog.text
    assert "a token was refused" in logged
    assert not [what for what, token in wrong.items() if token in logged]


@pytest.mark.parametrize("enter", DOORS)
async def test_guessing_is_stopped(guarded: LocalDoor, enter: Enter) -> None:
    """After ten refused tokens within a minute even a good one from there is refused unread."""
    for _ in range(refusals.MOST):
        assert await enter(guarded, tokens.token(tokens.rsa_key(1))) == "UNAUTHENTICATED"
    assert await enter(guarded, tokens.token()) == "UNAUTHENTICATED"


async def test_a_token_is_never_in_an_address(guarded: LocalDoor) -> None:
    """Logs keep those: it is refused, and the error says where it belongs."""
    peer = await guarded.browse(f"?token={tokens.token()}")
    (error,) = await peer.end()
    assert error["error"]["code"] == "ERROR_CODE_METADATA_INVALID"
    assert "Authorization: Bearer TOKEN" in error["message"]
    assert tokens.token()[:20] not in error["message"]


@pytest.mark.one_engine
@pytest.mark.parametrize("silent", ["by tcp", "by websocket"])
async def test_a_client_that_presents_nothing_is_ended(serve: Serve, tmp_path: Path, silent: str) -> None:
    """It is in no room meanwhile, and is counted nowhere."""
    keys = (str(tokens.key_file(tmp_path)),)
    doors = await serve(token_keys=keys, http_port=0, tcp_port=0, handshake_timeout_s=0.5)
    peer: Any = await (doors.plug() if silent == "by tcp" else doors.browse())
    error = (await peer.end())[0]
    assert error["error"]["code"] == "ERROR_CODE_UNAUTHENTICATED"
    assert '{"operacion":"auth","msg":"TOKEN"}' in error["message"]
    assert (doors.server.hub.clients, doors.server.hub.rooms) == (0, [])


@pytest.mark.one_engine
async def test_a_client_that_is_lost_before_its_token_is_not_waited_for(serve: Serve, tmp_path: Path) -> None:
    """Nothing of it is kept until the time is over in which it might have presented one."""
    keys = (str(tokens.key_file(tmp_path)),)
    doors = await serve(token_keys=keys, tcp_port=0, handshake_timeout_s=600)
    (door,) = (door for door in doors.server.doors if isinstance(door, TcpDoor))
    peers = [await doors.plug() for _ in range(20)]
    await eventually(lambda: len(door._serving.connections) == len(peers))
    for peer in peers:
        peer.reset()
    await eventually(lambda: not door._serving.connections)


@pytest.mark.one_engine
async def test_something_else_than_a_token_ends_a_plain_socket(guarded: LocalDoor) -> None:
    """A message, a flood without an end, and a half-close."""
    for some in (b'{"msg":"hola"}', b'{"msg":"' + b"x" * 100_000, b"["):
        peer = await guarded.plug()
        await peer.write(some)
        if some == b"[":
            await peer.close()
            continue
        assert (await peer.end())[0]["error"]["code"] == "ERROR_CODE_UNAUTHENTICATED"
    await eventually(lambda: not guarded.server.hub.rooms)


@pytest.mark.one_engine
async def test_a_first_message_is_small(guarded: LocalDoor) -> None:
    """What is larger than a plain socket's first object ends a WebSocket, however it is cut, and is not kept."""
    whole, pieces = await guarded.browse(), await guarded.browse()
    await whole.socket.send(b"[" + b" " * 100_000)
    await pieces.socket.send([b"[", *([b" " * 1000] * 100)])
    for peer in (whole, pieces):
        assert (await peer.end())[0]["error"]["code"] == "ERROR_CODE_UNAUTHENTICATED"
        assert peer.closed[0] == 4007
    ana = await guarded.browse("?name=ana")
    await ana.send({"operacion": "auth", "msg": tokens.token(), "id": "in"})
    assert (await ana.hear())["kind"] == "EVENT_KIND_ACK"
    await ana.say("x" * 4_000_000, id="1")
    assert (await ana.hear())["error"]["code"] == "ERROR_CODE_MESSAGE_TOO_LARGE"


@pytest.mark.one_engine
async def test_what_follows_the_token_at_once_is_carried_out(guarded: LocalDoor) -> None:
    """In the same segment, in order, without an answer that was not asked for."""
    bob = await guarded.open("bob", pairs=bearer(tokens.token(subject="bob")).items()).arrive()
    ana = await guarded.plug()
    await ana.write(
        f'{{"operacion":"auth","msg":"{tokens.token()}"}}{{"operacion":"join","msg":"ana"}}{{"msg":"hola"}}'.encode()
    )
    assert (await bob.hear()).message == "ana: hola"


async def test_the_file_of_rights_decides_for_each_room(serve: Serve, tmp_path: Path) -> None:
    """For anonymous clients, for a subject, and for everyone; a reload takes away at once what it no longer grants."""
    path = tmp_path / "rights.toml"
    path.write_text(RIGHTS)
    doors = await serve(rights=path, token_keys=(str(tokens.key_file(tmp_path)),), http_port=0, tcp_port=0)
    bot, ana = bearer(tokens.token(subject="deploy-bot")).items(), bearer(tokens.token()).items()
    listener = await doors.connect(room="public/1")
    await doors.publish("hola", pairs=bot, room="public/1")
    assert (await listener.hear()).message == "hola"
    await listener.say("x", id="1")
    assert (await listener.answer("1")).error.code == pb.ERROR_CODE_PERMISSION_DENIED
    assert (await doors.open(pairs=bot).end()).code is StatusCode.PERMISSION_DENIED
    assert (await doors.open().end()).code is StatusCode.UNAUTHENTICATED
    member = await doors.open("ana", pairs=ana).arrive()
    path.write_text("[everyone]\n")
    doors.server.access.read()()
    for peer in (listener, member):
        assert (await peer.end()).code is StatusCode.PERMISSION_DENIED


async def test_a_certificate_is_somebody_at_every_door(serve: Serve, tmp_path: Path, authority: Authority) -> None:
    """Its name is the subject that the file of rights knows; a token beats it."""
    path = tmp_path / "rights.toml"
    path.write_text('[subjects."ana.example"]\nlobby = ["join"]\n[subjects.bot]\n"*" = ["send"]\n')
    doors = await serve(
        rights=path,
        token_keys=(str(tokens.key_file(tmp_path)),),
        http_port=0,
        tcp_port=0,
        tls_client_ca=authority.file,
        **authority.sign("server").settings,
    )
    doors.trust(authority, authority.sign("ana", "ana.example"))
    expected = {by_publish: "UNAUTHENTICATED"}  # a token would beat it
    for enter in (by_connect, by_subscribe, by_publish, by_header):
        assert await enter(doors, "") == expected.get(enter, "in")
    assert await by_publish(doors, tokens.token(subject="bot")) == "in"
    assert await by_connect(doors, tokens.token(subject="bot")) == "PERMISSION_DENIED"
    peer = await doors.plug()
    await peer.send({"msg": "hola", "id": "1"})
    assert (await peer.hear())["error"]["code"] == "ERROR_CODE_PERMISSION_DENIED"
    doors.trust(authority, authority.sign("nobody", "nobody.example"))
    for enter in (by_first_message, by_first_object):
        assert await enter(doors, tokens.token(rooms={"lobby": ["join", "who"]})) == "in"
    assert await by_connect(doors, "") == "UNAUTHENTICATED"


async def test_a_stream_ends_when_its_token_does(serve: Serve, tmp_path: Path) -> None:
    """At every door; whoever renews it in time stays."""
    doors = await serve(token_keys=(str(tokens.key_file(tmp_path)),), http_port=0, tcp_port=0)
    short = tokens.token(expires_s=6)  # until then all must have come in, and one must have renewed it
    grpc = await doors.open(pairs=bearer(short).items(), events="expiring").arrive()
    web = await doors.browse("?events=expiring", additional_headers=bearer(short))
    tcp = await doors.plug()
    await tcp.send({"operacion": "auth", "msg": short, "id": "in"})
    assert (await tcp.hear())["id"] == "in"
    renewed = await doors.open("eva", pairs=bearer(short).items(), events="all").arrive()
    await renewed.hear_until("welcome to lobby: 4 here")
    assert (await grpc.hear()).kind == pb.EVENT_KIND_EXPIRING
    assert (await web.hear())["kind"] == "EVENT_KIND_EXPIRING"
    await renewed.ask("auth", tokens.token(), id="again")
    await renewed.answer("again")
    assert (await grpc.end()).reason == "TOKEN_EXPIRED"
    assert (await web.end())[-1]["error"]["code"] == "ERROR_CODE_TOKEN_EXPIRED"
    assert web.closed[0] == 4009
    assert (await tcp.end())[-1]["error"]["code"] == "ERROR_CODE_TOKEN_EXPIRED"
    await renewed.ask("who", id="who")
    assert len((await renewed.answer("who")).members.members) == 1


async def test_a_process_never_says_a_secret(spawn: Spawn, tmp_path: Path) -> None:
    """Neither in its log at the level that says most, nor on stdout, nor in --print-config; keys and tokens alike."""
    secret = tmp_path / "secret"
    secret.write_text("a secret that nobody may ever see, of more than 32 bytes")
    flags = ("--token-keys", str(secret), "--http-port", "0", "--tcp-port", "0", "--log-level", "debug")
    server = await spawn(*flags)
    good = tokens.token(secret.read_bytes(), "HS256")
    for token in (good, tokens.token()):
        outcome = "in" if token == good else "UNAUTHENTICATED"
        assert await _outcome(server.open(pairs=bearer(token).items())) == outcome
    ana = await server.open(pairs=bearer(good).items()).arrive()
    await ana.ask("auth", tokens.token(), id="1")
    assert (await ana.answer("1")).error.code == pb.ERROR_CODE_UNAUTHENTICATED
    server.signal(signal.SIGTERM)
    _, logged = await server.exit()
    assert "a token was refused" in logged
    printing = await spawn(*flags, "--print-config")
    _, said = await printing.exit()
    for text in (logged, said, *server.said, *printing.said):
        assert secret.read_text() not in text
