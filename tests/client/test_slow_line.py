"""A line that is slow is no dead line, in either direction; one that is dead is found."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

import bcast_grpc
from bcast_grpc import Event, Kind
from tests.network import Line

pytestmark = pytest.mark.timeout(300)

ROOM = "slow"
TEXTS = [f"{number:4} ".ljust(1000, "x") for number in range(160)]


async def test_a_line_of_8_kb_a_second_carries_a_chat_both_ways(cable: Line) -> None:
    """Longer than any ping may wait: one connection, nobody leaves; then the cable is cut in the middle."""
    command = (
        *(*cable.command, sys.executable, "-m", "bcast_grpc.server"),
        *("--host", cable.server_host, "--open", "--port", "0"),
    )
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
    with server:
        try:
            assert server.stdout
            target = server.stdout.readline().strip().removeprefix("listening on grpc://")
            await _talk(cable, target)
        finally:
            server.kill()


async def _talk(slow: Line, target: str) -> None:
    async with bcast_grpc.connect(target, name="fast", room=ROOM) as fast:
        for text in TEXTS:
            fast.post(text)
        await fast.flush()
    slow.set_rate(8_000)
    async with asyncio.timeout(250), bcast_grpc.connect(target, name="slow", room=ROOM, history=len(TEXTS)) as chat:
        for text in TEXTS:
            chat.post(text)
        events = [await anext(chat) for _ in TEXTS]
        assert [event.text for event in events] == TEXTS
        await chat.flush()
        for text in TEXTS:
            chat.post(text)
        slow.cut()
        lost = await anext(chat)
        slow.mend()
        assert lost.kind is Kind.RECONNECTING
        await _until_resumed(chat)
        await chat.flush()


async def _until_resumed(chat: bcast_grpc.Chat) -> Event:
    while (event := await anext(chat)).kind is not Kind.RESUMED:
        assert event.kind is Kind.RECONNECTING
    return event
