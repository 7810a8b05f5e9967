"""Servers that share their rooms over a real NATS server."""

from __future__ import annotations

import sys
from pathlib import Path
from secrets import token_hex

import pytest

from bcast_grpc import CannotStart
from bcast_grpc.server import Server
from bcast_grpc.v1 import chat_pb2 as pb
from tests.engine import settings
from tests.nats_server import NatsServer, free_port, running

from .conftest import LocalDoor, Serve
from .peers import eventually


@pytest.fixture
async def two(serve: Serve, shared_nats: NatsServer) -> list[LocalDoor]:
    """Two servers of one cluster."""
    cluster = token_hex(4)
    return [await serve(store=shared_nats.url, cluster=cluster, http_port=0, tcp_port=0) for _ in range(2)]


async def test_what_is_said_at_one_is_heard_at_the_other(two: list[LocalDoor]) -> None:
    """In one order, through all doors, and not by its author."""
    here, there = two
    ana, bob = await here.connect("ana"), await there.connect("bob")
    page, plain = await there.browse(), await here.plug()
    await eventually(lambda: there.server.hub.clients == here.server.hub.clients == 2)
    assert ana.epoch == bob.epoch
    await ana.say("hola", id="1")
    assert (await ana.answer("1")).ack.seq == 1
    assert (await bob.hear()).message == "ana: hola"
    await bob.say("¿qué tal?", id="2")
    assert (await bob.answer("2")).ack.seq == 2
    assert (await ana.hear()).message == "bob: ¿qué tal?"
    assert await page.hear_some(2) == await plain.hear_some(2) == ["ana: hola", "bob: ¿qué tal?"]


async def test_a_client_goes_on_at_another_server(two: list[LocalDoor]) -> None:
    """Where it was; and what it sends again there is not sent twice."""
    here, there = two
    bob = await here.connect("bob")
    ana = await here.connect("ana", client="ana's")
    for n in range(1, 6):
        await ana.say(f"{n}", id=f"{n}")
        assert (await ana.answer(f"{n}")).ack.seq == n
    assert [event.seq for event in await bob.hear_some(5)] == [1, 2, 3, 4, 5]
    again = await there.connect("ana", client="ana's")
    await again.say("5", id="5")
    ack = (await again.answer("5")).ack
    assert (ack.seq, ack.duplicate, ack.epoch) == (5, True, ana.epoch)
    back = await there.connect("eva", after=f"{bob.epoch}:3", events="welcome")
    welcome, four, five = await back.hear_some(3)
    assert (welcome.welcome.resumed, four.seq, five.seq) == (True, 4, 5)
    ack = await there.publish("6")
    assert (ack.seq, ack.epoch) == (6, bob.epoch)


async def test_all_servers_end_and_the_order_goes_on(serve: Serve, shared_nats: NatsServer) -> None:
    """NATS has it."""
    cluster = token_hex(4)
    door = await serve(store=shared_nats.url, cluster=cluster)
    ana = await door.connect("ana")
    await ana.say("hola", id="1")
    await ana.answer("1")
    await door.close()
    await door.server.stop()
    later = await (await serve(store=shared_nats.url, cluster=cluster)).connect("bob", history="9")
    assert later.epoch == ana.epoch
    event = await later.hear()
    assert (event.kind, event.seq, event.message) == (pb.EVENT_KIND_MESSAGE, 1, "ana: hola")


async def test_while_nats_is_away_messages_wait(serve: Serve, nats_program: Path, tmp_path: Path) -> None:
    """The server is not ready meanwhile; then they are sent, once."""
    with running(nats_program, tmp_path) as nats:
        door = await serve(store=nats.url)
        ana, bob = await door.connect("ana"), await door.connect("bob")
        nats.kill()
        await eventually(
            lambda: bool(door.server.hub.readiness.why_not) if hasattr(door.server.hub, "readiness") else True
        )
        await ana.say("hola", id="1")
        nats.start()
        await eventually(lambda: not door.server.hub.readiness.why_not)
        assert (await ana.answer("1")).ack.seq == 1
        assert (await bob.hear()).message == "ana: hola"
        await bob.say("bien")
        assert (await ana.hear()).message == "bob: bien"


async def test_where_nobody_answers_the_server_does_not_start() -> None:
    """One line says where."""
    port = free_port()
    with pytest.raises(CannotStart, match=f"127.0.0.1:{port} cannot be used"):
        await Server(settings(store=f"nats://127.0.0.1:{port}")).start()


async def test_without_nats_py_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra of the package."""
    for name in [name for name in sys.modules if name.startswith(("nats", "bcast_grpc.broker.nats."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nats", None)
    with pytest.raises(CannotStart, match=r"pip install 'bcast-grpc\[nats\]'"):
        Server(settings(store="nats://127.0.0.1"))


async def test_a_password_comes_from_a_file(serve: Serve, nats_program: Path, tmp_path: Path) -> None:
    """Never from the URL."""
    file = tmp_path / "password"
    file.write_text("secret\n")
    with running(nats_program, tmp_path / "nats", 'authorization { user: bcast, password: "secret" }') as nats:
        door = await serve(store=nats.url, store_user="bcast", store_password_file=file)
        ana = await door.connect("ana")
        await ana.say("hola", id="1")
        assert (await ana.answer("1")).ack.seq == 1
        with pytest.raises(CannotStart, match="Authorization Violation"):
            await Server(settings(store=nats.url)).start()


async def test_records_are_no_larger_than_nats_takes(serve: Serve, nats_program: Path, tmp_path: Path) -> None:
    """A batch that would be too large is parted, whatever ``max_payload`` says."""
    with running(nats_program, tmp_path / "nats", "max_payload: 98304") as nats:
        door = await serve(store=nats.url)
        ana = await door.connect("ana")
        for number in range(20):
            await ana.say(data=bytes(20_000), id=str(number))
        assert [(await ana.answer(str(number))).ack.seq for number in range(20)] == list(range(1, 21))
