"""What a server process holds while it is flooded, and afterwards."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from bcast_grpc.v1 import chat_pb2 as pb
from bcast_grpc.wire.protobuf_requests import MAX_REQUESTS

from .conftest import ServerProcess, Spawn
from .json_peers import SocketPeer
from .peers import Peer, within
from .test_floods import EMPTY, MIB, sized, talk

pytestmark = pytest.mark.usefixtures("patient")

ATTACKERS = 10
MAY_GROW_BYTES = 150 * MIB

VALUES = b"[" + b"[]," * (MIB * 5 // 4) + b"[]]"
PINGS = b"\x89\x80\0\0\0\0" * 20_000
"""Of a client that masks with zeros."""


def resident(server: ServerProcess, field: str) -> int:
    """Return ``VmRSS``, what the process holds, or ``VmHWM``, the most that it ever held."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


async def too_many_requests(server: ServerProcess) -> str:
    """Send two million requests in a frame."""
    peer = Peer(server.raw())
    await within(peer.call.write(EMPTY * (2 * MIB - 1)))
    end = await peer.end(pb.ConnectResponse.FromString)
    assert (end.code, end.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED")
    return end.text


async def batches_in_a_batch(server: ServerProcess) -> str:
    """Send them nested, again and again; then too many."""
    peer = Peer(server.raw())
    for _ in range(5):
        await within(peer.call.write(sized(b"\x7a", EMPTY * (MIB * 3 // 2))))
    await within(peer.call.write(EMPTY * (MAX_REQUESTS + 1)))
    return (await peer.end(pb.ConnectResponse.FromString)).text


async def values_through_a_websocket(server: ServerProcess) -> str:
    """Send a million values in a frame, after pings by the thousand."""
    url = f"ws://{server.said[1].removeprefix('listening on http://')}/ws"
    async with connect(url, compression=None, ping_interval=None) as socket:  # a ping would wait behind all that
        socket.transport.write(PINGS)
        with suppress(ConnectionClosed):
            await within(socket.send(VALUES.decode()))
            while True:
                await within(socket.recv())
        assert socket.close_code == 4016
        return socket.close_reason or ""


async def values_through_a_socket(server: ServerProcess) -> str:
    """Send a million values in an array, after objects by the thousand."""
    plug = await SocketPeer.connect(int(server.said[2].rpartition(":")[2]))
    plug.writer.write(b"{}" * 5_000 + VALUES)
    reason = (await plug.end())[-1]["error"]["reason"]
    await plug.close()
    assert isinstance(reason, str)
    return reason


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc, as Linux has it")
@pytest.mark.parametrize(
    "attack",
    [
        *(too_many_requests, batches_in_a_batch),
        *(
            pytest.param(one, marks=pytest.mark.one_engine)
            for one in (values_through_a_websocket, values_through_a_socket)
        ),
    ],
)
async def test_ten_who_flood_cost_some_tens_of_megabytes(spawn: Spawn, attack: object) -> None:
    """Each gets an error that says how many a frame may have, and meanwhile all that others send is delivered."""
    assert callable(attack)
    server = await spawn("--http-port", "0", "--tcp-port", "0")
    assert server.process.stdout
    while len(server.said) < 3:
        server.said.append((await within(server.process.stdout.readline())).decode().rstrip("\n"))
    sender, listener = await server.connect(room="other"), await server.connect(room="other")
    before = resident(server, "VmRSS")
    reasons: list[str] = []

    async def attacks() -> None:
        reasons.extend(await asyncio.gather(*(attack(server) for _ in range(ATTACKERS))))

    await talk(sender, listener, attacks())
    assert len(reasons) == ATTACKERS
    assert all(f"{MAX_REQUESTS}" in reason for reason in reasons), reasons
    assert resident(server, "VmHWM") - before < MAY_GROW_BYTES
    assert resident(server, "VmRSS") - before < MAY_GROW_BYTES
