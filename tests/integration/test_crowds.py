"""Very many at the same moment: everyone is let in, or told by us that the server is full."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from grpc import StatusCode

from tests.client.relay import PREFACE, frame, headers, reset

from .conftest import ServerProcess, Spawn
from .peers import PATIENCE_S, Door, Peer, eventually, within

pytestmark = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="only Linux shows what is not read yet")

CROWD = 4000
"""More than the 3000 calls that gRPC lets wait by itself."""

CALL_BYTES = 20
"""What a call takes on a connection on which there were others like it, at the least."""

ESTABLISHED = "01"
_SETTINGS, _CANCEL = 4, 8


@contextmanager
def together(server: ServerProcess) -> Iterator[None]:
    """Have all that is begun in here come to the server in the same moment."""
    server.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.signal(signal.SIGCONT)


def unread_bytes(server: ServerProcess) -> int:
    """How much has been sent to a server, and lies in the system's buffers."""
    port = f":{int(server.address.rpartition(':')[2]):04X}"
    tables = (Path("/proc/net", name).read_text() for name in ("tcp", "tcp6"))
    rows = [line.split() for table in tables for line in table.splitlines()[1:]]
    return sum(int(row[4].partition(":")[2], 16) for row in rows if row[1].endswith(port) and row[3] == ESTABLISHED)


async def connect_together(server: ServerProcess, count: int) -> list[Peer]:
    """Begin named calls over a few connections in the same moment."""
    channels = [server.channel() for _ in range(4)]
    for channel in channels:
        await within(channel.channel_ready())
    with together(server):
        peers = [server.open(f"n{n}", on=channels[n % len(channels)], batch="1") for n in range(count)]
        await eventually(lambda: unread_bytes(server) > count * CALL_BYTES)
    return peers


async def all_of(peers: list[Peer]) -> tuple[int, list[Peer]]:
    """Wait for all; return how many are in, and who is not."""
    async with asyncio.timeout(4 * PATIENCE_S):
        answers = await asyncio.gather(*(peer.call.initial_metadata() for peer in peers))
    out = [peer for peer, answer in zip(peers, answers, strict=True) if "bcast-session" not in dict(answer or ())]
    return len(peers) - len(out), out


@pytest.mark.timeout(240)
async def test_all_who_come_at_once_are_in(spawn: Spawn) -> None:
    """Thousands of named clients in the same moment: nobody is turned away."""
    server = await spawn()
    assert await all_of(await connect_together(server, CROWD)) == (CROWD, [])


@pytest.mark.timeout(240)
async def test_more_than_fit_are_told_so(spawn: Spawn) -> None:
    """The others get our error, with its code and how long to wait, and nothing else."""
    server = await spawn("--max-clients", f"{CROWD - 500}")
    inside, outside = await all_of(await connect_together(server, CROWD))
    assert inside == CROWD - 500
    for peer in outside:
        ending = await peer.end()
        assert (ending.code, ending.reason) == (StatusCode.RESOURCE_EXHAUSTED, "SERVER_FULL")
        assert ending.retry_after_s > 0


async def flood(door: Door, count: int) -> asyncio.StreamWriter:
    """Open and reset so many calls over one connection, as fast as they can be written."""
    host, _, port = door.address.rpartition(":")
    _, writer = await within(asyncio.open_connection(host, int(port)))
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/bcast_grpc.v1.Chat/Connect",
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    cancel = reset(_CANCEL)
    calls = (headers(stream, *fields.items()) + cancel(stream) for stream in range(1, 2 * count, 2))
    writer.write(PREFACE + frame(_SETTINGS, 0, 0) + b"".join(calls))
    return writer


@pytest.mark.timeout(240)
async def test_a_flood_of_resets_fails_nobody_elses_calls(spawn: Spawn) -> None:
    """What others ask for meanwhile is done, if later, and the log has nothing to say."""
    server = await spawn()
    await within(server.publish("first"))
    with together(server):
        writer = await flood(server, CROWD)
        calls = [asyncio.create_task(server.publish(f"{n}")) for n in range(20)]
        peers = [server.open(f"n{n}") for n in range(20)]
        await eventually(lambda: unread_bytes(server) > CROWD)
    async with asyncio.timeout(4 * PATIENCE_S):
        acks = await asyncio.gather(*calls)
        assert await all_of(peers) == (20, [])
    assert sorted(ack.seq for ack in acks) == list(range(2, 22))
    writer.transport.abort()
    server.signal(signal.SIGTERM)
    code, stderr = await server.exit()
    assert code == 0
    assert "Traceback" not in stderr
    assert not [line for line in stderr.splitlines() if " ERROR " in line or " WARNING " in line]
