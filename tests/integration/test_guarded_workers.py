"""Workers that guard all doors: with TLS, tokens, rights and certificates, each of them as a single server would."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import grpc
import pytest
from grpc.aio import AioRpcError
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import ConnectionClosed, InvalidMessage

from bcast_grpc.v1 import chat_pb2 as pb
from tests import tokens
from tests.authority import HOST, Authority, Files

from .conftest import ServerProcess, Spawn
from .json_peers import SocketPeer, WebSocketPeer
from .peers import Peer, eventually, within
from .test_workers import children, read_until, served_by

pytestmark = pytest.mark.usefixtures("nats_in_path")

RIGHTS = """
[subjects.reader]
"*" = ["join", "who"]

[subjects."ana.example"]
lobby = ["join", "send"]
"""

DENIED, UNKNOWN = "PERMISSION_DENIED", "UNAUTHENTICATED"


class Workers:
    """Two workers with all doors, and clients that trust an authority, with a certificate or none.

    Attributes:
        server: their supervisor.
        ports: by door.
    """

    def __init__(self, server: ServerProcess, authority: Authority) -> None:
        self.server = server
        self.ports = {(url := urlsplit(line.split()[-1])).scheme: url.port or 0 for line in server.said}
        self._authority = authority
        self.come_with(None)

    def come_with(self, certificate: Files | None) -> None:
        """Have clients show a certificate from now on."""
        self.tls = self._authority.context(certificate)
        key, cert = (certificate.key.read_bytes(), certificate.cert.read_bytes()) if certificate else (None, None)
        self.server.credentials = grpc.ssl_channel_credentials(self._authority.pem, key, cert)

    @property
    def pids(self) -> set[int]:
        """The workers."""
        return children(self.server.process.pid)

    async def at_each(self, door: str, come: Callable[[], Awaitable[object]]) -> None:
        """Have clients come until each worker has one at a door."""
        for _ in range(100):
            await come()
            if all(served_by(pid, self.ports[door]) for pid in self.pids):
                return
        raise AssertionError("the system gave all connections to one worker")

    async def certificate(self, door: str) -> bytes:
        """Return the certificate that a new connection is shown."""
        _, writer = await within(asyncio.open_connection(HOST, self.ports[door], ssl=self.tls))
        shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
        return shown

    async def browse(self, token: str = "") -> WebSocketPeer:
        """Open a WebSocket."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        url = f"wss://{HOST}:{self.ports['https']}/ws"
        return WebSocketPeer(await within(connect_websocket(url, ssl=self.tls, additional_headers=headers)))

    async def plug(self) -> SocketPeer:
        """Open a plain socket."""
        return await SocketPeer.connect(self.ports["tcps"], self.tls)


Say: TypeAlias = Callable[[Workers, str], Awaitable[str]]
"""Comes with a token, or none if it is empty, and says something; returns ``said``, or the code of the refusal."""

_kept: list[Any] = []
"""Clients that stay until the test ends."""


@pytest.fixture(autouse=True)
def nobody_stays() -> Any:
    """All clients go."""
    yield
    _kept.clear()


async def by_grpc(workers: Workers, token: str) -> str:
    """With metadata."""
    pairs = [("authorization", f"Bearer {token}")] if token else []
    peer = workers.server.open(pairs=pairs)
    _kept.append(peer)
    try:
        await peer.arrive()
    except (AssertionError, AioRpcError):
        return (await peer.end()).reason
    await peer.say("hola", id="1")
    answer = await peer.answer("1")
    return pb.ErrorCode.Name(answer.error.code).removeprefix("ERROR_CODE_") if answer.HasField("error") else "said"


async def by_websocket(workers: Workers, token: str) -> str:
    """With a header of the handshake."""
    return await _say(await workers.browse(token))


async def by_socket(workers: Workers, token: str) -> str:
    """With the first object."""
    peer = await workers.plug()
    if token:
        await peer.send({"operacion": "auth", "msg": token})
    return await _say(peer)


async def _say(peer: WebSocketPeer | SocketPeer) -> str:
    _kept.append(peer)
    with suppress(ConnectionClosed, ConnectionError):  # the refusal may have come first
        await peer.say("hola", id="1")
    while (event := await peer.hear())["kind"] not in ("EVENT_KIND_ACK", "EVENT_KIND_ERROR") or not event.get(
        "id", "1"
    ):
        pass
    return "said" if event["kind"] == "EVENT_KIND_ACK" else str(event["error"]["code"]).removeprefix("ERROR_CODE_")


DOORS: dict[str, Say] = {"grpcs": by_grpc, "https": by_websocket, "tcps": by_socket}


async def start(spawn: Spawn, authority: Authority, *more: str) -> Workers:
    """Start two workers, all doors of which speak TLS."""
    flags = ("--workers", "2", "--http-port", "0", "--tcp-port", "0", *authority.sign("server").flags, *more)
    server = await spawn(*flags)
    assert server.process.stdout
    for _ in range(2):
        server.said.append((await within(server.process.stdout.readline())).decode())
    return Workers(server, authority)


async def test_every_worker_asks_for_tokens_at_every_door(spawn: Spawn, authority: Authority, tmp_path: Path) -> None:
    """A good one may do what the rights say; a key that is taken away opens none of them any more."""
    (tmp_path / "rights.toml").write_text(RIGHTS + '[subjects.ana]\n"*" = ["join", "send"]\n')
    keys = tokens.key_file(tmp_path)
    rights = ("--token-keys", str(keys), "--token-audience", tokens.AUDIENCE, "--rights", str(tmp_path / "rights.toml"))
    workers = await start(spawn, authority, *rights)
    good, reader = tokens.token(), tokens.token(subject="reader")
    for door, say in DOORS.items():

        async def come(say: Say = say) -> None:
            assert await say(workers, good) == "said"
            assert await say(workers, reader) == DENIED

        await workers.at_each(door, come)
    for door, say in DOORS.items():
        assert await say(workers, tokens.token(tokens.rsa_key(1))) == UNKNOWN, door  # after ten, none would be read
    keys.write_bytes(tokens.pem_of(tokens.ed_key()))
    workers.server.signal(signal.SIGHUP)
    log = ""
    while log.count("reloaded: keys for tokens") < len(workers.pids):
        log += await read_until(workers.server, "reloaded: keys for tokens")
    new = tokens.token(tokens.ed_key(), "EdDSA")
    for door, say in DOORS.items():
        assert [await say(workers, good) for _ in range(2)] == [UNKNOWN] * 2, door
        assert [await say(workers, new) for _ in range(4)] == ["said"] * 4, door


async def test_a_new_certificate_is_shown_by_every_worker(spawn: Spawn, authority: Authority) -> None:
    """Who is there stays, and those of different workers hear each other."""
    workers = await start(spawn, authority)
    before = {await workers.certificate(door) for door in DOORS}
    assert len(before) == 1
    peers: list[Peer] = []

    async def come() -> None:
        peers.append(await workers.server.connect(f"c{len(peers)}"))

    await workers.at_each("grpcs", come)
    new = authority.sign("server")
    workers.server.signal(signal.SIGHUP)
    log = ""
    while log.count("reloaded:") < len(workers.pids):
        log += await read_until(workers.server, "reloaded:")
    expected = {ssl.PEM_cert_to_DER_cert(new.cert.read_text())}
    for door in DOORS:
        assert {await workers.certificate(door) for _ in range(10)} == expected
    await peers[0].say("hola")
    for peer in peers[1:]:
        await peer.hear_until("c0: hola")


async def test_a_certificate_is_somebody_at_every_worker(spawn: Spawn, authority: Authority, tmp_path: Path) -> None:
    """At each door; whoever shows none, or that of a stranger, is not let in, at whichever worker."""
    (tmp_path / "rights.toml").write_text(RIGHTS)
    more = ("--tls-client-ca", str(authority.file), "--rights", str(tmp_path / "rights.toml"))
    workers = await start(spawn, authority, *more)
    for name, expected in (("ana.example", "said"), ("eva.example", DENIED)):
        workers.come_with(authority.sign(name, name))
        for door, say in DOORS.items():

            async def come(say: Say = say, expected: str = expected) -> None:
                assert await say(workers, "") == expected

            if expected == "said":
                await workers.at_each(door, come)
            else:
                for _ in range(4):
                    await come()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for certificate in (None, Authority(elsewhere).sign("ana", "ana.example")):
        workers.come_with(certificate)
        for _ in range(4):
            with pytest.raises(AioRpcError):
                await within(workers.server.publish("hola"))
            with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
                await (await workers.plug()).hear()
            with pytest.raises((ssl.SSLError, ConnectionError, InvalidMessage)):
                await workers.browse()


@pytest.mark.one_engine
async def test_without_tls_and_tokens_nothing_is_opened_to_other_machines(spawn: Spawn) -> None:
    """Workers are no way around that: it is said once, and nothing is started."""
    server = await spawn("--workers", "2", "--host", "0.0.0.0")
    code, stderr = await server.exit()
    assert code == 2
    assert stderr.count("other machines reach this address, and there is no TLS and no way to identify clients") == 1


@pytest.mark.one_engine
async def test_guessing_is_stopped_by_each_worker(spawn: Spawn, authority: Authority, tmp_path: Path) -> None:
    """Ten wrong tokens at each of them, and a good one from there is refused unread."""
    workers = await start(spawn, authority, "--token-keys", str(tokens.key_file(tmp_path)))
    wrong = tokens.token(tokens.rsa_key(1))
    said: list[str] = []

    async def is_banned() -> bool:
        said.extend([await by_grpc(workers, wrong) for _ in range(10)])  # at once, since they count for a minute
        return [await by_grpc(workers, tokens.token()) for _ in range(8)] == [UNKNOWN] * 8

    async with asyncio.timeout(60):
        while not await is_banned():
            pass
    assert len(said) <= 100
    assert set(said) == {UNKNOWN}
    await eventually(lambda: len(workers.pids) == 2)
