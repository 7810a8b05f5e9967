"""Calls that are not what their method takes end with a status that says so, and the log has no fault."""

from __future__ import annotations

import gzip
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2

from benchmarks.attacker import Attacker, block, data, message, request

from .conftest import LocalDoor
from .peers import within

CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
PUBLISH, SUBSCRIBE = "/bcast_grpc.v1.Chat/Publish", "/bcast_grpc.v1.Chat/Subscribe"


async def status_of(door: LocalDoor, method: str, *messages: bytes) -> tuple[StatusCode, str]:
    """Call a method with these messages; return what the call ends with."""
    call: Any = door.channel().stream_stream(method)()
    for one in messages:
        await within(call.write(one))
    await within(call.done_writing())
    return await within(call.code()), await within(call.details())


@pytest.mark.grpc_engine("native", reason="grpcio ends such a call with UNKNOWN, and logs it as a fault")
@pytest.mark.parametrize("method", [CHECK, WATCH, REFLECTION])
async def test_a_request_that_is_no_protobuf(door: LocalDoor, method: str) -> None:
    """INVALID_ARGUMENT, with the kind of request that it should be."""
    code, text = await status_of(door, method, b"\xff\xff")
    assert code is StatusCode.INVALID_ARGUMENT
    assert "Request" in text


@pytest.mark.grpc_engine("native", reason="grpcio's core waits for a first message, and ignores a second one")
@pytest.mark.parametrize("method", [CHECK, WATCH, PUBLISH, SUBSCRIBE])
async def test_another_number_of_messages_than_one(door: LocalDoor, method: str) -> None:
    """UNIMPLEMENTED, as gRPC's table of status codes has it; nobody receives anything of it."""
    bob = await door.connect("bob")
    attacker = await Attacker.connect(door.address)
    twice = message(b"\x0a\x01x") * 2
    await attacker.send(request(1, block(method)) + data(1, twice))
    await attacker.send(request(3, block(method), ended=True))
    await within(attacker.until(lambda: {1, 3} <= attacker.ended))
    assert attacker.statuses == {1: 12, 3: 12}
    attacker.close()
    await door.publish("still here")
    assert (await bob.hear()).message == "still here"


@pytest.mark.grpc_engine("native", reason="grpcio has one limit for all methods")
@pytest.mark.parametrize("method", [CHECK, WATCH, REFLECTION])
async def test_a_large_request_where_none_is_needed(door: LocalDoor, method: str) -> None:
    """RESOURCE_EXHAUSTED, compressed or not: a call may keep its request as long as it lasts."""
    large = health_pb2.HealthCheckRequest(service="x" * 20_000).SerializeToString()
    assert (await status_of(door, method, large))[0] is StatusCode.RESOURCE_EXHAUSTED
    attacker = await Attacker.connect(door.address)
    packed = message(gzip.compress(large), packed=True)
    await attacker.send(request(1, block(method, ("grpc-encoding", "gzip"))) + data(1, packed))
    await within(attacker.until(lambda: 1 in attacker.ended))
    assert attacker.statuses == {1: grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]}
    attacker.close()
