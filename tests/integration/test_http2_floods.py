"""Attacks on HTTP/2: memory stays bounded, the others are served meanwhile, and nothing is left of the attacker."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from bcast_grpc.http2 import ErrorCode
from bcast_grpc.http2 import frames as wire
from bcast_grpc.http2.states import Kind
from benchmarks.attacker import ACKNOWLEDGEMENT, CONNECT, GREETING, PING, Attacker, block, message, request
from benchmarks.attacks import CUT_OFF, HEEDLESS, UNREAD, WORK, Attack

from .conftest import ServerProcess, Spawn
from .peers import SCALE, within
from .test_flood_memory import resident
from .test_floods import MIB, talk

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc, as Linux has it"),
    pytest.mark.grpc_engine("native", reason="grpcio's HTTP/2 is tested where it is made"),
    pytest.mark.usefixtures("patient"),
]

MAY_GROW_BYTES = 150 * MIB
ATTACKERS = 2
RESOURCE_EXHAUSTED = 8
UNACKNOWLEDGED = wire.PREFACE + wire.settings_frame({})
CONTINUATIONS = wire.frame(Kind.CONTINUATION, 0, 1, b"x") * 20
WELCOMED = block(CONNECT, ("bcast-events", "welcome"))
SERVER = (
    *("--max-clients", "12000"),
    *("--max-streams-per-connection", "5500", "--max-clients-per-peer", "0"),  # or they would be cut off early
)


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
        async with asyncio.timeout(45 * SCALE):  # the server waits for a while for who does not close
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


async def test_who_heeds_no_windows_is_cut_off_or_served(watched: Watched) -> None:
    """It depends on the pace: the server opens them for whom it lets in."""

    async def attack() -> int | None:
        attacker = await Attacker.connect(watched.server.address, HEEDLESS.greeting)
        await attacker.flood(HEEDLESS.chunks())
        if not attacker.over:
            await attacker.is_heard()
        attacker.close()
        return attacker.goaway

    async def attacks() -> None:
        assert set(await asyncio.gather(*(attack() for _ in range(ATTACKERS)))) <= {HEEDLESS.code, None}

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
                await asyncio.sleep(SCALE)  # until the time is over: it must not be cut off
        assert not attacker.gone
        attacker.close()

    await watched.under(asyncio.gather(*(ask_on() for _ in range(ATTACKERS))))


@pytest.fixture
async def hurried(spawn: Spawn) -> Watched:
    """A server that gives its clients a second to begin."""
    arguments = (*SERVER, "--handshake-timeout-s", "1")
    watched = Watched(await spawn(*arguments, program=("tests.integration.watched_server",)))
    await watched.begin()
    return watched


SLOW: Mapping[str, tuple[bytes, bytes, int | None]] = {
    "nothing": (b"", b"", None),
    "the preface": (wire.PREFACE[:3], wire.PREFACE[3:], None),
    "the settings": (wire.PREFACE, wire.settings_frame({1: 0, 2: 0, 3: 1}), None),
    "the acknowledgement": (wire.PREFACE + wire.settings_frame({}), ACKNOWLEDGEMENT[:8], None),
    "calls, and no acknowledgement": (UNACKNOWLEDGED + request(1), PING * 9, ErrorCode.SETTINGS_TIMEOUT),
    "a header block": (GREETING + wire.frame(Kind.HEADERS, 0, 1, b"\x82"), CONTINUATIONS, ErrorCode.ENHANCE_YOUR_CALM),
    "a CONTINUATION": (GREETING + wire.frame(Kind.HEADERS, 0, 1), CONTINUATIONS[:9], ErrorCode.ENHANCE_YOUR_CALM),
}
"""What a client sends at once, what it goes on with byte by byte, and the code that it is cut off with."""


@pytest.mark.parametrize("slow", SLOW.values(), ids=SLOW)
async def test_a_crowd_that_is_slow_is_cut_off(hurried: Watched, slow: tuple[bytes, bytes, int | None]) -> None:
    """Many connections at once, that each take longer to begin than they may; nobody else notices."""
    first, rest, code = slow

    async def dribble() -> int | None:
        attacker = await Attacker.connect(hurried.server.address, first)
        for byte in rest[:40]:
            await asyncio.sleep(0.1)  # the slowness that is tested
            await attacker.send(bytes([byte]))
        return await attacker.end()

    async def attacks() -> None:
        assert set(await asyncio.gather(*(dribble() for _ in range(200)))) == {code}

    await hurried.under(attacks())


class Resetter(Attacker):
    """It asks for something, and resets the stream as soon as it gets that, again and again."""

    def _on_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        super()._on_frame(kind, flags, stream_id, payload)
        if kind == Kind.DATA and not self.gone:
            self.transport.write(wire.rst_stream(stream_id, ErrorCode.CANCEL) + request(stream_id + 200, WELCOMED))
            self.transport.write(wire.window_update(0, len(payload)))


async def test_who_resets_what_it_gets_is_cut_off(watched: Watched) -> None:
    """A stream that lives until its first DATA is one that was reset."""

    async def reset_all() -> None:
        attacker = await Resetter.connect(watched.server.address)
        await attacker.send(b"".join(request(stream, WELCOMED) for stream in range(1, 201, 2)))
        assert await attacker.end() == ErrorCode.ENHANCE_YOUR_CALM

    await watched.under(asyncio.gather(*(reset_all() for _ in range(ATTACKERS))))


class Nibbler(Attacker):
    """It gives its stream room for one byte at a time."""

    def _on_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        super()._on_frame(kind, flags, stream_id, payload)
        if kind == Kind.DATA and not self.gone:
            self.transport.write(wire.window_update(stream_id, 1) + wire.window_update(0, 1))


async def test_windows_of_1_byte(watched: Watched) -> None:
    """Who reads so slowly is served so, and ends as a slow consumer: others in its room do not wait for it."""

    async def nibble() -> None:
        nothing_yet = wire.PREFACE + wire.settings_frame({4: 0}) + ACKNOWLEDGEMENT
        nibblers = [await Nibbler.connect(watched.server.address, nothing_yet) for _ in range(20)]
        for nibbler in nibblers:
            await nibbler.send(request(1) + wire.window_update(1, 1))
        await asyncio.gather(*(nibbler.until(lambda one=nibbler: bool(one.answered)) for nibbler in nibblers))  # type: ignore[misc]
        sender = await Attacker.connect(watched.server.address)
        await sender.send(request(1))
        await sender.send_message(1, message(bytes([26, 224, 212, 3]) + bytes(60_000)) * 100)
        await asyncio.gather(*(nibbler.until(lambda one=nibbler: 1 in one.ended) for nibbler in nibblers))  # type: ignore[misc]
        assert all(nibbler.taken > 0 and nibbler.statuses == {1: RESOURCE_EXHAUSTED} for nibbler in nibblers)
        for one in (*nibblers, sender):
            one.close()

    await watched.under(nibble())
