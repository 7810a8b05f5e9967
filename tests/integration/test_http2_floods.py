"""Attacks on HTTP/2: memory stays bounded, the others are served meanwhile, and nothing is left of the attacker."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.attacker import Attacker, message, request
from benchmarks.attacks import CUT_OFF, UNREAD, WORK, Attack

from .conftest import ServerProcess, Spawn
from .peers import SCALE, within
from .test_flood_memory import resident
from .test_floods import MIB, talk

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc, as Linux has it")

MAY_GROW_BYTES = 150 * MIB
ATTACKERS = 2
RESOURCE_EXHAUSTED = 8
SERVER = ("--grpc-engine", "native", "--max-clients", "12000")


class Watched:
    """A server process, and two clients of it that talk."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server

    async def begin(self) -> None:
        """Let two clients in, and see what there is."""
        self.sender = await self.server.connect(room="other", batch="1")
        self.listener = await self.server.connect(room="other", batch="1")
        await talk(self.sender, self.listener, asyncio.sleep(0))
        self.before = await self.holds()
        self.resident = resident(self.server, "VmRSS")

    async def holds(self) -> Mapping[str, int]:
        """Ask the process what there is in it."""
        assert self.server.process.stdout
        self.server.signal(signal.SIGUSR1)
        counts: Mapping[str, int] = json.loads(await within(self.server.process.stdout.readline()))
        return counts

    async def under(self, attack: Awaitable[object]) -> None:
        """Let them talk during an attack; then nothing is left of it."""
        async with asyncio.timeout(90 * SCALE):
            await talk(self.sender, self.listener, attack)
        grown = resident(self.server, "VmHWM") - self.resident
        assert grown < MAY_GROW_BYTES, f"{grown / MIB:.0f} MiB"
        async with asyncio.timeout(15 * SCALE):
            while await self.holds() != self.before:  # noqa: ASYNC110  # the process tells nobody when it is so
                await asyncio.sleep(0.1)


@pytest.fixture
async def watched(spawn: Spawn) -> Watched:
    """A server to be attacked."""
    watched = Watched(await spawn(*SERVER, program=("tests.integration.watched_server",)))
    await watched.begin()
    return watched


async def run(server: ServerProcess, attack: Attack) -> int | None:
    """Attack until the server ends that or all is sent; return the code that it ended it with."""
    attacker = await Attacker.connect(server.address, attack.greeting, reads=attack.reads)
    await attacker.flood(attack.chunks())
    return await attacker.end()


@pytest.mark.parametrize("attack", CUT_OFF.values(), ids=CUT_OFF)
async def test_an_attacker_is_cut_off(watched: Watched, attack: Attack) -> None:
    """With the code for what it did."""

    async def attacks() -> None:
        codes = await asyncio.gather(*(run(watched.server, attack) for _ in range(ATTACKERS)))
        assert set(codes) <= ({attack.code} if attack.reads else {attack.code, None})  # it may not have seen why

    await watched.under(attacks())


@pytest.mark.parametrize("attack", WORK.values(), ids=WORK)
async def test_work_is_shared(watched: Watched, attack: Attack) -> None:
    """What a client may do as often as it likes is done beside all else."""

    async def work() -> None:
        attacker = await Attacker.connect(watched.server.address, attack.greeting)
        await attacker.work(attack.chunks())
        await attacker.is_heard()
        await attacker.until(lambda: attack.done(attacker))
        assert not attacker.over, attacker.goaway
        attacker.close()

    await watched.under(asyncio.gather(*(work() for _ in range(ATTACKERS))))


async def test_whole_messages_that_wait_for_their_client_are_bounded(watched: Watched) -> None:
    """Each is as large as may be, of many questions, whose answers nobody makes room for."""
    asked = message(bytes([122, 5, 10, 3, *b"who"]) * (4 * MIB // 7))

    async def ask(attacker: Attacker, stream: int) -> None:
        await attacker.send(request(stream))
        await attacker.send_message(stream, asked)

    async def ask_often() -> int:
        attacker = await Attacker.connect(watched.server.address)
        await asyncio.gather(*(ask(attacker, stream) for stream in range(1, 2 * 12, 2)))
        await attacker.is_heard()
        assert not attacker.over
        attacker.close()
        return sum(attacker.statuses.get(stream) == RESOURCE_EXHAUSTED for stream in attacker.ended)

    async def attacks() -> None:
        assert sum(await asyncio.gather(*(ask_often() for _ in range(4)))) > 0

    await watched.under(attacks())


@pytest.mark.parametrize("attack", UNREAD.values(), ids=UNREAD)
async def test_who_does_not_read_is_not_read_from(watched: Watched, attack: Attack) -> None:
    """So what the server holds for it is bounded."""

    async def ask_on() -> None:
        attacker = await Attacker.connect(watched.server.address, attack.greeting, reads=False)
        with suppress(TimeoutError):  # the server takes no more of it
            async with asyncio.timeout(SCALE):
                await attacker.flood(attack.chunks())
                await asyncio.sleep(SCALE)
        assert not attacker.gone
        attacker.close()

    await watched.under(asyncio.gather(*(ask_on() for _ in range(ATTACKERS))))
