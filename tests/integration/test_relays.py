"""Slow relays in front of the socket doors: they acknowledge what they have yet to pass on."""

from __future__ import annotations

import asyncio
import json

import pytest
from websockets.asyncio.client import connect as connect_websocket

from tests.promises.cable import Cable

from .conftest import Serve
from .json_peers import SocketPeer
from .peers import SCALE

MESSAGES = 5
TEXT = "y" * 60_000
RATE = 30_000
KEEPALIVE_S = 4.0 * SCALE


@pytest.mark.timeout(200)
@pytest.mark.parametrize("way", ["browse", "plug"])
async def test_large_messages_pass_through_a_slow_relay(serve: Serve, way: str) -> None:
    """Its window is smaller than a segment of loopback, so all of it is probes to the system; still nobody is cut."""
    doors = await serve(http_port=0, tcp_port=0, keepalive_s=KEEPALIVE_S)
    cable = Cable(f"127.0.0.1:{doors.server.http_port if way == 'browse' else doors.server.tcp_port}")
    await cable.lay()
    cable.slow(RATE)
    try:
        said: list[str] = []
        if way == "browse":
            url = f"ws://{cable.address}/ws?batch=1"
            async with connect_websocket(url, compression=None, ping_interval=None, proxy=None) as socket:
                await _talk(await doors.plug())
                while len(said) < MESSAGES:
                    said += [event["message"][0] for event in json.loads(await socket.recv())]
        else:
            host, _, port = cable.address.rpartition(":")
            reader, writer = await asyncio.open_connection(host, port, limit=2**17)
            writer.write(b'{"operacion":"join","msg":"far","id":"in"}')
            await reader.readline()
            await _talk(await doors.plug())
            writer.write(b'{"operacion":"leave"}')
            said += [json.loads(line)["message"][0] async for line in reader]  # its last words, then the end
            writer.close()
        assert said == [f"{n}" for n in range(MESSAGES)]
    finally:
        await cable.close()


async def _talk(neighbour: SocketPeer) -> None:
    await neighbour.send(*({"msg": f"{n} {TEXT}"} for n in range(MESSAGES)))
    await neighbour.send({"operacion": "who", "id": "said"})
    while (await neighbour.hear()).get("id") != "said":
        pass
