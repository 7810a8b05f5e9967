"""TLS on every door: who is let in, what strangers are told, and certificates that change while clients are there."""

from __future__ import annotations

import asyncio
import gc
import logging
import ssl
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from websockets.exceptions import InvalidMessage

import bcast_grpc
from bcast_grpc.errors import ConnectionLost
from bcast_grpc.server import reload
from bcast_grpc.transport.tls import peer
from bcast_grpc.transport.tls.handshake import Handshake
from bcast_grpc.transport.tls.peer import subject_of
from bcast_grpc.transport.tls.records import Records
from bcast_grpc.transport.tls.transport import TlsTransport
from tests import engine
from tests.authority import HOST, Authority

from .conftest import LocalDoor, Serve
from .json_peers import SocketPeer
from .peers import eventually, within

ALL = {"http_port": 0, "tcp_port": 0}
OURS = (Handshake, Records, TlsTransport)


async def serve_tls(serve: Serve, authority: Authority, **more: Any) -> LocalDoor:
    """Start a server that speaks TLS on every door."""
    door = await serve(**ALL, **authority.sign("server").settings, **more)
    return door.trust(authority)


def ports(door: LocalDoor) -> dict[str, int]:
    """The port of each door."""
    return {"grpc": door.server.port, "http": door.server.http_port, "tcp": door.server.tcp_port}


async def ask(port: int, data: bytes) -> bytes:
    """Send bytes without TLS, and return all that comes back."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(data)
    said = await within(reader.read())
    writer.close()
    return said


async def shown(port: int, authority: Authority) -> bytes:
    """Return the certificate that a new connection is shown."""
    _, writer = await within(asyncio.open_connection(HOST, port, ssl=authority.context()))
    certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(True)
    writer.transport.abort()
    return certificate


async def test_a_room_of_all_doors(serve: Serve, authority: Authority) -> None:
    """What one sends over TLS, everyone else receives, and nothing is left of them."""
    door = await serve_tls(serve, authority)
    assert [url.partition(":")[0] for url in door.server.urls] == ["grpcs", "https", "tcps"]
    ana, bob, eva = await door.connect("ana"), await door.browse("?name=bob"), await door.plug()
    await eva.say("from the socket")
    assert (await ana.hear()).message == "from the socket"
    await bob.hear_until("from the socket")
    await ana.say("hola")
    await bob.hear_until("ana: hola")
    await eva.hear_until("ana: hola")
    await bob.say("adiós")
    await ana.hear_until("bob: adiós")


async def test_nothing_is_left(serve: Serve, authority: Authority) -> None:
    """Of connections and of handshakes, and nobody has to collect it."""
    door = await serve_tls(serve, authority)
    gc.collect()
    gc.disable()
    try:
        ana, bob = await door.plug(), await door.browse()
        await ana.say("x" * 60_000)
        await bob.hear_until("x" * 60_000)
        for port in ports(door).values():
            await ask(port, b"GET / HTTP/1.1\r\n\r\n")
            with pytest.raises(ssl.SSLError):
                await within(asyncio.open_connection(HOST, port, ssl=ssl.create_default_context()))
        await door.close()
        await eventually(lambda: not Counter(type(one) for one in gc.get_objects() if type(one) in OURS))
    finally:
        gc.enable()


@pytest.mark.grpc_engine("native", reason="the library does not answer")
async def test_those_without_tls(serve: Serve, authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    """HTTP and JSON are answered in their own words, others not at all; the log says so in one line for each."""
    caplog.set_level(logging.INFO)
    door = await serve_tls(serve, authority)
    for port in ports(door).values():
        said = await ask(port, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        assert said.startswith(b"HTTP/1.1 400 ")
        assert b"this port speaks TLS" in said
        assert b"use tcps://" in await ask(port, b'{"msg":"hola"}\n')
        assert await ask(port, b"SSH-2.0-OpenSSH_9.9\r\n") == b""
    lines = [record.getMessage() for record in caplog.records if "does not speak TLS" in record.getMessage()]
    assert len(lines) == 3 * len(ports(door))


@pytest.mark.grpc_engine("native", reason="the library says nothing")
async def test_tls_where_there_is_none(door: LocalDoor, caplog: pytest.LogCaptureFixture) -> None:
    """The log says what is wrong."""
    caplog.set_level(logging.INFO)
    with pytest.raises(ssl.SSLError):
        await within(asyncio.open_connection(HOST, door.server.port, ssl=True))
    assert [record for record in caplog.records if "speaks TLS to a port without it" in record.getMessage()]


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01"], ids=["silent", "half a hello"])
async def test_those_who_take_too_long(serve: Serve, authority: Authority, sent: bytes) -> None:
    """A handshake has a time; then it is over, on every door."""
    door = await serve_tls(serve, authority, handshake_timeout_s=0.2)
    for port in ports(door).values():
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(sent)
        with suppress(ConnectionError):
            await within(reader.read())
        writer.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
async def test_versions(serve: Serve, authority: Authority, version: ssl.TLSVersion) -> None:
    """TLS 1.2 or later."""
    door = await serve_tls(serve, authority)
    context = authority.context()
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    for port in ports(door).values():
        connecting = within(asyncio.open_connection(HOST, port, ssl=context))
        if version is ssl.TLSVersion.TLSv1_1:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await connecting
        else:
            _, writer = await connecting
            assert writer.get_extra_info("ssl_object").version() == version.name.replace("_", ".")
            writer.transport.abort()


async def test_what_each_door_speaks(serve: Serve, authority: Authority) -> None:
    """The client hears it within TLS."""
    door = await serve_tls(serve, authority)
    for name, spoken in (("grpc", "h2"), ("http", "http/1.1"), ("tcp", None)):
        context = authority.context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        _, writer = await within(asyncio.open_connection(HOST, ports(door)[name], ssl=context))
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == spoken
        writer.transport.abort()


# --- certificates of clients


async def test_clients_without_a_certificate(serve: Serve, authority: Authority) -> None:
    """Where one is required, nobody gets in without one, nor with one of another authority."""
    door = await serve_tls(serve, authority, tls_client_ca=authority.file)
    elsewhere = authority.file.parent / "elsewhere"
    elsewhere.mkdir()
    stranger = Authority(elsewhere).sign("stranger", "eve.example")
    for client in (None, stranger):
        door.trust(authority, client)
        ending = await door.open("ana").end()
        assert ending.code is grpc.StatusCode.UNAVAILABLE
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            await (await SocketPeer.connect(door.server.tcp_port, door.tls)).hear()
        with pytest.raises((ssl.SSLError, ConnectionError, InvalidMessage)):
            await door.browse()
    door.trust(authority, authority.sign("client", "ana.example"))
    ana, bob = await door.connect("ana"), await door.browse()
    await ana.say("hola")
    await bob.hear_until("ana: hola")
    (await door.plug()).reset()


@pytest.mark.grpc_engine("grpcio", reason="the server's own engine refuses the connection")
async def test_a_certificate_that_has_expired_lets_nobody_in(
    serve: Serve, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a client resumes a TLS session, gRPC does not look at it again, so each call does."""
    door = await serve_tls(serve, authority, tls_client_ca=authority.file)
    door.trust(authority, authority.sign("client", "ana.example"))
    await door.connect("ana")
    monkeypatch.setattr(peer, "time", SimpleNamespace(time=lambda: 1e12))
    ending = await door.open("bob").end()
    assert (ending.code, ending.reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
    assert "expired" in ending.text
    monkeypatch.undo()
    await door.connect("eva")


FIRST_WORDS = {
    "grpc": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    "http": b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    "tcp": b'{"operacion":"who"}',
}


@pytest.mark.parametrize("says_something", [False, True])
@pytest.mark.parametrize("scheme", FIRST_WORDS)
async def test_whoever_breaks_tls_at_once_is_no_fault_of_the_server(
    serve: Serve, authority: Authority, scheme: str, says_something: bool
) -> None:
    """A record that is none comes right behind the handshake, while the client is being let in."""
    door = await serve_tls(serve, authority)
    reader, writer = await asyncio.open_connection(HOST, ports(door)[scheme])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = authority.context().wrap_bio(incoming, outgoing, server_hostname=HOST)
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            writer.write(outgoing.read())
            incoming.write(await within(reader.read(65536)))
    if says_something:
        tls.write(FIRST_WORDS[scheme])
    writer.write(outgoing.read() + b"\x17\x03\x03\x00\x20" + bytes(32))
    with suppress(ConnectionError):
        await within(reader.read())
    writer.close()


@pytest.mark.parametrize(
    ("identities", "options", "subject"),
    [
        (["spiffe-less.example"], {}, "spiffe-less.example"),
        (["ana@example.org"], {"common_name": "ana"}, "ana"),
        (["bot.example", "10.0.0.1"], {"common_name": "bot"}, "bot.example"),
    ],
)
async def test_whom_a_certificate_names(
    authority: Authority, identities: list[str], options: dict[str, Any], subject: str
) -> None:
    """The first URI, else the first DNS name, else the common name."""
    server = authority.sign("server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=authority.pem.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(*server)
    found: asyncio.Queue[str | None] = asyncio.Queue()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.put_nowait(subject_of(writer.transport))
        writer.transport.abort()

    async with await asyncio.start_server(accept, HOST, 0, ssl=context) as listening:
        port = listening.sockets[0].getsockname()[1]
        client = authority.sign("client", *identities, **options)
        _, writer = await asyncio.open_connection(HOST, port, ssl=authority.context(client))
        assert await within(found.get()) == subject
        writer.transport.abort()


# --- certificates that change


async def test_a_reload_closes_nothing(serve: Serve, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """New connections get the new certificate, those who are there go on, and nothing they send is lost."""
    monkeypatch.setattr(reload, "LOOK_S", 0.02)
    door = await serve_tls(serve, authority)
    before = await shown(door.server.port, authority)
    ana, bob = await door.connect("ana"), await door.browse()
    sent = 0
    authority.sign("server")
    while await shown(door.server.port, authority) == before:
        await ana.say(f"{sent}")
        sent += 1
    assert await shown(door.server.http_port, authority) != before
    await ana.say("end")
    heard = [event["message"] for event in await bob.hear_until("ana: end") if event["message"].startswith("ana: ")]
    assert heard == [f"ana: {number}" for number in range(sent)]


async def test_a_reload_of_a_broken_file_changes_nothing(
    serve: Serve, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """Half of a new pair is not taken, and the log says why; with the other half it is."""
    door = await serve_tls(serve, authority)
    before = await shown(door.server.port, authority)
    key = authority.file.with_name("server-key.pem")
    old_key = key.read_bytes()
    files = authority.sign("server")
    new_key = files.key.read_bytes()
    for broken, why in ((old_key, "does not belong"), (b"", "contains no PEM private key")):
        key.write_bytes(broken)
        assert not await door.server.reload.reload()
        assert why in caplog.records[-1].getMessage()
        assert await shown(door.server.port, authority) == before
    key.write_bytes(new_key)
    assert await door.server.reload.reload()
    assert await shown(door.server.port, authority) != before


async def test_a_certificate_that_expires_soon(
    serve: Serve, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """The log warns of it."""
    soon = datetime.now(UTC) + timedelta(days=5)
    await serve(**authority.sign("server", expires=soon).settings)
    assert [record for record in caplog.records if "expires soon" in record.getMessage()]


# --- what a client is told


async def refused(target: str, **options: Any) -> str:
    """Return why a chat cannot connect."""
    with pytest.raises(ConnectionLost) as caught:
        await within(bcast_grpc.connect(f"grpcs://{target}", **options).__aenter__())
    return caught.value.reason


async def test_a_server_that_is_not_trusted(serve: Serve, authority: Authority, tmp_path: Path) -> None:
    """The error says what is wrong with its certificate."""
    trusted = bcast_grpc.Tls(ca=authority.file)
    past = datetime.now(UTC) - timedelta(days=1)
    other = await serve(**authority.sign("other", "chat.example").settings)
    old = await serve(**authority.sign("old", expires=past).settings)
    good = await serve(**authority.sign("good").settings)
    assert "its certificate is for another name" in await refused(other.address, tls=trusted)
    assert "its certificate has expired" in await refused(old.address, tls=trusted)
    assert "not signed by an authority that is trusted here" in await refused(good.address)
    async with bcast_grpc.connect(f"grpcs://{good.address}", tls=trusted) as chat:
        await chat.send("hola")


async def test_a_server_that_requires_a_certificate(serve: Serve, authority: Authority) -> None:
    """The error says so; with one, the client is let in."""
    door = await serve(**authority.sign("server").settings, tls_client_ca=authority.file)
    why = await refused(door.address, tls=bcast_grpc.Tls(ca=authority.file))
    assert "it requires a client certificate" in why or engine.engine() == "grpcio"  # which hangs up without a word
    client = authority.sign("client", "ana.example")
    tls = bcast_grpc.Tls(authority.file, *client)
    async with bcast_grpc.connect(f"grpcs://{door.address}", tls=tls) as chat:
        await chat.send("hola")


async def test_a_server_without_tls(door: LocalDoor, authority: Authority) -> None:
    """Either way round the error says what is meant."""
    if engine.engine() == "native":
        assert "does not speak TLS" in await refused(door.address, tls=bcast_grpc.Tls(ca=authority.file))


async def test_a_client_without_tls(serve: Serve, authority: Authority) -> None:
    """It is told to use it."""
    door = await serve(**authority.sign("server").settings)
    with pytest.raises(ConnectionLost) as caught:
        await within(bcast_grpc.connect(door.address).__aenter__())
    if engine.engine() == "native":
        assert "use grpcs://" in caught.value.reason
