"""What stands between breaks streams, or answers itself while the server is away: all languages come back."""

from __future__ import annotations

import pytest

from .between import Between
from .conftest import ROOM, Gather, Run, Serve
from .matrix import Matrix
from .program import Program


async def a_gathering(serve: Serve, gather: Gather, run: Run) -> tuple[Between, list[Program], Program]:
    """Bring a program of each language to a server, with something between, and one more to it directly."""
    server = await serve()
    between = Between(server.grpc)
    await between.stand()
    programs = await gather(between.address)
    outsider = await run(programs[0].language, server.grpc, name="ana", room=ROOM)
    await outsider.is_in()
    return between, programs, outsider


async def assert_nothing_was_lost(matrix: Matrix, what: str, programs: list[Program], outsider: Program) -> None:
    """Let the outsider say something that all hear, and see that they heard what it said before, once."""
    await outsider.say({"msg": "after", "id": "after"})

    async def check(program: Program) -> None:
        await program.hears("ana: after")
        assert [event["message"] for event in program.of_kind("MESSAGE")] == ["ana: meanwhile", "ana: after"]
        assert not program.of_kind("GAP")
        assert program.err

    await matrix.each(what, programs, check)


@pytest.mark.parametrize("code", [0, 2, 7, 8])
async def test_reset_streams(serve: Serve, gather: Gather, run: Run, matrix: Matrix, code: int) -> None:
    """Whatever the code says."""
    between, programs, outsider = await a_gathering(serve, gather, run)
    between.reset_streams(code)
    await outsider.say({"msg": "meanwhile", "id": "1"})
    await assert_nothing_was_lost(matrix, "reset streams", programs, outsider)
    await between.leave()


async def test_ended_streams(serve: Serve, gather: Gather, run: Run, matrix: Matrix) -> None:
    """A good end is no end where one did not leave."""
    between, programs, outsider = await a_gathering(serve, gather, run)
    between.end_streams()
    await outsider.say({"msg": "meanwhile", "id": "1"})
    await assert_nothing_was_lost(matrix, "ended streams", programs, outsider)
    await between.leave()


@pytest.mark.parametrize("status", [200, 403, 404, 502])
async def test_answers_of_a_proxy(serve: Serve, gather: Gather, run: Run, matrix: Matrix, status: int) -> None:
    """They prove nothing, where one had been let in before."""
    between, programs, outsider = await a_gathering(serve, gather, run)
    between.answer = status
    between.cut()
    for program in programs:
        await program.complains(2)  # the second time it is the answer
    await outsider.say({"msg": "meanwhile", "id": "1"})
    between.answer = 0
    between.cut()
    await assert_nothing_was_lost(matrix, "answers of a proxy", programs, outsider)
    await between.leave()
