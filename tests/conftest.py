"""What holds for all tests."""

import gc
import resource
import sys
from collections.abc import Generator, Iterator

import pytest
from hypothesis import settings

from tests.network import Line, laid_line

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

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
