"""The library with several real servers: it goes on at another when one is killed, drained, full or silent."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from secrets import token_hex
from typing import Any

import pytest

import bcast_grpc
from bcast_grpc import Chat, ConnectionLost, Gap, GapReason, Kind, Reconnecting, Resumed, Tls
from tests.authority import Authority
from tests.nats_server import NatsServer
from tests.ports import free_port

from .conftest import LocalDoor, Serve, ServerProcess, Spawn
from .peers import within
from .wire import Wire

Start = Callable[[int], Awaitable[list[ServerProcess]]]


@pytest.fixture
def start(spawn: Spawn, shared_nats: NatsServer) -> Start:
    """Start servers of one cluster, in processes of their own."""
    cluster = token_hex(4)

    async def start(count: int) -> list[ServerProcess]:
        return [await spawn("--store", shared_nats.url, "--cluster", cluster) for _ in range(count)]

    return start


def targets(servers: list[ServerProcess] | list[LocalDoor]) -> str:
    """Where they are."""
    return ",".join(server.address for server in servers)


def server_of(chat: Chat, servers: list[ServerProcess]) -> ServerProcess:
    """The server that a chat is at."""
    (found,) = [server for server in servers if server.address == chat.target]
    return found


async def hear(chat: Chat, count: int) -> list[str]:
    """The texts of the next messages; there is no gap before them."""
    found: list[str] = []
    while len(found) < count:
        event = await within(anext(chat))
        assert event.kind is not Kind.GAP
        if event.kind is Kind.MESSAGE:
            found.append(event.text)
    return found


async def until(chat: Chat, kind: Kind) -> list[Any]:
    """The details of the next events up to one of a kind, with that."""
    details: list[Any] = []
    while True:
        event = await within(anext(chat))
        details.append(event.detail)
        if event.kind is kind:
            return details


async def test_servers_are_killed_and_nothing_is_lost_or_doubled(start: Start) -> None:
    """While one speaks and one listens, each at whichever server is left."""
    servers = await start(3)
    async with AsyncExitStack() as stack:
        chats = [
            await stack.enter_async_context(bcast_grpc.connect(targets(servers), name=who)) for who in ("ana", "bob")
        ]
        ana, bob = chats

        async def speak() -> None:
            for n in range(600):
                ana.post(str(n))
                if n % 10 == 0:
                    await ana.send(f"{n} again")
            await ana.flush()

        spoken = [text for n in range(600) for text in ([str(n), f"{n} again"] if n % 10 == 0 else [str(n)])]
        speaking = asyncio.create_task(speak())
        heard = await hear(bob, 50)
        for chat in chats:
            dying = server_of(chat, servers)
            dying.signal(signal.SIGKILL)
            await dying.exit()
            heard += await hear(bob, 100)
        await within(speaking)
        heard += await hear(bob, len(spoken) - len(heard))
        assert heard == spoken
        assert {chat.target for chat in chats} <= {server.address for server in servers}


async def test_a_rolling_restart_is_not_waited_for(start: Start) -> None:
    """A server that ends asks to be left alone; the next one takes over at once, and nothing is lost."""
    servers = await start(3)
    async with (
        bcast_grpc.connect(targets(servers), name="ana", first_retry_s=0.01, max_downtime_s=60) as ana,
        bcast_grpc.connect(targets(servers), name="bob") as bob,
    ):
        for n in range(2):
            ending = server_of(ana, servers)
            ending.signal(signal.SIGTERM)
            await within(ana.send(str(n)))
            code, _ = await ending.exit()
            assert code == 0
            details = await until(ana, Kind.RESUMED)
            (reconnecting,) = [detail for detail in details if isinstance(detail, Reconnecting)]
            resumed = details[-1]
            assert reconnecting.retry_in_s < 0.1  # the server asked for that or more
            assert isinstance(resumed, Resumed)
            assert resumed.complete
            assert resumed.moved_to == ana.target != ending.address
        assert await hear(bob, 2) == ["0", "1"]


async def test_one_that_is_silent_and_one_that_is_gone_are_passed_over(start: Start) -> None:
    """Whichever of them is the first."""
    (server,) = await start(1)
    with socket.create_server(("127.0.0.1", 0)) as hole:
        silent = "{}:{}".format(*hole.getsockname())

        async def connect() -> str:
            async with bcast_grpc.connect([silent, server.address, f"127.0.0.1:{free_port()}"]) as chat:
                return chat.target

        assert await within(asyncio.gather(*(connect() for _ in range(6)))) == [server.address] * 6


async def test_a_server_that_freezes_is_left(start: Start) -> None:
    """It takes connections, but no more than that: whoever comes gets in at the other, and hears what is said there."""
    servers = await start(2)
    frozen, other = servers
    frozen.signal(signal.SIGSTOP)
    try:
        chats = [bcast_grpc.connect(targets(servers)) for _ in range(4)]
        async with AsyncExitStack() as stack:
            for chat in chats:
                await within(stack.enter_async_context(chat))
            assert {chat.target for chat in chats} == {other.address}
            await chats[0].send("hola")
            assert await hear(chats[1], 1) == ["hola"]
    finally:
        frozen.signal(signal.SIGCONT)


async def test_a_full_server_sends_nobody_away_while_there_is_another(spawn: Spawn, shared_nats: NatsServer) -> None:
    """All come in until all are full; then the error names both."""
    store = ("--store", shared_nats.url, "--cluster", token_hex(4), "--max-clients", "2")
    servers = [await spawn(*store) for _ in range(2)]
    async with AsyncExitStack() as stack:
        chats = [bcast_grpc.connect(targets(servers)) for _ in range(4)]
        for chat in chats:
            await stack.enter_async_context(chat)
        assert sorted(chat.target for chat in chats) == sorted(server.address for server in servers for _ in range(2))
        with pytest.raises(bcast_grpc.CallError) as caught:
            await bcast_grpc.connect(targets(servers)).__aenter__()
        assert caught.value.code is bcast_grpc.ErrorCode.SERVER_FULL
        assert all(server.address in str(caught.value) for server in servers)


async def test_servers_that_do_not_share_their_rooms_leave_a_gap(spawn: Spawn) -> None:
    """Their orders have different epochs, whatever the numbers say."""
    servers = [await spawn() for _ in range(2)]
    async with bcast_grpc.connect(targets(servers), name="ana", events="none", echo=True) as ana:
        here = server_of(ana, servers)
        (there,) = [server for server in servers if server is not here]
        async with bcast_grpc.connect(there.address, name="bob") as bob:
            await bob.send("hola")
            await ana.send("one")
            assert await hear(ana, 1) == ["one"]
            here.signal(signal.SIGKILL)
            await ana.send("two")
            details = await until(ana, Kind.GAP)
            assert isinstance(details[-2], Resumed)
            assert not details[-2].complete
            assert details[-1] == Gap(0, 0, GapReason.NEW_EPOCH)
            assert await hear(ana, 2) == ["hola", "two"]
            assert await hear(bob, 1) == ["two"]


async def test_what_a_server_without_nats_cannot_store_another_does(
    serve: Serve, shared_nats: NatsServer, wire: Wire, authority: Authority
) -> None:
    """In order, under the same ids, so that what the first may still have sent is not there twice."""
    await wire.lay(shared_nats.url.removeprefix("nats://"))
    options: dict[str, Any] = {"cluster": token_hex(4), **authority.sign("server").settings}
    cut = await serve(store=f"nats://{wire.address}", broker_patience_s=1, **options)
    other = await serve(store=shared_nats.url, **options)
    trusted = Tls(ca=authority.file)
    async with bcast_grpc.connect(f"grpcs://{other.address}", name="bob", tls=trusted) as bob:
        while True:  # until one begins at the server that is going to be cut off
            ana = bcast_grpc.connect(f"grpcs://{targets([cut, other])}", name="ana", tls=trusted, max_downtime_s=60)
            async with ana:
                if ana.target != cut.address:
                    continue
                await ana.send("0")
                await wire.close()
                for n in range(1, 5):
                    ana.post(str(n))
                await within(ana.send("5"))
                assert ana.target == other.address
                details = await until(ana, Kind.RESUMED)
                assert not [detail for detail in details if isinstance(detail, bcast_grpc.Error)]
            break
        assert await hear(bob, 6) == list("012345")


# --- TLS


async def test_each_server_must_have_a_certificate_for_its_own_target(serve: Serve, authority: Authority) -> None:
    """One that has another's is not spoken to, and the error says so."""
    good = await serve(**authority.sign("good").settings)
    bad = await serve(**authority.sign("bad", "other.example").settings)
    trusted = Tls(ca=authority.file)
    for _ in range(4):
        async with bcast_grpc.connect(f"grpcs://{bad.address},{good.address}", tls=trusted) as chat:
            assert chat.target == good.address
    assert not bad.server.hub.rooms
    with pytest.raises(ConnectionLost) as caught:
        await bcast_grpc.connect(f"grpcs://{bad.address},127.0.0.1:1", tls=trusted).__aenter__()
    assert f"cannot connect to {bad.address}: its certificate is for another name" in str(caught.value)
    assert "cannot connect to 127.0.0.1:1: " in str(caught.value)


async def test_a_name_with_several_addresses_is_several_servers(
    serve: Serve, authority: Authority, shared_nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their certificates are for the name; it goes on at the next address."""
    port, cluster = free_port(), token_hex(4)
    certificate = authority.sign("chat", "chat.example").settings

    async def begin(host: str) -> LocalDoor:
        return await serve(host=host, port=port, store=shared_nats.url, cluster=cluster, **certificate, open=True)

    hosts = ["127.0.0.1", "127.0.0.2"]
    doors = {host: await begin(host) for host in hosts}

    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        assert host == "chat.example"
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (ip, port)) for ip in hosts]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    target = f"chat.example:{port}"
    shown = {host: f"{target} ({host})" for host in hosts}
    async with bcast_grpc.connect(f"grpcs://{target}", tls=Tls(ca=authority.file)) as chat:
        (at,) = [host for host in hosts if shown[host] == chat.target]
        (other,) = [host for host in hosts if host != at]
        await doors[at].server.drain()
        await within(chat.send("hola"))
        assert chat.target == shown[other]
        assert (await until(chat, Kind.RESUMED))[-1].moved_to == shown[other]
    with pytest.raises(ConnectionLost) as caught:
        await bcast_grpc.connect(f"grpcs://{target}").__aenter__()
    assert f"cannot connect to {shown[other]}: its certificate is not signed by an authority" in str(caught.value)
    assert f"cannot connect to {shown[at]}: " in str(caught.value)
