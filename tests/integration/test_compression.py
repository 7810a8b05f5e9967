"""What comes compressed is taken, and never takes more room unpacked than an ordinary frame may."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from bcast_grpc.v1 import chat_pb2 as pb
from bcast_grpc.v1 import chat_pb2_grpc

from .conftest import ServerProcess, Spawn
from .peers import PATIENCE_S, within

MIB = 1024 * 1024
BOMB = bytes(256 * MIB)
"""Zeros: a thousandth of that on the wire."""


def peak_bytes(server: ServerProcess) -> int:
    """How large the server's process has ever been."""
    for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    pytest.skip("this system does not tell how large a process has been")


def gzipped(server: ServerProcess) -> grpc.aio.Channel:
    """A channel on which all is compressed."""
    return grpc.aio.insecure_channel(
        server.address, [("grpc.max_send_message_length", -1)], compression=grpc.Compression.Gzip
    )


async def send_bomb(channel: Any, method: str) -> None:
    """Send it, and raise how the call ends."""
    if method.endswith("Publish"):
        await channel.unary_unary(method)(BOMB)
    else:
        call = channel.stream_stream(method)()
        await call.write(BOMB)
        while await call.read() is not grpc.aio.EOF:
            pass


async def test_a_compressed_message_is_heard(spawn: Spawn) -> None:
    """Generated stubs may compress what they send."""
    server = await spawn()
    bob = await server.connect()
    async with gzipped(server) as channel:
        stub: Any = chat_pb2_grpc.ChatStub(channel)  # type: ignore[no-untyped-call]
        await within(stub.Publish(pb.PublishRequest(msg="hola" * 1000)))
    await bob.hear_until("hola" * 1000)


@pytest.mark.parametrize("method", ["Connect", "Publish", "Subscribe"])
async def test_a_bomb_is_refused_before_it_is_unpacked(spawn: Spawn, method: str) -> None:
    """A few hundred kilobytes that would be 256 MB: the call ends, and the server has not grown by that."""
    server = await spawn()
    bob = await server.connect()
    before = peak_bytes(server)
    async with gzipped(server) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            async with asyncio.timeout(4 * PATIENCE_S):  # to compress it is much work for this process
                await send_bomb(channel, f"/bcast_grpc.v1.Chat/{method}")
    assert refused.value.code() is StatusCode.RESOURCE_EXHAUSTED
    assert peak_bytes(server) - before < 64 * MIB
    await server.publish("still here")
    await bob.hear_until("still here")
