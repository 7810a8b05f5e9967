"""gRPC's own interoperability cases, as far as they apply, by a driver in each language.

Those in Python are in ``tests/integration/test_grpc_cases.py``.
"""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from os import environ
from unittest.mock import ANY

import pytest
import pytest_asyncio
from grpc import StatusCode

import bcast_grpc
from bcast_grpc.core.names import shortened
from bcast_grpc.events import Kind
from tests.integration.peers import within
from tests.page.server import PageServer, serving

from .conftest import LANGUAGES, built_or_not
from .languages import Language, Source
from .program import DEAD_PROXY, PATIENCE_S, Json

pytestmark = pytest.mark.asyncio(loop_scope="module")

LARGEST = 65_536
ODD = '100% "\\~' + "x" * 100
SHOWN = f"{shortened(ODD)!r} is not percent-encoded"
_ROOMS = count()


@dataclass(frozen=True)
class Case:
    """What a driver does, by its name, and what comes of it.

    Attributes:
        text: a part of the status's text.
        ids: those of the events that the driver read.
        size: how many bytes of data were in these events.
        heard: the sizes of the messages that another client heard from it.
        leaves: how often the other client also heard it leave; 0 where it may not have been in.
        history: how many large messages are there before.
    """

    name: str
    code: StatusCode = StatusCode.OK
    text: str = ""
    ids: Sequence[str] = ()
    size: int = 0
    heard: Sequence[int] = ()
    leaves: int = 1
    history: int = 0

    def __str__(self) -> str:
        return self.name


def _numbers(last: int) -> list[str]:
    return [f"{n}" for n in range(1, last + 1)]


def _in_turns(streams: int) -> list[str]:
    """Return what streams read that ask who is there, speak in turn, and end in turn."""
    speaking = [[""] * number + [f"{number + 1}"] for number in range(streams)]
    ending = [[""] * (streams - 1 - number) for number in range(streams)]
    return ["0"] * streams + list(chain(*speaking, *ending))


CASES = [
    Case("empty_unary", StatusCode.INVALID_ARGUMENT, "msg", leaves=0),
    Case("large_unary", heard=[LARGEST], leaves=0),
    Case("client_compressed_unary", heard=[5000], leaves=0),
    Case("server_streaming", StatusCode.CANCELLED, ids=[""] * 20, size=20 * LARGEST, history=20),
    Case("empty_stream"),
    Case("half_duplex", ids=_numbers(10), heard=[1] * 10),
    Case("client_compressed_streaming", ids=_numbers(10), heard=[10_000] * 10),
    Case("large_frame", ids=_numbers(60), heard=[LARGEST] * 60),
    Case("too_large_frame", StatusCode.RESOURCE_EXHAUSTED, f"{4 * 2**20}"),
    Case("ping_pong", ids=_numbers(10), heard=[LARGEST] * 10),
    Case("many_streams", ids=_in_turns(100), size=100 * 99, heard=[1] * 100, leaves=100),
    Case("cancel_after_begin", StatusCode.CANCELLED, leaves=0),
    Case("cancel_after_first_response", StatusCode.CANCELLED, ids=["1"]),
    Case("timeout_on_sleeping_server", StatusCode.DEADLINE_EXCEEDED, leaves=0),
    Case("special_status_message", StatusCode.INVALID_ARGUMENT, SHOWN, leaves=0),
    Case("unimplemented_method", StatusCode.UNIMPLEMENTED, leaves=0),
    Case("unimplemented_service", StatusCode.UNIMPLEMENTED, leaves=0),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[PageServer]:
    """The server of all cases; each has a room of its own."""
    async with serving() as server:
        yield server


@pytest.fixture(params=[language for language in LANGUAGES if language.driver], ids=lambda language: language.name)
def driver(request: pytest.FixtureRequest) -> Source:
    """The driver in each language, built."""
    language: Language = request.param
    built_or_not(language)
    assert language.driver
    if language.driver.fault:
        pytest.fail(language.driver.fault)
    return language.driver


async def seen(driver: Source, *arguments: str) -> Json:
    """Run a driver; return what it saw."""
    process = await asyncio.create_subprocess_exec(
        *driver.run, *arguments, cwd=driver.folder, env=environ | DEAD_PROXY, stdout=PIPE, stderr=PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, err.decode()
    result: Json = json.loads(out)
    return result


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_case(server: PageServer, driver: Source, case: Case) -> None:
    """The driver and the others see what is right, and the server forgets the call."""
    room = f"cases{next(_ROOMS)}"
    async with bcast_grpc.connect(server.grpc, name="bob", room=room) as bob:
        for _ in range(case.history):
            await bob.send(data=bytes(LARGEST))
        result = await seen(driver, case.name, server.grpc, room)
        events = [await within(anext(bob)) for _ in range(len(case.heard) + case.leaves)]
        async with asyncio.timeout(PATIENCE_S):
            while len(await bob.members()) > 1:  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.05)
    assert result == {"code": case.code.value[0], "message": ANY, "ids": [*case.ids], "size": case.size}
    assert case.text in result["message"]
    assert [len(event.data or event.text) for event in events if event.kind is Kind.MESSAGE] == list(case.heard)
    assert [event.message for event in events if event.kind is Kind.LEFT] == ["caller left"] * case.leaves
