"""A slow line is a living one: clients of all languages stay, whatever it takes. Needs root, for network namespaces."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest

from tests.network import Line, line
from tests.page.server import serving

from .conftest import LANGUAGES
from .languages import Language
from .matrix import Matrix
from .program import Json, Program

RATE_BYTES = 8000
MESSAGES = 300
TEXT = "x" * 1000
PATIENCE_S = 180.0


class Ends:
    """A program at this end of a slow line of its own; the server, and somebody else, at the other."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self.line: Line
        self.here: Program
        self.there: Program

    async def lay(self, stack: AsyncExitStack) -> None:
        """Bring them into a room, and make the line slow."""
        self.line = await stack.enter_async_context(line())
        prefix = self.line.command
        server = await stack.enter_async_context(serving("--host", self.line.server_host, "--open", prefix=prefix))
        self.here = Program(self.language, server.grpc, name="here")
        self.there = Program(LANGUAGES[0], server.grpc, name="there", prefix=prefix)
        for program in (self.there, self.here):
            await program.start()
            stack.push_async_callback(program.kill)
            await program.is_in()
        self.line.set_rate(RATE_BYTES)


def messages(size: int, count: int) -> list[Json]:
    """So many messages."""
    return [{"msg": f"{n} {'x' * size}", "id": f"{n}"} for n in range(count)]


async def hold(matrix: Matrix, what: str, built: Sequence[Language], said: list[Json], *, upwards: bool) -> None:
    """Let one end say something, and see that the other one hears all of it on the first connection."""
    async with AsyncExitStack() as stack:
        lines = [Ends(language) for language in built]
        for ends in lines:
            await ends.lay(stack)
        talking = [asyncio.create_task((ends.here if upwards else ends.there).say(*said)) for ends in lines]

        async def check(program: Program) -> None:
            (there,) = (ends.there for ends in lines if ends.here is program)
            speaker, listener = (program, there) if upwards else (there, program)
            await listener.until(lambda: len(listener.of_kind("MESSAGE")) >= len(said), "all messages", PATIENCE_S)
            assert [event["message"] for event in listener.of_kind("MESSAGE")] == [
                f"{speaker.name}: {request['msg']}" for request in said
            ]
            assert not program.err
            assert not there.of_kind("LEFT")

        await matrix.each(what, [ends.here for ends in lines], check)
        await asyncio.gather(*talking)


@pytest.mark.parametrize("size", [1000, 60_000])
async def test_hearing(built: Sequence[Language], matrix: Matrix, size: int) -> None:
    """What comes in forty seconds comes on one connection."""
    await hold(matrix, "hears slowly", built, messages(size, 300_000 // size), upwards=False)


@pytest.mark.parametrize("size", [1000, 60_000])
async def test_saying(built: Sequence[Language], matrix: Matrix, size: int) -> None:
    """What takes forty seconds to say is said on one connection."""
    await hold(matrix, "says slowly", built, messages(size, 300_000 // size), upwards=True)
