"""A server inside an application: in its own event loop, in a thread of its own, and used from any other."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from bcast_grpc import BcastError, CannotStart, ErrorCode, Kind, Server, connect_sync
from tests import engine

from .conftest import LocalDoor, Serve
from .peers import Door, within

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "embed.py"


async def refusal(door: LocalDoor, room: str, *args: Any, **more: Any) -> BcastError:
    """The error with which a message is not accepted."""
    with pytest.raises(BcastError) as caught:
        await door.server.publish(room, *args, **more)
    return caught.value


# --- publishing


async def test_an_application_publishes_and_is_answered(door: LocalDoor) -> None:
    """Every client of the room gets the message under the name that was given; the ACK says how many."""
    ana, bob = await door.connect(), await door.connect()
    await door.connect(room="dev")
    ack = await door.server.publish("lobby", "hola", data=b"1", name="cron")
    assert (ack.seq, ack.queued, ack.duplicate) == (1, 2, False)
    for peer in (ana, bob):
        event = await peer.hear()
        assert (event.message, event.data, event.sender, event.seq) == ("cron: hola", b"1", "cron", 1)
    assert (await door.server.publish("empty", "hola")).queued == 0
    assert list(door.server.hub.rooms) == ["lobby", "dev"]


async def test_the_same_id_of_the_same_client_is_sent_once(door: LocalDoor) -> None:
    """With a client's name of its own; without one nobody can know that it is the same."""
    listener = await door.connect()
    first = await door.server.publish("lobby", "one", id="x", client="app")
    again = await door.server.publish("lobby", "one", id="x", client="app")
    assert (again.seq, again.duplicate) == (first.seq, True)
    assert not (await door.server.publish("lobby", "two", id="x")).duplicate
    await door.server.publish("lobby", "the end")
    assert [event.message for event in await listener.hear_until("the end")] == ["one", "two"]


async def test_what_is_wrong_is_raised(serve: Serve) -> None:
    """With the codes that clients get, and a reason."""
    door = await serve(max_message_bytes=10)
    assert (await refusal(door, "lobby")).code is ErrorCode.EMPTY_MESSAGE
    assert (await refusal(door, "lobby", "x" * 11)).code is ErrorCode.MESSAGE_TOO_LARGE
    assert (await refusal(door, "\x07", "x")).code is ErrorCode.METADATA_INVALID
    assert (await refusal(door, "lobby", "x", name="\x07")).code is ErrorCode.NAME_INVALID
    assert (await refusal(door, "lobby", "x", id="x" * 1000)).code is ErrorCode.MALFORMED
    with pytest.raises(BcastError, match="room"):
        await door.server.members("")


async def test_the_rate_is_for_clients_only(serve: Serve) -> None:
    """The application itself publishes as fast as it likes."""
    door = await serve(rate=1, burst=1)
    for n in range(10):
        await door.server.publish("lobby", f"{n}")
        await door.server.publish("lobby", f"{n}", client="app")


async def test_members_are_those_of_the_room(door: LocalDoor) -> None:
    """In the order of arrival; a room that is not there has none."""
    await door.connect("ana")
    await door.connect("bob", room="dev")
    await door.connect("eva")
    assert [member.name for member in await door.server.members("lobby")] == ["ana", "eva"]
    assert [member.name for member in await door.server.members("nowhere")] == []


# --- from elsewhere


async def test_publishing_from_other_threads(door: LocalDoor) -> None:
    """Each call blocks until its own answer; clients get everything in one order."""
    listener = await door.connect(batch="1")

    def work(name: str) -> list[int]:
        return [door.server.sync.publish("lobby", f"{n}", name=name).seq for n in range(100)]

    seqs = await within(asyncio.gather(*(asyncio.to_thread(work, name) for name in ("one", "two", "three"))))
    await door.server.publish("lobby", "the end")
    events = await listener.hear_until("the end")
    assert [event.seq for event in events] == list(range(1, 301))
    for name, own in zip(("one", "two", "three"), seqs, strict=True):
        assert [event.seq for event in events if event.sender == name] == own
        assert [event.message for event in events if event.sender == name] == [f"{name}: {n}" for n in range(100)]


async def test_awaiting_it_in_another_loop(door: LocalDoor) -> None:
    """As in the server's own."""
    await door.connect("ana")

    async def work() -> tuple[int, int]:
        people = await door.server.members("lobby")
        return len(people), (await door.server.publish("lobby", "hola")).queued

    assert await within(asyncio.to_thread(asyncio.run, work())) == (1, 1)


async def test_the_loop_is_not_made_to_wait_for_itself(door: LocalDoor) -> None:
    """The error says what to do."""
    with pytest.raises(RuntimeError, match="await"):
        door.server.sync.publish("lobby", "hola")


# --- its life


async def test_a_context_listens_and_drains() -> None:
    """Clients get ``CLOSING``, and afterwards nothing is published any more."""
    async with Server(engine.settings(tcp_port=0)) as server:
        assert [url.partition(":")[0] for url in server.urls] == ["grpc", "tcp"]
        client = Door(server.address)
        peer = await client.connect()
        await client.publish("hola")
        await peer.hear_until("hola")
    assert (await peer.hear()).kind == int(Kind.CLOSING)
    await client.close()
    with pytest.raises(BcastError) as caught:
        await server.publish("lobby", "hola")
    assert caught.value.code is ErrorCode.SHUTTING_DOWN


def test_a_thread_of_its_own() -> None:
    """It serves while the context lasts; then the thread has ended, and a call says so."""
    with Server.in_thread(engine.settings()) as server:
        with connect_sync(server.address, name="ana") as ana:
            assert server.publish("lobby", "hola").queued == 1
            assert next(iter(ana)).message == "hola"
            assert [member.name for member in server.members("lobby")] == ["ana"]
        assert any(thread.name == "bcast-server" for thread in threading.enumerate())
    assert not any(thread.name == "bcast-server" for thread in threading.enumerate())
    with pytest.raises(BcastError) as caught:
        server.publish("lobby", "hola")
    assert caught.value.code is ErrorCode.SHUTTING_DOWN


def test_a_thread_that_cannot_start_says_why() -> None:
    """In the thread that asked for it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart, match=f"127.0.0.1:{port}"), Server.in_thread(engine.settings(port=port)):
            pass
    assert not any(thread.name == "bcast-server" for thread in threading.enumerate())


def test_what_the_application_raises_passes_through() -> None:
    """And the server is drained all the same."""
    with pytest.raises(KeyError), Server.in_thread(engine.settings()):
        raise KeyError
    assert not any(thread.name == "bcast-server" for thread in threading.enumerate())


def test_the_example_runs() -> None:
    """It is what README shows, and it says what happened."""
    run = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.splitlines() == [
        "seq 1, queued for 1; again: duplicate=True",
        'ana received: shop: order 17 is paid {"order": 17}',
        "connected: ana",
        "ana received: order 18 is paid",
        "refused: a broadcast needs msg or data (EMPTY_MESSAGE)",
    ]
    assert run.stderr == ""
