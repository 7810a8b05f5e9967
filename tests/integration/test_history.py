"""What was said before, going on where one was, retries and the durable store, over real connections and processes."""

from __future__ import annotations

import asyncio
import resource
import signal
import sqlite3
import time
from pathlib import Path

import pytest
from grpc import StatusCode

from bcast_grpc.v1 import chat_pb2 as pb

from .conftest import LocalDoor, Serve, ServerProcess, Spawn
from .peers import Door, Peer, eventually, within

MESSAGE = pb.EVENT_KIND_MESSAGE


def texts(peer: Peer) -> list[str]:
    """The messages that a client heard."""
    return [event.message for event in peer.heard if event.kind == MESSAGE]


async def say_all(peer: Peer, *said: str) -> list[int]:
    """Say things, each with itself as its id, and return their places."""
    await peer.send(pb.ConnectRequest(batch=[pb.ConnectRequest(msg=text, id=text) for text in said]))
    return [(await peer.answer(text)).ack.seq for text in said]


async def again(server: ServerProcess, spawn: Spawn, *arguments: str, how: signal.Signals = signal.SIGKILL) -> Door:
    """End a server, and start another one in its place."""
    server.signal(how)
    await server.exit()
    return await spawn(*arguments)


# --- from the history


@pytest.mark.parametrize("batch", ["0", "1"])
async def test_the_last_messages(door: LocalDoor, batch: str) -> None:
    """As many as are asked for, then what comes; by ``Subscribe`` too."""
    ana = await door.connect("ana")
    await say_all(ana, "1", "2", "3")
    bob, eva = await door.connect(history="2", batch=batch), await door.subscribe(history="99", batch=batch)
    await say_all(ana, "4")
    await bob.hear_until("ana: 4")
    await eva.hear_until("ana: 4")
    assert texts(bob) == ["ana: 2", "ana: 3", "ana: 4"]
    assert texts(eva) == ["ana: 1", "ana: 2", "ana: 3", "ana: 4"]


async def test_half_closed_at_once(door: LocalDoor) -> None:
    """Who only wants to know what was said gets it, and an end."""
    ana = await door.connect("ana")
    await say_all(ana, *(f"{n}" for n in range(900)))
    bob = door.open(history="900", batch="1")
    await bob.half_close()
    ending = await bob.end()
    assert ending.code is StatusCode.OK
    assert [event.message for event in ending.before] == [f"ana: {n}" for n in range(900)]


async def test_going_on(door: LocalDoor) -> None:
    """What came meanwhile, of others; one's own stay out; the welcome says that nothing is missing."""
    ana, bob = await door.connect("ana"), await door.connect("bob", client="b")
    (place,) = await say_all(bob, "mine")
    epoch = bob.epoch
    bob.cancel()
    await ana.hear_until("bob left")
    await say_all(ana, "1", "2")
    back = await door.connect("bob", client="b", after=f"{epoch}:{place}", events="all")
    welcome = await back.hear()
    assert (welcome.kind, welcome.welcome.resumed, welcome.seq) == (pb.EVENT_KIND_WELCOME, True, 3)
    assert [event.message for event in await back.hear_some(2)] == ["ana: 1", "ana: 2"]
    all_again = await door.connect("bob", client="b", history="9")
    assert [event.message for event in await all_again.hear_some(2)] == ["ana: 1", "ana: 2"]


async def test_gaps(serve: Serve) -> None:
    """A ``GAP`` names what is no longer kept, and another epoch."""
    door = await serve(history_messages=2)
    ana = await door.connect("ana")
    await say_all(ana, "1", "2", "3", "4")
    bob, eva = await door.connect(after=f"{ana.epoch}:1"), await door.connect(after="other:7")
    (gap, *kept), (other, *new) = await bob.hear_some(3), await eva.hear_some(3)
    assert (gap.kind, gap.gap.first_missed, gap.gap.last_missed) == (pb.EVENT_KIND_GAP, 2, 2)
    assert gap.gap.reason == pb.GAP_REASON_TRIMMED
    assert (other.gap.first_missed, other.gap.last_missed, other.gap.reason) == (0, 0, pb.GAP_REASON_NEW_EPOCH)
    assert [event.seq for event in kept] == [event.seq for event in new] == [3, 4]
    assert all(event.message for event in (gap, other))


async def test_a_place_that_is_not_there_yet(door: LocalDoor) -> None:
    """The order went back: a ``GAP`` names a new epoch, then comes what is kept."""
    ana = await door.connect("ana")
    await say_all(ana, "1", "2")
    bob = await door.connect(after=f"{ana.epoch}:3")
    gap, *kept = await bob.hear_some(3)
    assert gap.gap == pb.Gap(reason=pb.GAP_REASON_NEW_EPOCH)
    assert [event.seq for event in kept] == [1, 2]


async def test_ten_thousand_at_full_speed(serve: Serve) -> None:
    """A long history and what is said meanwhile are one, for many who come at the same time."""
    door = await serve(history_messages=20_000)
    ana = await door.connect("ana", batch="1")
    await ana.send(pb.ConnectRequest(batch=[pb.ConnectRequest(msg=f"{n}") for n in range(10_000)]))
    await say_all(ana, "ready")
    crowd = [await door.connect(history="20000", batch="1") for _ in range(10)]
    hearing = asyncio.gather(*(peer.hear_until("ana: the end") for peer in crowd))
    for first in range(10_000, 12_000, 100):
        await ana.send(pb.ConnectRequest(batch=[pb.ConnectRequest(msg=f"{n}") for n in range(first, first + 100)]))
    await say_all(ana, "the end")
    for events in await hearing:
        assert [event.seq for event in events] == list(range(1, 12_002))


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("policy", ["drop", "catch-up"])
async def test_slow_clients_may_stay(serve: Serve, policy: str) -> None:
    """They get the rest: all of it from the history, or what is left after a gap."""
    door = await serve(queue_bytes=300_000, slow_policy=policy, history_messages=5000, history_bytes=1 << 30)
    ana, slow = await door.connect("ana", batch="1"), await door.connect("slow", batch="1")
    hearing = asyncio.create_task((await door.connect(batch="1")).hear_until("ana: the end"))
    total = 0
    while total < 400:
        await say_all(ana, *(f"{n}" for n in range(total, total + 20)))
        await ana.send(pb.ConnectRequest(batch=[pb.ConnectRequest(data=bytes(60_000)) for _ in range(20)]))
        total += 20
    await say_all(ana, "the end")
    assert [event.seq for event in await hearing] == list(range(1, 801))
    await slow.hear_until("ana: the end")
    heard = [event.seq for event in slow.heard if event.kind == MESSAGE]
    missed = [event.gap for event in slow.heard if event.kind == pb.EVENT_KIND_GAP]
    told = {seq for gap in missed for seq in range(gap.first_missed, gap.last_missed + 1)}
    assert sorted([*heard, *told]) == list(range(1, 802))
    assert bool(told) is (policy == "drop")


# --- retries


async def test_a_retry_is_acknowledged_and_not_sent(door: LocalDoor) -> None:
    """On the same stream, on the next one, and by ``Publish``."""
    bob = await door.connect()
    ana = await door.connect("ana", client="a")
    await ana.say("x", id="1")
    first = (await ana.answer("1")).ack
    await ana.say("x", id="1")
    second = (await ana.answer("1")).ack
    ana = await door.connect("ana", client="a")
    await ana.say("x", id="1")
    third = (await ana.answer("1")).ack
    assert (first.seq, first.duplicate, first.queued) == (1, False, 1)
    assert (second.seq, second.duplicate, second.queued, second.epoch) == (1, True, 0, bob.epoch)
    assert (third.seq, third.duplicate) == (1, True)
    await door.publish("the end")
    assert [event.message for event in await bob.hear_until("the end")] == ["ana: x"]


# --- the durable store


def file_of(store: str) -> Path:
    """The file of a store's setting."""
    return Path(store.partition("sqlite:")[2])


def read(path: Path) -> bytes:
    """What is in a file."""
    return path.read_bytes()


def fill(path: Path, content: bytes | str) -> bytes:
    """Make a file of bytes, or a database of SQL; return what is in it."""
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        connection = sqlite3.connect(path)
        connection.executescript(content)
        connection.close()
    return path.read_bytes()


def damage(path: Path) -> None:
    """Overwrite a part of each page, but for the first ones."""
    content = bytearray(path.read_bytes())
    for at in range(4096 * 3, len(content), 4096):
        content[at : at + 200] = b"\xff" * 200
    path.write_bytes(content)


@pytest.fixture
def store(tmp_path: Path) -> str:
    """The setting of a store in a file."""
    return f"--store=sqlite:{tmp_path / 'chat.db'}"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_all_that_was_acknowledged_survives(spawn: Spawn, store: str, how: signal.Signals) -> None:
    """Epoch, places, history and ids are there after a kill, and after an end in peace."""
    server = await spawn(store)
    ana = await server.connect("ana", client="a")
    assert await say_all(ana, *(f"{n}" for n in range(500))) == list(range(1, 501))
    door = await again(server, spawn, store, how=how)
    back = await door.connect("ana", client="a", after=f"{ana.epoch}:500", events="welcome")
    assert (await back.hear()).welcome.resumed
    assert await say_all(back, "499", "500") == [500, 501]
    bob = await door.connect(history="1000", batch="1")
    await door.publish("the end")
    assert [event.message for event in await bob.hear_until("the end")] == [f"ana: {n}" for n in range(501)]


async def test_one_server_for_a_store(spawn: Spawn, store: str) -> None:
    """A second one says so and starts nothing; after a kill the next one may."""
    server = await spawn(store)
    second = await spawn(store)
    code, stderr = await second.exit()
    assert (code, second.said) == (2, [])
    assert "another server uses it" in stderr
    assert len(stderr.splitlines()) == 1
    await (await again(server, spawn, store)).connect()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"this is no database, but long enough to be one" * 100, "not an SQLite database"),
        ("CREATE TABLE t (x)", "another program"),
        ("PRAGMA application_id = 1650680179; PRAGMA user_version = 99; CREATE TABLE t (x)", "version 99"),
    ],
)
async def test_a_file_that_does_not_fit(spawn: Spawn, store: str, content: bytes | str, says: str) -> None:
    """It is left as it is, and what is wrong is said in one line."""
    path = file_of(store)
    before = fill(path, content)
    server = await spawn(store)
    code, stderr = await server.exit()
    assert (code, server.said, len(stderr.splitlines())) == (2, [], 1)
    assert says in stderr
    assert str(path) in stderr
    assert read(path) == before


async def test_a_damaged_file(spawn: Spawn, store: str) -> None:
    """It is not used."""
    server = await spawn(store)
    await say_all(await server.connect("ana"), *(f"{n}" for n in range(1000)))
    server.signal(signal.SIGTERM)
    await server.exit()
    damage(file_of(store))
    server = await spawn(store)
    code, stderr = await server.exit()
    assert (code, server.said) == (2, [])
    assert "damaged" in stderr


async def test_a_directory_that_is_not_there(spawn: Spawn, tmp_path: Path) -> None:
    """It is said."""
    server = await spawn(f"--store=sqlite:{tmp_path}/no/such/chat.db")
    code, stderr = await server.exit()
    assert (code, len(stderr.splitlines())) == (2, 1)
    assert "No such file or directory" in stderr


async def test_a_full_disk(spawn: Spawn, store: str) -> None:
    """While it lasts publishes are refused and nothing is acknowledged or sent; after that all goes on."""
    server = await spawn(store)
    ana, bob = await server.connect("ana", client="a"), await server.connect()
    await say_all(ana, "before")
    size = len(read(Path(f"{file_of(store)}-wal")))
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    await ana.send(pb.ConnectRequest(batch=[pb.ConnectRequest(msg=f"{n}", id=f"{n}") for n in range(100)]))
    for n in range(100):
        answer = await ana.answer(f"{n}")
        assert answer.error.code == pb.ERROR_CODE_BROKER_UNAVAILABLE, answer
        assert answer.error.retryable
    refused = await server.publish_in_vain("hola")
    assert (refused.code, refused.reason, refused.retryable) == (StatusCode.UNAVAILABLE, "BROKER_UNAVAILABLE", True)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert await say_all(ana, "0", "after") == [2, 3]
    await server.publish("the end")
    assert [event.message for event in await bob.hear_until("the end")] == ["ana: before", "ana: 0", "ana: after"]


async def test_a_locked_store(spawn: Spawn, store: str) -> None:
    """While another program holds it, publishes are refused; who only reads it, as a backup does, disturbs nobody."""
    server = await spawn(store)
    ana = await server.connect("ana")
    await say_all(ana, "1")
    other = sqlite3.connect(file_of(store), isolation_level=None)
    assert other.execute("SELECT count(*) FROM message").fetchone() == (1,)
    other.execute("BEGIN IMMEDIATE")
    await ana.say("2", id="2")
    assert (await ana.answer("2")).error.code == pb.ERROR_CODE_BROKER_UNAVAILABLE
    other.execute("ROLLBACK")
    assert await say_all(ana, "2") == [2]
    other.close()


async def test_leaving_waits_for_the_store(spawn: Spawn, store: str) -> None:
    """Who sends and half-closes at once has everything stored and acknowledged before the end."""
    server = await spawn(store)
    ana = await server.connect("ana")
    await ana.send(pb.ConnectRequest(batch=[pb.ConnectRequest(msg=f"{n}", id=f"{n}") for n in range(3000)]))
    await ana.half_close()
    ending = await ana.end()
    assert ending.code is StatusCode.OK
    assert [event.ack.seq for event in ending.before if event.kind == pb.EVENT_KIND_ACK] == list(range(1, 3001))


async def test_retention_is_enforced_in_the_file(spawn: Spawn, store: str) -> None:
    """What is kept no longer is in the file no longer."""
    server = await spawn(store, "--history-messages=100", "--dedup-s=0")
    await say_all(await server.connect("ana"), *(f"{n}" for n in range(1000)))
    other = sqlite3.connect(file_of(store))
    server.signal(signal.SIGTERM)
    await server.exit()
    await eventually(lambda: other.execute("SELECT count(*), max(seq) FROM message").fetchone() == (100, 1000))
    other.close()


async def test_many_rooms_and_senders(spawn: Spawn, store: str) -> None:
    """Each room has its own order in the one file."""
    server = await spawn(store)

    async def talk(room: str) -> None:
        ana, bob = await server.connect("ana", room=room), await server.connect(room=room)
        for n in range(20):
            assert await say_all(ana, f"{n}") == [n + 1]
        await within(bob.hear_some(20))

    await asyncio.gather(*(talk(f"room {n}") for n in range(10)))


@pytest.mark.parametrize("step_s", [200, 3700, -3700])
@pytest.mark.parametrize("store", ["memory", "sqlite"])
async def test_the_systems_clock_may_be_set(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str, step_s: int
) -> None:
    """A retry is still a retry, and what was said is still there; only the times that are shown have moved."""
    door = await serve(store="memory:" if store == "memory" else f"sqlite:{tmp_path / 'store'}")
    ana = await door.connect("ana", client="c")
    await ana.say("hola", id="1")
    first = await ana.answer("1")
    wall_ns = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: wall_ns() + step_s * 1_000_000_000)
    door.server.hub.expire()
    await ana.say("hola", id="1")
    again = await ana.answer("1")
    assert (again.ack.seq, again.ack.duplicate, again.time) == (first.ack.seq, True, first.time)
    await ana.say("que tal", id="2")
    second = await ana.answer("2")
    assert abs(second.time.seconds - first.time.seconds - step_s) < 60
    eva = await door.connect("eva", history="10")
    assert [(await eva.hear()).message for _ in range(2)] == ["ana: hola", "ana: que tal"]
