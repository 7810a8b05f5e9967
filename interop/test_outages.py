"""Servers end, cables break: clients of all languages in one room lose nothing, hear nothing twice, and are told."""

from __future__ import annotations

import asyncio
from itertools import chain
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals

import pytest

from tests.page.server import PageServer
from tests.promises.cable import Cable

from .conftest import ROOM, Gather, Run, Serve
from .matrix import Matrix
from .program import Program

LINES = 300


def texts(program: Program) -> list[str]:
    """What it heard others say."""
    return [event["message"] for event in program.of_kind("MESSAGE")]


def assert_heard_once(program: Program, programs: list[Program], lines: list[str]) -> None:
    """Hold what a program heard against what all the others said: each line once, each speaker's in order.

    Raises:
        AssertionError: it is not so.
    """
    for other in programs:
        said = [text for text in texts(program) if text.startswith(f"{other.name}: ")]
        wanted = [] if other is program else [f"{other.name}: {line}" for line in lines]
        assert said == wanted, f"of {other} it heard {len(said)} lines, {len(set(said))} of them different"


async def restart(server: PageServer, how: Signals, programs: list[Program], meanwhile: list[str]) -> None:
    """Restart the server; while it is away, all have something to say."""
    await server.end(how)
    for program in programs:
        await program.complains()
        await program.say(*({"msg": text} for text in meanwhile))
    await server.start()


@pytest.mark.parametrize("how", [SIGTERM, SIGKILL])
async def test_restarts_with_a_store(
    serve: Serve, gather: Gather, matrix: Matrix, tmp_path: Path, how: Signals
) -> None:
    """Nothing is lost and nothing comes twice, whether the server says goodbye or not."""
    server = await serve("--store", f"sqlite:{tmp_path / 'chat.db'}")
    programs = await gather(server.grpc)
    for program in programs:
        await program.say({"msg": "before", "id": "before"})
        await program.is_answered("before")
    lines = ["before", "1", "2", "3", "after"]
    await restart(server, how, programs, lines[1:-1])
    for program in programs:
        await program.is_in(2)
        await program.say({"msg": "after", "id": "after"})
        await program.is_answered("after")

    async def check(program: Program) -> None:
        await program.until(lambda: len(texts(program)) >= (len(programs) - 1) * len(lines), "all lines")
        assert_heard_once(program, programs, lines)
        assert program.of_kind("WELCOME")[-1]["welcome"]["resumed"]
        assert not program.of_kind("GAP")
        closings = program.of_kind("CLOSING")
        assert len(closings) == (how == SIGTERM)
        assert all(closing["closing"]["reconnect_after"].endswith("s") for closing in closings)

    await matrix.each(f"restart ({how.name})", programs, check)


async def test_killed_in_full_flow(serve: Serve, gather: Gather, matrix: Matrix, tmp_path: Path) -> None:
    """What was on its way is sent again, with the same ids, in its order."""
    server = await serve("--store", f"sqlite:{tmp_path / 'chat.db'}", "--history-messages", "10000")
    programs = await gather(server.grpc)
    lines = [f"{n}" for n in range(LINES)]
    talking: list[asyncio.Task[None]] = []
    for first in range(0, LINES, LINES // 3):  # or all might have been said before the third kill
        some = [{"msg": line} for line in lines[first : first + LINES // 3]]
        talking += [asyncio.create_task(program.say(*some)) for program in programs]
        await programs[0].hears_more(50)
        await server.end(SIGKILL)
        await server.start()
    await asyncio.gather(*talking)

    async def check(program: Program) -> None:
        await program.until(lambda: len(texts(program)) >= (len(programs) - 1) * LINES, "all lines")
        assert_heard_once(program, programs, lines)
        assert not program.of_kind("GAP")

    await matrix.each("killed in full flow", programs, check)


async def test_a_new_order(serve: Serve, gather: Gather, matrix: Matrix) -> None:
    """Where the server forgot everything, all are told, and hear all of the new order."""
    server = await serve()
    programs = await gather(server.grpc)
    await programs[0].say({"msg": "before", "id": "before"})
    await programs[0].is_answered("before")
    for program in programs[1:]:
        await program.hears(f"{programs[0].name}: before")
    await restart(server, SIGKILL, programs, ["after"])

    async def check(program: Program) -> None:
        await program.is_in(2)
        await program.until(lambda: len(texts(program)) >= len(programs) - 1 + (program is not programs[0]), "all")
        await program.until(lambda: program.of_kind("GAP"), "gap")
        assert [event["gap"] for event in program.of_kind("GAP")] == [{"reason": "GAP_REASON_NEW_EPOCH"}]
        after = [text for text in texts(program) if text.endswith("after")]
        assert sorted(after) == sorted(f"{other.name}: after" for other in programs if other is not program)

    await matrix.each("a new order", programs, check)


async def test_a_gap(serve: Serve, gather: Gather, run: Run, matrix: Matrix) -> None:
    """What is not kept any more is told, and what is kept is heard."""
    server = await serve("--history-messages", "10")
    cable = Cable(server.grpc)
    await cable.lay()
    programs = await gather(cable.address)
    outsider = await run(programs[0].language, server.grpc, name="ana", room=ROOM)
    await outsider.is_in()
    cable.stall()
    await outsider.say(*({"msg": f"{n}", "id": f"{n}"} for n in range(1, 51)))
    await outsider.is_answered("50")
    cable.cut()
    cable.mend()

    async def check(program: Program) -> None:
        await program.hears(f"{outsider.name}: 50")
        assert [event["gap"] for event in program.of_kind("GAP")] == [
            {"first_missed": "1", "last_missed": "40", "reason": "GAP_REASON_TRIMMED"}
        ]
        assert texts(program) == [f"{outsider.name}: {n}" for n in range(41, 51)]

    await matrix.each("a gap", programs, check)
    await cable.close()


async def test_a_dead_cable(serve: Serve, gather: Gather, matrix: Matrix) -> None:
    """A connection on which nothing comes any more is found by its pings; a quiet one is kept."""
    server = await serve("--keepalive-s", "300", "--progress-s", "300")
    cable, quiet = Cable(server.grpc), Cable(server.grpc)
    for each in (cable, quiet):
        await each.lay()
    programs, others = await gather(cable.address, "here"), await gather(quiet.address, "there")
    cable.stall()

    async def check(program: Program) -> None:
        await program.complains()

    await matrix.each("a dead cable", programs, check)
    cable.cut()
    cable.mend()
    await others[0].say({"msg": "hola", "id": "1"})

    async def check_again(program: Program) -> None:
        await program.hears(f"{others[0].name}: hola")

    async def check_quiet(program: Program) -> None:
        assert not program.err

    await matrix.each("and back", programs, check_again)
    await matrix.each("a quiet cable", others, check_quiet)
    for each in (cable, quiet):
        await each.close()


async def test_too_fast(serve: Serve, gather: Gather, matrix: Matrix) -> None:
    """Who is told to wait waits, and sends it again."""
    server = await serve("--rate", "40", "--burst", "10")
    programs = await gather(server.grpc)
    lines = [f"{n}" for n in range(40)]
    for program in programs:
        await program.say(*({"msg": line} for line in lines))

    async def check(program: Program) -> None:
        await program.until(lambda: len(program.of_kind("ACK")) >= len(lines), "all answers")
        wanted = chain.from_iterable([f"{o.name}: {line}" for line in lines] for o in programs if o is not program)
        await program.until(lambda: len(texts(program)) >= (len(programs) - 1) * len(lines), "all lines")
        assert sorted(texts(program)) == sorted(wanted)
        assert any(event["error"]["code"] == "ERROR_CODE_RATE_LIMITED" for event in program.of_kind("ERROR"))

    await matrix.each("too fast", programs, check)
