"""Servers are restarted one after the other, and versions of the log's records differ: nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from secrets import token_hex
from typing import Any

import grpc
import nats
import pytest

from bcast_grpc.broker.nats.cluster import Cluster
from bcast_grpc.broker.nats.connection.target import Target
from bcast_grpc.broker.nats.log.record import decode
from bcast_grpc.broker.nats.names import Names
from bcast_grpc.log.v1 import peers_pb2, record_pb2
from bcast_grpc.store.cluster.log import Log
from tests.nats_server import NatsServer
from tests.ports import free_port

from .conftest import Serve, ServerProcess, Spawn
from .peers import within
from .talkers import check, conversation, more, talker

FORMATS = Path(__file__).parent.parent / "broker" / "nats" / "formats"

pytestmark = pytest.mark.one_engine


@pytest.fixture
def cluster() -> str:
    """The name of a cluster of its own."""
    return token_hex(4)


async def test_a_rolling_restart(spawn: Spawn, shared_nats: NatsServer, cluster: str) -> None:
    """All servers end and come back in turn, while clients speak and listen; nobody misses anything."""
    ports = [free_port() for _ in range(3)]

    async def start(port: int) -> ServerProcess:
        return await spawn("--store", shared_nats.url, "--cluster", cluster, "--port", str(port))

    servers = [await start(port) for port in ports]
    targets = [f"127.0.0.1:{port}" for port in ports]
    async with AsyncExitStack() as stack:
        talkers = [await stack.enter_async_context(talker(targets, name)) for name in ("ana", "bob", "eva")]
        async with conversation(talkers):
            for number, port in enumerate(ports):
                servers[number].signal(signal.SIGTERM)
                code, _ = await servers[number].exit()
                assert code == 0
                servers[number] = await start(port)
                await more(talkers)
    check(talkers)


# --- versions


async def append(server: NatsServer, cluster: str, room: str, data: bytes) -> None:
    """Put a record behind the last one of a room."""
    async with Log(Cluster(Target([server.url]), cluster)) as log:
        last = await log.last(log.names.log(room))
        assert last
        assert await log.append(log.names.log(room), data, last.sequence)


async def following(server: NatsServer, cluster: str, room: str) -> record_pb2.Record:
    """A record that follows the last one of a room."""
    async with Log(Cluster(Target([server.url]), cluster)) as log:
        last = await log.last(log.names.log(room))
        assert last
        before = decode(last.data)
        written = record_pb2.Record.FromString(last.data)
        written.first, written.previous, written.id = max(before.first, 1) + len(before.items), before.id, token_hex(4)
        del written.items[:]
        written.items.add(uid=token_hex(4), session="s", name="eva", key="eva's", message="eva: new")
        return written


async def test_a_record_of_a_newer_version_stops_its_room_alone(
    serve: Serve, shared_nats: NatsServer, cluster: str
) -> None:
    """Its clients are sent to another server, with what would help; other rooms go on."""
    door = await serve(store=shared_nats.url, cluster=cluster, broker_patience_s=1)
    ana, bob = await door.connect("ana", room="a"), await door.connect("bob", room="b")
    record = await following(shared_nats, cluster, "a")
    record.version = 2
    await append(shared_nats, cluster, "a", record.SerializeToString())
    ending = await ana.end()
    assert (ending.code, ending.reason) == (grpc.StatusCode.UNAVAILABLE, "BROKER_UNAVAILABLE")
    assert "the room's log has a record of version 2, and this server reads up to 1: update this server" in ending.text
    await bob.say("hola", id="1")
    assert (await bob.answer("1")).ack.seq == 1
    again = await door.open("ana", room="a").end()
    assert (again.code, again.reason) == (grpc.StatusCode.UNAVAILABLE, "BROKER_UNAVAILABLE")


async def test_fields_that_a_version_does_not_know_are_ignored(
    serve: Serve, shared_nats: NatsServer, cluster: str
) -> None:
    """In records, in their messages, and in what servers say to each other."""
    door = await serve(store=shared_nats.url, cluster=cluster)
    ana = await door.connect("ana")
    unknown = b"\xfa\x06\x05later"  # field 111
    record = await following(shared_nats, cluster, "lobby")
    record.items[0].MergeFromString(unknown)
    await append(shared_nats, cluster, "lobby", record.SerializeToString() + unknown)
    assert (await ana.hear()).message == "eva: new"
    client = await nats.connect(shared_nats.url)
    beat = peers_pb2.PeerMessage(
        version=1, server="later", beat=peers_pb2.Beat(release="99", host="h")
    ).SerializeToString()
    strange = peers_pb2.PeerMessage(version=1, server="later").SerializeToString() + b"\xfa\x06\x05later"
    newer = peers_pb2.PeerMessage(version=2, server="newest").SerializeToString()
    for data in (beat + unknown, strange, newer, newer, b"what?"):
        await client.publish(Names(cluster).peers(), data)
    await client.flush()
    await client.close()
    await ana.say("hola", id="1")
    assert (await ana.answer("1")).ack.seq == 2


@pytest.mark.parametrize("file", sorted(FORMATS.glob("*.json")), ids=lambda file: file.stem)
async def test_a_log_of_an_older_version_is_read(
    serve: Serve, shared_nats: NatsServer, cluster: str, file: Path
) -> None:
    """Each version since the first; what it has said since is written behind it."""
    kept: dict[str, Any] = json.loads(await asyncio.to_thread(file.read_text))
    maker = await serve(store=shared_nats.url, cluster=cluster)
    await maker.server.stop()
    async with Log(Cluster(Target([shared_nats.url]), cluster)) as log:
        expected = 0
        for data in kept["records"]:
            found = await log.append(log.names.log("lobby"), bytes.fromhex(data), expected)
            assert found
            expected = found
    seq, messages = 0, []
    for record in map(decode, map(bytes.fromhex, kept["records"])):
        for seq, (uid, entry) in enumerate(record.items, record.first):
            who = {"session": entry.author.session, "name": entry.author.name, "key": entry.author.key}
            what = {"message": entry.message, "data": entry.data.hex(), "id": entry.id}
            messages.append({"seq": seq, "uid": uid, **who, **what})
    assert messages == kept["messages"]
    door = await serve(store=shared_nats.url, cluster=cluster)
    ana = await door.connect("ana")
    assert ana.epoch == kept["epoch"]
    await ana.say("hola", id="1")
    assert (await within(ana.answer("1"))).ack.seq == seq + 1
