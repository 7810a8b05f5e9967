"""Files that are read again: when, and what a fault in them does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from bcast_grpc.server import reload
from bcast_grpc.server.reload import Reload
from bcast_grpc.transport.address import CannotStart
from tests.integration.peers import eventually


class Text:
    """What is in a file, as it was when it was last read.

    Attributes:
        unwritten: what is still to be written to it; whoever looks at it sees some more of that each time.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.in_force = [file.read_text()]
        self.changed = asyncio.Event()
        self.unwritten: list[str] = []

    @property
    def files(self) -> Sequence[Path]:
        """The file."""
        if self.unwritten:
            self.write(self.file.read_text() + self.unwritten.pop(0))
        return (self.file,)

    def write(self, text: str) -> None:
        """Write it anew."""
        self.file.write_text(text)

    def read(self) -> Callable[[], str]:
        """Read it; some texts are faults."""
        text = self.file.read_text()
        if text == "fault":
            raise CannotStart("the fault")
        if text == "bug":
            raise RuntimeError("the bug")

        def use() -> str:
            self.in_force.append(text)
            self.changed.set()
            return text

        return use


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """It is looked at often."""
    monkeypatch.setattr(reload, "LOOK_S", 0.01)
    monkeypatch.setattr(reload, "SETTLE_S", 0.01)
    file = tmp_path / "file"
    file.write_text("first")
    return file


@asynccontextmanager
async def watching(text: Text) -> AsyncIterator[Reload]:
    """Look whether it changes."""
    reload = Reload([text])
    watch = asyncio.create_task(reload.watch())
    try:
        yield reload
    finally:
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch


@pytest.mark.parametrize("broken", ["fault", "bug"])
async def test_what_comes_after_a_fault_is_read(file: Path, broken: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the fault: the log says it, and what was in force stays so."""
    text = Text(file)
    async with watching(text), asyncio.timeout(10):
        text.write(broken)
        await eventually(lambda: f"the {broken}" in caplog.text)
        assert text.in_force == ["first"]
        text.write("second")
        await text.changed.wait()
    assert text.in_force == ["first", "second"]


async def test_a_file_is_not_read_while_it_is_written(file: Path) -> None:
    """Half of a file of rights is one, too, and would take away the other half from everyone."""
    text = Text(file)
    text.write("")
    text.unwritten = ["half", " of", " it"]
    async with watching(text), asyncio.timeout(10):
        await text.changed.wait()
    assert text.in_force == ["first", "half of it"]


async def test_a_file_is_read_at_once_where_somebody_asks(file: Path) -> None:
    """By SIGHUP: whoever asks has written it."""
    text = Text(file)
    text.write("second")
    assert await Reload([text]).reload()
    assert text.in_force == ["first", "second"]


async def test_a_link_that_is_changed_is_a_change(file: Path) -> None:
    """As Kubernetes changes what it mounts: all files at once, by one link."""
    for version, content in (("1", "first"), ("2", "second")):
        (file.parent / version).mkdir()
        (file.parent / version / "rights").write_text(content)
    data = file.parent / "..data"
    data.symlink_to("1")
    link = file.parent / "rights"
    link.symlink_to("..data/rights")
    text = Text(link)
    async with watching(text), asyncio.timeout(10):
        (file.parent / "new").symlink_to("2")
        (file.parent / "new").rename(data)
        await text.changed.wait()
    assert text.in_force == ["first", "second"]
