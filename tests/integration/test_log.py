"""What the server writes on stderr."""

from __future__ import annotations

import asyncio
import json
import signal
from itertools import count

import pytest

from bcast_grpc.server.repeats import MOST
from bcast_grpc.v1 import chat_pb2 as pb

from .conftest import Spawn
from .peers import within


async def test_the_log_as_json(spawn: Spawn) -> None:
    """With ``log-format json`` every line on stderr is a JSON object with the time, the level and the message."""
    server = await spawn("--log-format", "json", "--log-level", "debug", "--queue-messages", "10")
    ana, slow = await server.connect("ana"), await server.connect("slow")
    event = pb.ConnectResponse()
    ids = count()
    while event.message != "slow left":
        if event.kind != pb.EVENT_KIND_LEFT:
            await ana.say(data=bytes(60_000), id=f"{next(ids)}")
        event = await ana.hear()
    await slow.end()
    server.signal(signal.SIGTERM)
    await ana.end()
    code, stderr = await server.exit()
    assert code == 0
    lines = [json.loads(line) for line in stderr.splitlines()]
    assert all(set(line) >= {"time", "level", "logger", "message"} for line in lines)
    assert any("slow consumer" in line["message"] for line in lines)


async def test_nobody_can_write_into_the_log(spawn: Spawn) -> None:
    """What clients send cannot break the log's lines."""
    server = await spawn("--log-level", "debug")
    await server.open(pairs=[("bcast-name", "a%0A2026-01-01 ERROR forged")]).end()
    await server.open(pairs=[("bcast-colour", "%0Aforged")]).end()
    ana = await server.connect()
    await ana.send(pb.ConnectRequest(operacion="\nforged", msg="\nforged", id="1"))
    await ana.answer("1")
    server.signal(signal.SIGTERM)
    _, stderr = await server.exit()
    assert not [line for line in stderr.splitlines() if line.startswith(("forged", "2026-01-01"))]


@pytest.mark.grpc_engine("native", reason="grpcio logs nothing of it")
async def test_a_stranger_fills_no_disk_with_the_log(spawn: Spawn) -> None:
    """It may cause a line with each connection, but few of them are written."""
    server = await spawn()
    host, _, port = server.address.rpartition(":")

    async def knock() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"\x16\x03\x01\0\5hello")
        await within(reader.read())
        writer.close()

    for _ in range(2 * MOST):
        await knock()
    server.signal(signal.SIGTERM)
    _, stderr = await server.exit()
    lines = [line for line in stderr.splitlines() if "speaks TLS to a port without it" in line]
    assert len(lines) == MOST
