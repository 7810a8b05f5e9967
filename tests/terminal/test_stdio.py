"""Lines come out of blocks as they went in, and no end of a pipe holds up the program."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcast_grpc.terminal.stdio import BlockingCalls, Line, Splitter, read_lines, write_all


async def lines_of(fd: int) -> list[Line]:
    """All lines that can be read."""
    return [line async for lines in read_lines(fd) for line in lines]


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))), st.data())
def test_however_the_input_is_cut_into_blocks_its_lines_are_the_same(texts: list[str], data: st.DataObject) -> None:
    """A cut may be in the middle of a character."""
    content = "".join(f"{text}\n" for text in texts).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)))))
    splitter = Splitter()
    lines = [
        line
        for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True)
        for line in splitter.feed(content[start:end])
    ]
    lines += splitter.end()
    assert lines == [Line(number, text) for number, text in enumerate(texts, 1)]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"a", [Line(1, "a")]),
        (b"a\r\nb\rc\n\n", [Line(1, "a"), Line(2, "b\rc"), Line(3, "")]),
        (b"ok\n\xff\nok", [Line(1, "ok"), Line(2, "", "byte 1 is not UTF-8"), Line(3, "ok")]),
        (b"0123456789\nok", [Line(1, "", "it is longer than 8 bytes"), Line(2, "ok")]),
        (b"ok\n0123456789", [Line(1, "ok"), Line(2, "", "it is longer than 8 bytes")]),
    ],
)
@pytest.mark.parametrize("step", [1, 3, 100])
def test_a_line_that_cannot_be_sent_has_a_number_and_a_reason(content: bytes, lines: list[Line], step: int) -> None:
    """The others are as they are."""
    splitter = Splitter(max_line_bytes=8)
    found = [line for at in range(0, len(content), step) for line in splitter.feed(content[at : at + step])]
    assert found + splitter.end() == lines


def test_a_line_without_end_is_not_kept() -> None:
    """However long it goes on, memory is bounded."""
    splitter = Splitter(max_line_bytes=1000)
    for _ in range(100):
        assert splitter.feed(b"x" * 999) == []
        assert len(splitter._rest) <= 1000
    assert splitter.feed(b"\nok\n") == [Line(1, "", "it is longer than 1000 bytes"), Line(2, "ok")]


async def test_a_regular_file_is_read(tmp_path: Path) -> None:
    """Event loops cannot poll one."""
    path = tmp_path / "input"
    path.write_text("".join(f"line {number}\n" for number in range(50_000)))
    descriptor = os.open(path, os.O_RDONLY)
    assert len(await lines_of(descriptor)) == 50_000
    os.close(descriptor)


async def test_nothing_is_read_from_the_null_device() -> None:
    """It ends at once."""
    descriptor = os.open(os.devnull, os.O_RDONLY)
    assert await lines_of(descriptor) == []
    os.close(descriptor)


async def test_the_loop_goes_on_while_a_pipe_has_nothing_to_read() -> None:
    """And a line is there as soon as it is written, without waiting for a block to fill."""
    reading, writing = os.pipe()
    lines = read_lines(reading)
    first = asyncio.ensure_future(anext(lines))
    await asyncio.sleep(0)
    assert not first.done()
    os.write(writing, b"hola\n")
    assert await first == [Line(1, "hola")]
    os.close(writing)
    assert await anext(lines) == []
    os.close(reading)


async def test_a_call_that_blocks_can_be_given_up() -> None:
    """Its thread is left behind, and what it returns later is dropped."""
    calls, release = BlockingCalls(), threading.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await calls.call(release.wait)
    release.set()
    assert await calls.call(lambda: 7) == 7


async def test_a_call_raises_what_the_system_says() -> None:
    """An ``OSError``."""
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(BrokenPipeError):
        await BlockingCalls().call(write_all, writing, b"x")
    os.close(writing)


async def test_all_of_a_block_is_written() -> None:
    """Also when it is more than a pipe takes at once."""
    reading, writing = os.pipe()
    os.set_blocking(reading, True)
    written = asyncio.ensure_future(BlockingCalls().call(write_all, writing, b"x\n" * 200_000))
    written.add_done_callback(lambda _: os.close(writing))
    assert len(await lines_of(reading)) == 200_000
    os.close(reading)
