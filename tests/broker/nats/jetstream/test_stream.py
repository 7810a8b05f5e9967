"""The stream is made or compared, and whoever may not use it is told what would help."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from bcast_grpc.broker.base import CannotOpen
from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.nats.broker import Cluster, NatsBroker
from bcast_grpc.broker.nats.connection.target import Target
from bcast_grpc.broker.nats.jetstream.stream import largest_record, prepare, wanted
from bcast_grpc.broker.nats.names import Names
from tests.broker.nats.conftest import Connect
from tests.broker.nats.servers import until
from tests.nats_server import NatsServer, running
from tests.nats_server import cluster as nats_cluster


def configuration(cluster: str = "", replicas: int = 1, **more: Any) -> dict[str, Any]:
    """A stream of its own."""
    return wanted(Names(cluster or token_hex(4)), Retention(), replicas, 1 << 20) | more


async def test_it_is_made_and_made_again(shared_nats: NatsServer, connect: Connect) -> None:
    """By any number of servers, in any order; records are published again."""
    connection = (await connect(shared_nats)).connection
    cluster = token_hex(4)
    for _ in range(3):
        await prepare(connection, configuration(cluster), create=True)
    await prepare(connection, configuration(cluster), create=False)
    names = Names(cluster)
    live: list[tuple[str, dict[str, str] | None]] = []
    await connection.subscribe(names.live("sala ñ"), lambda message: live.append((message.subject, message.headers)))
    headers = {"Nats-Expected-Last-Subject-Sequence": "0"}
    answer = await connection.request(names.log("sala ñ"), b"record", 5, headers)
    assert b'"seq":1' in answer.data
    refused = await connection.request(names.log("sala ñ"), b"record", 5, headers)
    assert b"10071" in refused.data
    assert [subject for subject, _ in live] == [names.live("sala ñ")]
    assert live[0][1]
    assert (live[0][1]["Nats-Sequence"], live[0][1]["Nats-Last-Sequence"]) == ("1", "0")


@pytest.mark.parametrize(
    ("other", "word"),
    [
        ({"allow_direct": False}, "allow_direct is"),
        ({"republish": None}, "republish is null"),
        ({"discard": "new"}, 'discard is "new", not "old"'),
    ],
)
async def test_one_that_works_otherwise_is_refused(
    shared_nats: NatsServer, connect: Connect, other: dict[str, Any], word: str
) -> None:
    """What differs is named."""
    connection = (await connect(shared_nats)).connection
    cluster = token_hex(4)
    await connection.request(
        f"$JS.API.STREAM.CREATE.BCAST_{cluster}", json.dumps(configuration(cluster, **other)).encode(), 5
    )
    with pytest.raises(CannotOpen, match=word):
        await prepare(connection, configuration(cluster), create=True)


async def test_other_limits_are_the_operators_choice(
    shared_nats: NatsServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """They are named in a warning."""
    connection = (await connect(shared_nats)).connection
    cluster = token_hex(4)
    await prepare(connection, configuration(cluster, max_msgs_per_subject=5), create=True)
    assert not caplog.records
    await prepare(connection, configuration(cluster), create=True)
    assert "max_msgs_per_subject is 5, not 20000; with store-create update they follow" in caplog.text


async def test_limits_follow_the_settings_where_that_is_wanted(
    shared_nats: NatsServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """By several servers at the same time; what else somebody has set stays as it is."""
    connection = (await connect(shared_nats)).connection
    cluster = token_hex(4)
    await prepare(connection, configuration(cluster, max_age=10**12, max_msg_size=70_000, max_bytes=10**9), create=True)
    wanted = configuration(cluster)
    found = await asyncio.gather(*(prepare(connection, wanted, create=True, update=True) for _ in range(3)))
    for one in (*found, await prepare(connection, wanted, create=False)):
        assert (one["max_age"], one["max_msg_size"]) == (wanted["max_age"], wanted["max_msg_size"])
        assert one["max_bytes"] == 10**9
    assert not caplog.records


async def test_more_replicas_than_servers(shared_nats: NatsServer, connect: Connect) -> None:
    """One server cannot hold three."""
    connection = (await connect(shared_nats)).connection
    with pytest.raises(CannotOpen, match="store-replicas is 3, which needs as many NATS servers in one cluster"):
        await prepare(connection, configuration(replicas=3), create=True)


async def test_where_it_may_not_be_made(shared_nats: NatsServer, connect: Connect) -> None:
    """It must be there."""
    connection = (await connect(shared_nats)).connection
    with pytest.raises(CannotOpen, match="make it, or set store-create to yes"):
        await prepare(connection, configuration(), create=False)


async def test_without_jetstream(nats_program: Path, tmp_path: Path, connect: Connect) -> None:
    """It says how to start it."""
    with running(nats_program, tmp_path, store=False) as server:
        connection = (await connect(server)).connection
        with pytest.raises(CannotOpen, match="start it with -js"):
            await prepare(connection, configuration(), create=True)


@pytest.mark.parametrize(
    ("account", "says"),
    [
        ("", "JetStream not enabled for account; give the account jetstream: enabled"),
        ("jetstream: { max_streams: 1 },", "maximum number of streams reached; raise max_streams of the account"),
        ("jetstream: { max_bytes_required: true },", "to have max bytes set; make the stream with max_bytes, and set"),
    ],
)
async def test_an_account_that_may_not_have_it(
    nats_program: Path, tmp_path: Path, connect: Connect, account: str, says: str
) -> None:
    """Is told at once what it lacks."""
    user = f"A: {{ {account} users: [ {{ user: a, password: a }} ] }}"
    other = "B: { jetstream: enabled, users: [ { user: b, password: b } ] }"
    with running(nats_program, tmp_path, f"accounts: {{ {user}, {other} }}") as server:
        connection = (await connect(server, login={"user": "a", "password": "a"})).connection
        first, second = configuration(), configuration()
        if "max_streams" in account:
            await prepare(connection, first, create=True)
        with pytest.raises(CannotOpen, match=says):
            await prepare(connection, second, create=True)


async def test_while_most_nats_servers_are_away_a_leader_is_waited_for(
    nats_program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """For some time, which is said; then a line tells what is missing, and does not blame the account."""
    async with nats_cluster(nats_program, tmp_path) as servers:
        leader = servers[0].tells("jsz")["meta_cluster"]["leader"]
        here, *others = sorted(servers, key=lambda server: server.name != leader)
        for other in others:
            other.kill()
        monkeypatch.setattr("bcast_grpc.broker.nats.jetstream.stream._PATIENCE_S", 60)
        waiting = asyncio.create_task(_start(here))
        await until(lambda: "has no leader: are most of the NATS servers that keep it there?" in caplog.text)
        assert "(trying again for" in caplog.text
        others[0].start()
        await waiting
        others[0].kill()
        monkeypatch.setattr("bcast_grpc.broker.nats.jetstream.stream._PATIENCE_S", 0)
        with pytest.raises(CannotOpen, match=r"has no leader: are most of the NATS servers that keep it there\?"):
            await _start(here)
    assert caplog.text.count("has no leader") == 1, "however often it is tried"


async def _start(server: NatsServer) -> None:
    broker = NatsBroker(Cluster(Target([server.url]), replicas=3))
    await broker.start(lambda _: None)
    await broker.close()


async def test_a_stream_that_takes_too_small_records_is_refused(shared_nats: NatsServer, connect: Connect) -> None:
    """Else the largest messages would wait for ever; what is needed is named."""
    connection = (await connect(shared_nats)).connection
    found = await prepare(connection, configuration(max_msg_size=70_000), create=True)
    assert largest_record(found, 70_000) == 70_000
    with pytest.raises(CannotOpen, match=r"of 70000 bytes \(max_msg_size\), and must take 80000: raise it"):
        largest_record(found, 80_000)
