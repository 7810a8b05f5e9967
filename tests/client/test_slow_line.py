"""A line that is slow is no dead line, in either direction; one that is dead is found."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

import bcast_grpc
from bcast_grpc import Event, Kind
from bcast_grpc.client import dial
from bcast_grpc.settings import Settings
from tests.network import Line

FASTER = 4
"""How many times sooner than by default both ends give a silent connection up; the real times would take minutes."""

KEEPALIVE_S = Settings.model_fields["keepalive_s"].default / FASTER
ROOM = "slow"
TEXTS = [f"{number:4} ".ljust(1000, "x") for number in range(200 // FASTER)]


@pytest.fixture(autouse=True)
def _soon_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the client notice sooner that a server is dead."""
    sooner = (
        (name, value // FASTER if name.endswith("_ms") and isinstance(value, int) else value)
        for name, value in dial._OPTIONS
    )
    monkeypatch.setattr(dial, "_OPTIONS", tuple(sooner))


async def test_a_line_of_8_kb_a_second_carries_a_chat_both_ways(cable: Line) -> None:
    """Longer than any ping may wait: one connection, nobody leaves; then the cable is cut in the middle."""
    command = (
        *(*cable.command, sys.executable, "-m", "bcast_grpc.server"),
        *("--host", cable.server_host, "--open", "--port", "0", "--keepalive-s", f"{KEEPALIVE_S}"),
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
    async with asyncio.timeout(100), bcast_grpc.connect(target, name="slow", room=ROOM, history=len(TEXTS)) as chat:
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
