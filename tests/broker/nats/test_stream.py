"""The stream is made or compared, and whoever may not use it is told what would help."""

from __future__ import annotations

import json
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from bcast_grpc.broker.base import CannotOpen
from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.nats.stream import Names, prepare, wanted
from tests.nats_server import NatsServer, running

from .conftest import Connect


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
    assert "max_msgs_per_subject is 5, not 20000" in caplog.text


async def test_more_replicas_than_servers(
    shared_nats: NatsServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One server cannot hold three."""
    monkeypatch.setattr("bcast_grpc.broker.nats.stream._ATTEMPTS", 1)
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
