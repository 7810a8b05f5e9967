"""Servers of the previous version and of this one are one cluster, while clients move from one to another."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from contextlib import AsyncExitStack
from pathlib import Path
from secrets import token_hex

import pytest

import bcast_grpc
from bcast_grpc import Kind
from tests.nats_server import NatsServer
from tests.ports import free_port
from tests.previous import unpack

from .conftest import Run
from .peers import PATIENCE_S, begun, within
from .talkers import check, conversation, more, talker

pytestmark = pytest.mark.one_engine

_PROGRAM = """
import runpy, bcast_grpc
print(bcast_grpc.__file__, flush=True)
runpy.run_module("bcast_grpc.server", run_name="__main__", alter_sys=True)
"""

NAMES = ("ana", "bob", "eva")


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the previous version."""
    return unpack(tmp_path_factory.mktemp("tree"))


class Fleet:
    """Servers on ports of their own, each of one version or the other."""

    def __init__(self, run: Run, nats: NatsServer, previous: Path) -> None:
        self.targets: list[str] = []
        self._run = run
        self._previous = previous
        self._store = ["--store", nats.url, "--cluster", token_hex(4)]
        self._processes: list[Process] = []

    async def add(self, *, old: bool) -> None:
        """Start one more."""
        self.targets.append(f"127.0.0.1:{free_port()}")
        self._processes.append(await self._start(self.targets[-1], old=old))

    async def replace(self, number: int, *, old: bool) -> None:
        """End one, which drains, and start one of another version in its place."""
        process = self._processes[number]
        process.send_signal(signal.SIGTERM)
        _, errors = await within(process.communicate())
        assert process.returncode == 0, errors
        self._processes[number] = await self._start(self.targets[number], old=old)

    async def _start(self, target: str, *, old: bool) -> Process:
        tree = self._previous if old else Path(bcast_grpc.__file__).parent.parent
        environ = os.environ | {"PYTHONPATH": str(tree)}
        where = ["--port", target.rpartition(":")[2], *self._store]
        process = await self._run(sys.executable, "-c", _PROGRAM, *where, cwd=tree, env=environ)
        assert process.stdout
        lines = [(await begun(process.stdout.readline())).decode() for _ in range(2)]
        assert lines[0].startswith(str(tree)), lines
        assert target in lines[1]
        return process


async def names(target: str) -> list[str]:
    """Who is in the room with a name, as a server says."""
    async with bcast_grpc.connect(target) as chat:
        return sorted(member.name for member in await chat.members() if member.name)


async def history(target: str, count: int) -> list[tuple[int, str, str]]:
    """The last messages, as a server tells them."""
    heard: list[tuple[int, str, str]] = []
    async with bcast_grpc.connect(target, history=count) as chat:
        async for event in chat:
            if event.kind is Kind.MESSAGE:
                heard.append((event.seq, event.sender, event.text))
            if len(heard) == count:
                break
    return heard


async def test_a_rolling_upgrade_and_back(run: Run, shared_nats: NatsServer, previous: Path) -> None:
    """Each server is replaced in turn, and one again by an old one: nothing is lost or doubled, and presence holds."""
    fleet = Fleet(run, shared_nats, previous)
    for _ in NAMES:
        await fleet.add(old=True)
    async with AsyncExitStack() as stack:
        talkers = [await stack.enter_async_context(talker(fleet.targets, name)) for name in NAMES]
        async with conversation(talkers):
            for number, old in [(0, False), (1, False), (2, False), (0, True)]:
                await fleet.replace(number, old=old)
                await more(talkers)
                for target in fleet.targets:
                    await _tells(target, NAMES)
        check(talkers)
        count = min(500, sum(one.said for one in talkers))
        told = [await history(target, count) for target in fleet.targets]
    assert told[0] == told[1] == told[2]


async def _tells(target: str, expected: tuple[str, ...]) -> None:
    """Wait until a server says who is there: a client that moves has left for a moment."""
    async with asyncio.timeout(PATIENCE_S):
        while await names(target) != list(expected):  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.1)
