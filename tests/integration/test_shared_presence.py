"""Who is in a room that several servers share over a real NATS server."""

from __future__ import annotations

import signal
from pathlib import Path
from secrets import token_hex

import pytest

from bcast_grpc.presence import shared
from bcast_grpc.v1 import chat_pb2 as pb
from tests.broker.nats.servers import Proxy
from tests.nats_server import NatsServer, running

from .conftest import LocalDoor, Serve, Spawn
from .peers import Peer, eventually


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens a room waits for what the others say of it, however busy the machine is."""
    monkeypatch.setattr(shared, "PATIENCE_S", 5.0)


@pytest.fixture
async def two(serve: Serve, shared_nats: NatsServer) -> list[LocalDoor]:
    """Two servers of one cluster."""
    cluster = token_hex(4)
    return [await serve(store=shared_nats.url, cluster=cluster, http_port=0, tcp_port=0) for _ in range(2)]


async def who(peer: Peer) -> list[str]:
    """Ask who is here."""
    await peer.ask("who", id="who")
    return [member.name for member in (await peer.answer("who")).members.members]


async def notices_until(peer: Peer, last: str) -> list[str]:
    """Return what was told up to a notice, that one included."""
    return [*(event.message for event in await peer.hear_until(last)), last]


async def test_all_doors_of_all_servers_have_one_list(two: list[LocalDoor]) -> None:
    """In the order of arrival; the first WELCOME counts all, and who comes and goes is told to all."""
    here, there = two
    ana = await here.connect("ana", events="all")
    assert (await ana.hear()).welcome.members == 1
    bob = await there.connect("bob", events="all")
    assert (await bob.hear()).welcome.members == 2
    page = await there.browse("?name=eva&events=all")
    assert (await page.hear())["welcome"]["members"] == 3
    assert await notices_until(ana, "eva joined") == ["bob joined", "eva joined"]
    assert await notices_until(bob, "eva joined") == ["eva joined"]
    plain = await here.plug()
    await plain.send({"operacion": "join", "msg": "leo"}, {"operacion": "who", "id": "who"})
    while "members" not in (event := await plain.hear()):
        pass
    assert [member["name"] for member in event["members"]["members"]] == ["ana", "bob", "eva", "leo"]
    assert await notices_until(ana, "leo joined") == await notices_until(bob, "leo joined") == ["leo joined"]
    assert await who(ana) == await who(bob) == ["ana", "bob", "eva", "leo"]
    await ana.ask("join", "ada", id="1")
    assert await notices_until(bob, "ana is now ada") == ["ana is now ada"]
    await page.close()
    await plain.close()
    for peer in (ana, bob):
        assert {event.message for event in [await peer.hear(), await peer.hear()] if not event.id} <= {
            "eva left",
            "leo left",
        }
    await eventually(lambda: all(len(door.server.hub.members("lobby")) == 2 for door in two))
    assert await who(bob) == ["ada", "bob"]


async def test_a_client_that_comes_to_another_server_ends_at_the_first(two: list[LocalDoor]) -> None:
    """It is the same client, so nobody is told; a reader with the same id is another one."""
    here, there = two
    bob = await there.connect("bob", events="all")
    eva = await here.connect("eva", events="all")
    reader = await there.subscribe("ana", client="ana's")
    first = await here.connect("ana", client="ana's")
    assert "ana joined" in await notices_until(bob, "ana joined")
    page = await there.browse("?name=ana&client=ana%27s")
    assert (await first.end()).reason == "REPLACED"
    await eventually(lambda: len(here.server.hub.members("lobby")) == 4)
    await page.say("hola")
    await bob.hear_until("ana: hola")
    assert [event.message for event in bob.heard if event.kind == pb.EVENT_KIND_LEFT] == []
    again = await here.connect("ada", client="ana's")
    assert [event["error"]["code"] for event in await page.end() if "error" in event] == ["ERROR_CODE_REPLACED"]
    assert await notices_until(bob, "ana is now ada") == ["ana is now ada"]
    assert sorted(await who(again)) == ["ada", "ana", "bob", "eva"]
    assert all("left" not in event.message for event in [*bob.heard, *eva.heard])
    reader.cancel()


async def test_a_departure_comes_after_the_last_message(two: list[LocalDoor]) -> None:
    """At the other server, too."""
    here, there = two
    bob = await there.connect("bob")
    for number in range(20):
        ana = await here.connect(f"ana{number}")
        for text in range(20):
            await ana.say(f"{text}")
        await ana.ask("leave")
        before = await bob.hear_until(f"ana{number} left")
        assert [event.message for event in before] == [f"ana{number}: {text}" for text in range(20)]


async def test_the_clients_of_a_server_that_is_killed_have_left(
    serve: Serve, spawn: Spawn, shared_nats: NatsServer
) -> None:
    """Told once, by every other server; who comes back elsewhere in time has not left."""
    cluster = token_hex(4)
    doomed = await spawn("--store", shared_nats.url, "--cluster", cluster)
    here, there = [await serve(store=shared_nats.url, cluster=cluster) for _ in range(2)]
    watching = [await door.connect(f"watcher {n}", events="all") for n, door in enumerate((here, there))]
    for name in ("ana", "bob", ""):
        await doomed.connect(name, client=f"{name}'s")
    await eventually(lambda: all(len(door.server.hub.members("lobby")) == 5 for door in (here, there)))
    doomed.signal(signal.SIGKILL)
    await here.connect("ana", client="ana's")
    for peer in watching:
        told = await notices_until(peer, "bob left")
        assert told.count("bob left") == 1
        assert "ana left" not in told
        assert sorted(await who(peer)) == ["ana", "watcher 0", "watcher 1"]


async def test_who_ends_says_so(serve: Serve, spawn: Spawn, shared_nats: NatsServer) -> None:
    """Nobody waits for beats that are missed; a new run of the server is another one."""
    cluster = token_hex(4)
    here = await serve(store=shared_nats.url, cluster=cluster)
    bob = await here.connect("bob", events="all")
    for _ in range(2):
        server = await spawn("--store", shared_nats.url, "--cluster", cluster)
        await server.connect("ana")
        await bob.hear_until("ana joined")
        server.signal(signal.SIGTERM)
        await bob.hear_until("ana left")
        assert (await server.exit())[0] == 0


async def test_nats_restarts(serve: Serve, nats_program: Path, tmp_path: Path) -> None:
    """Whoever comes or goes meanwhile is known afterwards, and nobody else has left."""
    with running(nats_program, tmp_path) as nats:
        here, there = [await serve(store=nats.url) for _ in range(2)]
        ana, bob = await here.connect("ana", events="all"), await there.connect("bob", events="all")
        eva = await there.connect("eva")
        await ana.hear_until("eva joined")
        nats.kill()
        await eventually(lambda: bool(here.server.hub.readiness.why_not and there.server.hub.readiness.why_not))
        eva.cancel()
        leo = await here.connect("leo")
        nats.start()
        assert await notices_until(ana, "eva left") == ["leo joined", "eva left"]
        await bob.hear_until("leo joined")
        assert all(event.message != "ana left" for event in bob.heard)
        assert await who(leo) == await who(bob) == ["ana", "bob", "leo"]


async def test_a_server_is_cut_off(serve: Serve, shared_nats: NatsServer) -> None:
    """For the others its clients leave, and join again; for its own clients nothing has happened but what has."""
    cluster = token_hex(4)
    proxy = Proxy(shared_nats.port)
    await proxy.start()
    try:
        here = await serve(store=f"nats://127.0.0.1:{proxy.port}", cluster=cluster)
        there = await serve(store=shared_nats.url, cluster=cluster)
        ana, bob = await here.connect("ana", events="all"), await there.connect("bob", events="all")
        await ana.hear_until("bob joined")
        proxy.hold()
        await there.connect("eva")
        assert await notices_until(bob, "ana left") == [f"welcome to lobby: {2} here", "eva joined", "ana left"]
        assert await who(bob) == ["bob", "eva"]
        proxy.let_go()
        assert await notices_until(bob, "ana joined") == ["ana joined"]
        assert await notices_until(ana, "eva joined") == ["eva joined"]
        assert await who(ana) == await who(bob) == ["ana", "bob", "eva"]
        await here.close()
        await here.server.stop()
    finally:
        await proxy.close()


async def test_an_application_sees_the_clients_of_all_servers(two: list[LocalDoor]) -> None:
    """Also in a room that nobody of its own server is in."""
    here, there = two
    await there.connect("ana", room="elsewhere")
    assert [member.name for member in await here.server.members("elsewhere")] == ["ana"]
    assert await here.server.members("nowhere") == []


async def test_a_client_that_sends_at_two_servers_has_one_limit(serve: Serve, shared_nats: NatsServer) -> None:
    """What it has sent at one counts at the other with the next beat."""
    cluster = token_hex(4)
    here, there = [await serve(store=shared_nats.url, cluster=cluster, rate=0.01, burst=3) for _ in range(2)]
    rates = there.server.hub.rates
    assert rates
    for _ in range(3):
        await here.publish("hola", client="bot")
    await eventually(lambda: ":bot" in rates._empty_at)
    assert (await there.publish_in_vain("hola", client="bot")).reason == "RATE_LIMITED"
    await there.publish("hola", client="another")


async def test_three_servers_and_many_clients(serve: Serve, shared_nats: NatsServer) -> None:
    """Who come and go all the time: in the end all lists are the same, and everyone was told the truth."""
    cluster = token_hex(4)
    doors = [await serve(store=shared_nats.url, cluster=cluster) for _ in range(3)]
    watching = [await door.connect(f"watcher {n}", events="all") for n, door in enumerate(doors)]
    there: dict[str, Peer] = {}
    for number in range(60):
        door = doors[number % 3]
        there[f"n{number}"] = await door.connect(f"n{number}", client=f"{number}")
        if number % 4 == 3:
            there.pop(f"n{number - 3}").cancel()
        if number % 5 == 4:
            there[f"n{number}"] = await doors[(number + 1) % 3].connect(f"n{number}", client=f"{number}")
    await doors[0].connect("last")
    names = sorted([*there, "last", "watcher 0", "watcher 1", "watcher 2"])
    for door in doors:
        await eventually(
            lambda door=door: sorted(member.name for member in door.server.hub.members("lobby")) == names  # type: ignore[misc]
        )
    lists = [[(member.session, member.name) for member in door.server.hub.members("lobby")] for door in doors]
    assert lists[0] == lists[1] == lists[2]
    for peer in watching:
        await peer.ask("who", id="who")
        await peer.answer("who")
        told = [event.message for event in peer.heard if event.kind in (pb.EVENT_KIND_JOINED, pb.EVENT_KIND_LEFT)]
        assert len(told) == len(set(told))
        joined = {text.removesuffix(" joined") for text in told if text.endswith(" joined")}
        left = {text.removesuffix(" left") for text in told if text.endswith(" left")}
        assert left <= joined
        assert set(there) <= joined - left
