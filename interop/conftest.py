"""What the tests of ``make interop`` share: programs, rooms, and the matrix that is printed at the end."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.page.server import PageServer, serving

from . import languages
from .languages import BUILD_S, Language
from .matrix import Matrix
from .program import Program

LANGUAGES = languages.load()
ROOM = "salón 100 % 你好"
_README = Path(__file__).with_name("test_readme.py")
_MATRIX = pytest.StashKey[Matrix]()
_FAULTS = pytest.StashKey[dict[str, str]]()


class Serve(Protocol):
    """Starts servers."""

    def __call__(self, *arguments: str) -> Awaitable[PageServer]:  # noqa: D102
        ...


class Gather(Protocol):
    """Brings a program of each language into one room."""

    def __call__(self, address: str, role: str = ...) -> Awaitable[list[Program]]:  # noqa: D102
        ...


class Run(Protocol):
    """Starts programs."""

    def __call__(self, language: Language, address: str, **options: Any) -> Awaitable[Program]:  # noqa: D102
        ...


def pytest_configure(config: pytest.Config) -> None:
    """Have a matrix, and take what another process built."""
    config.stash[_MATRIX] = Matrix()
    if hasattr(config, "workerinput"):
        languages.take(LANGUAGES, config.workerinput["faults"])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Build the programs, for all processes that will run tests."""
    config.stash[_FAULTS] = languages.build(LANGUAGES)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell such a process that they are built."""
    node.workerinput["faults"] = node.config.stash[_FAULTS]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have patience: whichever test comes first builds the programs."""
    alone = {item.path for item in items} == {_README}
    for item in items:
        item.add_marker(pytest.mark.timeout(2 * BUILD_S))
        if item.path == _README and not alone and hasattr(config, "workerinput"):
            item.add_marker(pytest.mark.skip(reason="builds anew what tests beside it run"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand over what this process found."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["matrix"] = session.config.stash[_MATRIX].counts()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a process found."""
    if hasattr(node, "workeroutput"):  # it did not crash
        node.config.stash[_MATRIX].add(node.workeroutput["matrix"])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print it."""
    terminalreporter.section("interop")
    absent = [f"not here: {language.needed}" for language in LANGUAGES if language.missing]
    for line in [*config.stash[_MATRIX].lines(), *absent]:
        terminalreporter.write_line(line)


@pytest.fixture
def matrix(pytestconfig: pytest.Config) -> Matrix:
    """What is printed at the end."""
    return pytestconfig.stash[_MATRIX]


def built_or_not(language: Language) -> Language:
    """Return a language, built; or skip the test where its tools are missing, and fail it in CI."""
    if language.missing:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(language.needed)
    if language.fault:
        pytest.fail(language.fault)
    return language


@pytest.fixture(params=LANGUAGES, ids=lambda language: language.name)
def language(request: pytest.FixtureRequest) -> Language:
    """Each language, built."""
    return built_or_not(request.param)


@pytest.fixture(scope="session")
def built() -> Sequence[Language]:
    """All languages that can be built here."""
    return [language for language in LANGUAGES if not language.missing and not language.fault]


@pytest.fixture(scope="session")
def secure() -> Sequence[Language]:
    """Those of them that speak TLS and present tokens."""
    return [language for language in LANGUAGES if language.secure and not language.missing and not language.fault]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start servers, which end with the test."""
    async with AsyncExitStack() as stack:
        yield lambda *arguments: stack.enter_async_context(serving(*arguments))


@pytest.fixture
async def run() -> AsyncIterator[Run]:
    """Start programs, which end with the test."""
    async with AsyncExitStack() as stack:

        async def start(language: Language, address: str, **options: Any) -> Program:
            program = Program(language, address, **{"name": language.name} | options)
            await program.start()
            stack.push_async_callback(program.kill)
            return program

        yield start


@pytest.fixture
def gather(run: Run, built: Sequence[Language]) -> Gather:
    """Bring a program of each language into one room."""

    async def start(address: str, role: str = "ñ") -> list[Program]:
        programs = [await run(language, address, name=f"{language.name} {role}", room=ROOM) for language in built]
        for program in programs:
            await program.is_in()
        return programs

    return start
