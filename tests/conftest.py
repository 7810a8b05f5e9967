"""What holds for all tests."""

import gc
import os
import resource
import sys
from collections.abc import Generator, Iterator
from zlib import crc32

import pytest
from hypothesis import settings

from tests.network import Line, laid_line

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

GROUPS = {"waiting": 2, "heavy": 1, "page": 2}
"""In this order tests begin that run one after the other, and into how many groups those of a kind are divided."""

WAITING = (
    "client/test_slow_line.py",
    "integration/test_relays.py",
    "integration/test_slow_lines.py",
    "test_network.py",
)
"""Tests that take minutes and hardly any CPU. They begin first, and two workers are there for them."""

HEAVY = (
    "broker/test_upkeep.py",
    "integration/test_compression.py",
    "integration/test_crowds.py",
    "integration/test_descriptors.py",
    "integration/test_flood_memory.py",
    "integration/test_floods.py",
    "integration/test_full_speed.py",
    "integration/test_http2_floods.py",
    "promises/test_storm.py",
)
"""Tests that take all the CPU or memory there is: no two run at the same time."""


_MOST_BYTES = 4 * 1024**3
"""Of a process of the tests, or one that it starts: several times what any needs."""


def pytest_configure() -> None:
    """Have a process that grows without bound end with a traceback, instead of starving the machine."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = _MOST_BYTES if hard == resource.RLIM_INFINITY else min(_MOST_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect tests without collecting garbage: there is none, and looking for it takes nearly half of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()  # nor is any of this looked at again by the tests that collect garbage
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In parallel, the groups begin first."""
    if hasattr(config, "workerinput"):
        order = [*GROUPS, ""]
        items.sort(key=lambda item: order.index(_kind_of(item.nodeid)))


@pytest.fixture(autouse=True)
def _no_secret_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever a test does with tokens, none of them is in the log."""
    yield
    if "tests.tokens" in sys.modules:
        logged = "\n".join(record.getMessage() + (record.exc_text or "") for record in caplog.get_records("call"))
        assert not sys.modules["tests.tokens"].secrets_in(logged)


@pytest.fixture(scope="session")
def _laid_line() -> Iterator[Line]:
    """A line for all tests of a process: laying one takes seconds, in which no page may be tested."""
    with laid_line() as laid:
        yield laid


@pytest.fixture
def cable(_laid_line: Line) -> Iterator[Line]:
    """A line that nothing slows down or cuts yet."""
    yield _laid_line
    _laid_line.restore()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One for each core, and those for the tests that wait."""
    return (os.cpu_count() or 1) + GROUPS["waiting"]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Say which tests run one after the other in one worker.

    xdist has marks for that, which pytest 9.2 makes it ignore: https://github.com/pytest-dev/pytest-xdist/issues/1386.
    """
    from xdist.scheduler import LoadScopeScheduling

    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = _group_of
    return scheduler


def _group_of(nodeid: str) -> str:
    kind = _kind_of(nodeid)
    return f"{kind} {crc32(nodeid.encode()) % GROUPS[kind]}" if kind else nodeid


def _kind_of(nodeid: str) -> str:
    name = nodeid.partition("::")[0].removeprefix("tests/")
    if name in WAITING:
        return "waiting"
    if name in HEAVY:
        return "heavy"
    return "page" if name.startswith("page/") else ""
