"""What is said on stdout and stderr: nobody waits for a reader, and what nobody read is counted."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from bcast_grpc.server.output import LineStream, Output

PATIENCE_S = 30.0


class Pipe:
    """A pipe whose reader reads when it is told to."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self.end: TextIO = open(self._write, "w")  # noqa: PTH123, SIM115

    def fill(self) -> None:
        """Have nothing more fit into it."""
        os.set_blocking(self._write, False)
        try:
            while True:
                os.write(self._write, b"." * 4096)
        except BlockingIOError:
            os.set_blocking(self._write, True)

    def lines(self, until: str) -> list[str]:
        """Read up to a line."""
        lines = [""]
        while until not in [line.lstrip(".") for line in lines[-2:-1]]:
            text = os.read(self._read, 65536).decode()
            assert text, f"{until} never came"
            first, *more = text.split("\n")
            lines[-1] += first
            lines += more
        return [line.lstrip(".") for line in lines[:-1]]

    def hang_up(self) -> None:
        """Read no more, ever."""
        os.close(self._read)
        self._read = -1

    def close(self) -> None:
        """Close it."""
        if self._read >= 0:
            os.close(self._read)
        self.end.close()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A pipe."""
    pipe = Pipe()
    yield pipe
    pipe.close()


def output_of(stream: TextIO) -> Output:
    """An output that tells of what is missing by its number."""
    return Output(stream, "{} missing".format)


def test_lines_come_in_order(pipe: Pipe) -> None:
    """Each is written once, and ``flush`` waits for that."""
    output = output_of(pipe.end)
    for n in range(1000):
        output.put(f"{n}")
    assert output.flush(PATIENCE_S)
    assert pipe.lines("999") == [f"{n}" for n in range(1000)]


def test_nobody_waits_for_a_reader(pipe: Pipe) -> None:
    """However much is said; then what fitted comes, and in its place how much is missing."""
    pipe.fill()
    output = output_of(pipe.end)
    for n in range(30_000):
        output.put(f"{n}")
    assert not output.flush(0.01)
    reading: list[list[str]] = []
    reader = threading.Thread(target=lambda: reading.append(pipe.lines("the end")))
    reader.start()
    while not output.flush(0.1):
        pass
    output.put("the end")
    reader.join(PATIENCE_S)
    [lines] = reading
    kept = [line for line in lines if line.isdigit()]
    told = [line for line in lines if line.endswith(" missing")]
    assert kept == [f"{n}" for n in range(len(kept))]
    assert len(kept) >= 10_000
    assert told == [f"{30_000 - len(kept)} missing"]
    assert lines.index(told[0]) == len(lines) - 2


def test_what_waits_is_bounded_in_bytes(pipe: Pipe) -> None:
    """Long lines count as much as they are long."""
    pipe.fill()
    output = output_of(pipe.end)
    for _ in range(200):
        output.put("x" * 1_000_000)
    assert output._bytes < 5_000_000
    assert output._dropped > 190


def test_where_nobody_is_left_nothing_is_kept(pipe: Pipe) -> None:
    """A closed pipe takes nothing, and harms nothing."""
    pipe.hang_up()
    output = output_of(pipe.end)
    for n in range(100):
        output.put(f"{n}")
    assert output.flush(PATIENCE_S)
    assert output._dropped == 100


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has it")
def test_a_full_disk_loses_lines_and_no_more() -> None:
    """What the system does not take is counted."""
    with open("/dev/full", "w") as full:  # noqa: PTH123
        output = output_of(full)
        output.put("one")
        output.put("two")
        assert output.flush(PATIENCE_S)
        assert output._dropped >= 2


def test_a_pipe_that_somebody_made_impatient(pipe: Pipe) -> None:
    """Who shares it may have set it so that a write does not wait: then we do."""
    pipe.fill()
    os.set_blocking(pipe.end.fileno(), False)
    output = output_of(pipe.end)
    output.put("hola")
    assert not output.flush(0.01)
    assert pipe.lines("hola")[-1] == "hola"


def test_what_is_said_while_something_is_said() -> None:
    """A garbage collection may log in the middle of a log line."""
    output = output_of(io.StringIO())
    with output._changed:
        output.put("hola")
    assert output.flush(PATIENCE_S)


def test_printed_text_goes_out_line_by_line() -> None:
    """However it is cut, and an endless line in pieces."""
    to = io.StringIO()
    output = output_of(to)
    stream = LineStream(output, 2)
    print("a", "b", file=stream)
    stream.write("c\nd")
    stream.write("e\n")
    stream.write("x" * 70_000)
    assert output.flush(PATIENCE_S)
    assert to.getvalue() == "a b\nc\nde\n" + "x" * 70_000 + "\n"
    assert stream.fileno() == 2
    assert stream.writable()
