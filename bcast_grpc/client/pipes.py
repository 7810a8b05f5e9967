"""Standard input and output of a filter: lines in, blocks out, whatever is at the other end.

A regular file cannot be polled, a terminal or a pipe may block for ever, and neither may hold up the loop or the
program's end: so each end has a daemon thread that does nothing but read or write.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple, TypeVar

_BLOCK_BYTES = 65_536
_MAX_LINE_BYTES = 4 * 1024 * 1024

T = TypeVar("T")


class Line(NamedTuple):
    """A line of the input, counted from 1; ``fault`` says why it cannot be sent, where that is so."""

    number: int
    text: str
    fault: str = ""


class BlockingCalls:
    """Makes blocking system calls one after the other, in a thread that the program's end does not wait for."""

    def __init__(self) -> None:
        self._asked: SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[object, ...]]] = SimpleQueue()
        Thread(target=self._serve, name="blocking-calls", daemon=True).start()

    async def call(self, function: Callable[..., T], *arguments: object) -> T:
        """Wait for what ``function`` returns, or raise the ``OSError`` that it raises."""
        answer: Future[T] = Future()
        self._asked.put((answer, function, arguments))
        return await asyncio.wrap_future(answer)

    def _serve(self) -> None:
        while True:
            answer, function, arguments = self._asked.get()
            if not answer.set_running_or_notify_cancel():
                continue
            try:
                answer.set_result(function(*arguments))
            except OSError as error:
                answer.set_exception(error)


class Splitter:
    r"""Cuts blocks of bytes into lines: ``\n`` or ``\r\n`` ends one, and the last may lack it."""

    def __init__(self, max_line_bytes: int = _MAX_LINE_BYTES) -> None:
        self._max_line_bytes = max_line_bytes
        self._rest = b""
        self._overlong = False
        self._count = 0

    def feed(self, block: bytes) -> list[Line]:
        """The lines that ``block`` completes."""
        *complete, self._rest = (self._rest + block).split(b"\n")
        lines = [self._line(each) for each in complete]
        if len(self._rest) > self._max_line_bytes:
            self._rest, self._overlong = b"", True
        return lines

    def end(self) -> list[Line]:
        """What is left when there are no more blocks."""
        return [self._line(self._rest)] if self._rest or self._overlong else []

    def _line(self, content: bytes) -> Line:
        self._count += 1
        overlong, self._overlong = self._overlong or len(content) > self._max_line_bytes, False
        if overlong:
            return Line(self._count, "", f"longer than {self._max_line_bytes} bytes")
        try:
            return Line(self._count, content.removesuffix(b"\r").decode())
        except UnicodeDecodeError as error:
            return Line(self._count, "", f"not UTF-8, from byte {error.start + 1} on")


async def read_lines(fd: int) -> AsyncIterator[list[Line]]:
    """Read lines, as many at once as there are; the next are read when they are asked for."""
    calls = BlockingCalls()
    splitter = Splitter()
    while block := await calls.call(os.read, fd, _BLOCK_BYTES):
        yield splitter.feed(block)
    yield splitter.end()


def write_all(fd: int, block: bytes) -> None:
    """Write the whole of ``block``, blocking."""
    view = memoryview(block)
    while view:
        view = view[os.write(fd, view) :]
