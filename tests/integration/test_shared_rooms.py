"""Servers that share their rooms over a real NATS server."""

from __future__ import annotations

import sys
from pathlib import Path
from secrets import token_hex

import pytest

from bcast_grpc import CannotStart
from bcast_grpc.server import Server
from bcast_grpc.v1 import chat_pb2 as pb
from tests.broker.nats.servers import deaf
from tests.engine import settings
from tests.nats_server import NatsServer, running
from tests.ports import free_port

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


async def test_a_client_goes_on_at_a_server_that_is_behind(two: list[LocalDoor]) -> None:
    """It waits until that has read as far: nothing comes twice, and nothing is said to have begun anew."""
    here, there = two
    bob, eva = await here.connect("bob"), await there.connect("eva")
    (order,) = there.server.hub._broker._orders  # type: ignore[attr-defined]
    with deaf(order.log, "live", "head_of_other"):
        ana = await here.connect("ana")
        for number in range(1, 6):
            await ana.say(f"{number}", id=f"{number}")
        assert [event.seq for event in await bob.hear_some(5)] == [1, 2, 3, 4, 5]
        assert order.head == 0
        back = await there.connect("bob", after=f"{bob.epoch}:4", events="welcome")
        welcome, five = await back.hear_some(2)
    assert (welcome.welcome.resumed, welcome.seq, five.seq) == (True, 5, 5)
    assert [event.seq for event in await eva.hear_some(5)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("after", ["{epoch}:9", "another:1"])
async def test_a_place_that_the_log_does_not_have(two: list[LocalDoor], after: str) -> None:
    """Is told as a new epoch, once a record has been appended: an old leader may not know the end."""
    here, there = two
    ana = await here.connect("ana")
    await ana.say("hola", id="1")
    await ana.answer("1")
    bob = await there.connect("bob", after=after.format(epoch=ana.epoch), events="welcome")
    welcome, gap, hola = await bob.hear_some(3)
    assert (welcome.welcome.resumed, gap.gap.reason, hola.seq) == (False, pb.GAP_REASON_NEW_EPOCH, 1)
    (order,) = there.server.hub._broker._orders  # type: ignore[attr-defined]
    assert order.log.landed == 1


async def test_what_the_log_has_trimmed_is_told_to_a_client_that_is_fed(two: list[LocalDoor]) -> None:
    """As ``TRIMMED``: it is nothing that the client could have prevented."""
    here, _ = two
    ana = await here.connect("ana")
    for number in range(1, 11):
        await ana.say(f"{number}", id=f"{number}")
        await ana.answer(f"{number}")
    broker = here.server.hub._broker
    (order,) = broker._orders  # type: ignore[attr-defined]
    order.shrink(0)
    purge = f'{{"seq": {order.places.of(8)}}}'.encode()
    await broker._connection.request(f"$JS.API.STREAM.PURGE.{broker._names.stream}", purge, 5)  # type: ignore[attr-defined]
    bob = await here.connect("bob", history="10")
    gap, *kept = await bob.hear_some(4)
    assert (gap.gap.first_missed, gap.gap.last_missed, gap.gap.reason) == (1, 7, pb.GAP_REASON_TRIMMED)
    assert [event.seq for event in kept] == [8, 9, 10]


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


async def test_history_that_memory_has_no_room_for_comes_from_the_log(two: list[LocalDoor]) -> None:
    """Whoever comes back gets all of it, at every server, and no GAP."""
    ana = await two[0].connect("ana")
    for number in range(1, 61):
        await ana.say(data=bytes(60_000), id=str(number))
        await ana.answer(str(number))
    for door in two:
        back = await door.connect("eva", after=f"{ana.epoch}:0")
        assert [event.seq for event in await back.hear_some(60)] == list(range(1, 61))
        last = await door.connect("bob", history="55")
        assert [event.seq for event in await last.hear_some(55)] == list(range(6, 61))


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


async def test_records_follow_a_smaller_max_payload(serve: Serve, nats_program: Path, tmp_path: Path) -> None:
    """Where NATS comes back with one, what waited is divided; with one that is too small, nobody is served."""
    with running(nats_program, tmp_path / "nats") as nats:
        door = await serve(store=nats.url)
        readiness = door.server.hub.readiness
        ana = await door.connect("ana")
        nats.kill()
        await eventually(lambda: bool(readiness.why_not))
        nats.configure("max_payload: 65536")
        nats.start()
        await eventually(lambda: "its max_payload is 65536, and must be" in readiness.why_not)
        for number in range(20):
            await ana.say(data=bytes(20_000), id=str(number))
        nats.kill()
        nats.configure("max_payload: 98304")
        nats.start()
        assert [(await ana.answer(str(number))).ack.seq for number in range(20)] == list(range(1, 21))
        assert not readiness.why_not


async def test_records_are_no_larger_than_nats_takes(serve: Serve, nats_program: Path, tmp_path: Path) -> None:
    """A batch that would be too large is parted, whatever ``max_payload`` says."""
    with running(nats_program, tmp_path / "nats", "max_payload: 98304") as nats:
        door = await serve(store=nats.url)
        ana = await door.connect("ana")
        for number in range(20):
            await ana.say(data=bytes(20_000), id=str(number))
        assert [(await ana.answer(str(number))).ack.seq for number in range(20)] == list(range(1, 21))
