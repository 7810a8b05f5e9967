"""Every language against every other, in one room, and once more after the server was restarted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from signal import SIGTERM

import pytest
import pytest_asyncio

from tests.page.server import PageServer, serving

from . import cases
from .cases import Case, fits
from .conftest import ROOM
from .languages import Language
from .matrix import Matrix
from .program import Json, Program, shortened

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Room:
    """A speaker and a listener of each language."""

    def __init__(self, server: PageServer, built: Sequence[Language]) -> None:
        self.server = server
        self.speakers = [self._program(language, "hablante ñ") for language in built]
        self.listeners = [self._program(language, "oyente 你") for language in built]
        self.restarts = 0

    @property
    def everyone(self) -> list[Program]:
        """All who are here, in the order in which they came."""
        return [*self.speakers, *self.listeners]

    async def restart(self) -> None:
        """Restart the server, and wait until all have come back."""
        self.restarts += 1
        await self.server.end(SIGTERM)
        await self.server.start()
        for program in self.everyone:
            await program.is_in(1 + self.restarts)
            assert program.of_kind("WELCOME")[-1]["welcome"].get("resumed"), f"{program} was not resumed"
        await self.settle()

    async def settle(self) -> None:
        """Wait until all have heard of all who came."""
        await self.everyone[0].say({"msg": f"all here, {self.restarts}"})
        for program in self.everyone[1:]:
            await program.hears(f"{self.everyone[0].name}: all here, {self.restarts}")

    def _program(self, language: Language, role: str) -> Program:
        return Program(language, self.server.grpc, name=f"{language.name} {role}", room=ROOM)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def room(built: Sequence[Language], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Room]:
    """The room of all tests here."""
    store: Path = tmp_path_factory.mktemp("store") / "chat.db"
    async with AsyncExitStack() as stack:
        room = Room(
            await stack.enter_async_context(serving("--store", f"sqlite:{store}", "--history-messages", "100000")),
            built,
        )
        for program in room.everyone:
            await program.start()
            stack.push_async_callback(program.kill)
        for program in room.everyone:
            await program.is_in()
        await room.settle()
        yield room


ALL_CASES = pytest.mark.parametrize("case", cases.load(), ids=lambda case: case.name)


@ALL_CASES
async def test_everyone_hears_everyone(room: Room, case: Case, language: Language, matrix: Matrix) -> None:
    """What one says, all the others hear, and only that, in its order; and it is answered."""
    await hold(room, case, language, matrix)


@ALL_CASES
async def test_after_a_restart(room: Room, case: Case, language: Language, matrix: Matrix) -> None:
    """The same once more, on the connections that came back."""
    if not room.restarts:
        await room.restart()
    await hold(room, case, language, matrix)


async def hold(room: Room, case: Case, language: Language, matrix: Matrix) -> None:
    """Let a language's program speak, and see what comes of it."""
    (speaker,) = (program for program in room.speakers if program.language is language)
    since = {program: len(program.out) for program in room.everyone}
    run = f"{case.name} {room.restarts}"
    end = f"end of {run}"
    await speaker.say(*case.expand(case.requests, speaker.name, run), {"msg": end, "id": end})
    expected = case.expand(case.heard, speaker.name, run)
    expected.append({"kind": "EVENT_KIND_MESSAGE", "message": f"{speaker.name}: {end}"})
    faults: list[str] = []
    try:
        await speaker.is_answered(end, since[speaker])
        assert not [event for event in speaker.heard(since[speaker]) if event["kind"] == "EVENT_KIND_MESSAGE"]
        answers = [_names_only(event) for event in speaker.out[since[speaker] :] if event.get("id", "").startswith(run)]
        names = sorted(program.name for program in room.everyone)
        wanted = case.expand(case.answers, speaker.name, run)
        assert_same(answers, [answer | {"members": names} if "members" in answer else answer for answer in wanted])
    except AssertionError as fault:
        faults.append(f"{speaker}: {fault}")
    answered = not faults
    for listener in room.everyone:
        if listener is speaker:
            continue
        right = answered
        try:
            if answered:
                await listener.hears(f"{speaker.name}: {end}", since[listener])
                assert_same(listener.heard(since[listener]), expected)
        except AssertionError as fault:
            faults.append(f"{listener}: {fault}")
            right = False
        matrix.pair(language.name, listener.language.name, right=right)
    assert not faults, "\n".join(faults)


def assert_same(events: Sequence[Json], expected: Sequence[Json]) -> None:
    """Hold events against what is expected.

    Raises:
        AssertionError: with the first that is not so.
    """
    for number, (event, wanted) in enumerate(zip(events, expected, strict=False), 1):
        assert fits(event, wanted), f"event {number} is {shortened(event)}, not {shortened(wanted)}"
    assert len(events) == len(expected), f"{len(events)} events instead of {len(expected)}"


def _names_only(event: Json) -> Json:
    """Return an event with nothing but the names of those who are here."""
    if "members" not in event:
        return event
    return event | {"members": sorted(member["name"] for member in event["members"]["members"])}
