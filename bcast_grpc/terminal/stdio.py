"""Standard input and output in a pipeline: lines in, blocks out, whatever is at the other end.

A regular file cannot be polled, and a terminal or a pipe may block forever. Neither may delay the event loop or the end
of the program, so each end has a daemon thread that only reads or writes.
"""

from __future__ import annotations

import asyncio
import codecs
import os
import select
import stat
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple, TypeVar

_BLOCK_BYTES = 65_536
_MAX_LINE_BYTES = 4 * 1024 * 1024

T = TypeVar("T")


class Line(NamedTuple):
    """A line of the input, counted from 1; if it cannot be sent, ``fault`` says why."""

    number: int
    text: str
    fault: str = ""


class BlockingCalls:
    """Makes blocking system calls, one after the other, in a thread that does not delay the end of the program."""

    def __init__(self) -> None:
        self._asked: SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[object, ...]]] = SimpleQueue()
        Thread(target=self._serve, name="blocking-calls", daemon=True).start()

    async def call(self, function: Callable[..., T], *arguments: object) -> T:
        """Return what ``function`` returns, or raise the ``OSError`` that it raises."""
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
    r"""Cuts blocks of bytes into lines: ``\n`` or ``\r\n`` ends one, and the last may lack it.

    A UTF-8 byte order mark at the beginning is skipped. One of UTF-16 makes the whole input unusable.
    """

    def __init__(self, max_line_bytes: int = _MAX_LINE_BYTES) -> None:
        self._max_line_bytes = max_line_bytes
        self._rest = b""
        self._overlong = False
        self._spoiled = False
        self._count = 0

    def feed(self, block: bytes) -> list[Line]:
        """The lines that ``block`` completes."""
        if self._spoiled:
            return []
        *complete, self._rest = (self._rest + block).split(b"\n")
        lines = [self._line(each) for each in complete]
        if self._spoiled:
            return lines[:1]
        if len(self._rest) > self._max_line_bytes:
            self._rest, self._overlong = b"", True
        return lines

    def end(self) -> list[Line]:
        """The last line, if it lacks its line break."""
        return [self._line(self._rest)] if (self._rest or self._overlong) and not self._spoiled else []

    def _line(self, content: bytes) -> Line:
        self._count += 1
        overlong, self._overlong = self._overlong or len(content) > self._max_line_bytes, False
        if overlong:
            return Line(self._count, "", f"it is longer than {self._max_line_bytes} bytes")
        if self._count == 1:
            content = content.removeprefix(codecs.BOM_UTF8)
            if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                self._spoiled = True
                return Line(1, "", "the input is UTF-16, and must be UTF-8; no line after it was sent either")
        try:
            return Line(self._count, content.removesuffix(b"\r").decode())
        except UnicodeDecodeError as error:
            return Line(self._count, "", f"byte {error.start + 1} is not UTF-8")


async def read_lines(fd: int) -> AsyncIterator[list[Line]]:
    """Read lines, as many at once as there are; more are read only when they are asked for."""
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


async def until_unread(fd: int) -> None:
    """Wait until a pipe or a socket has no reader any more; forever if it is something else."""
    kind = os.fstat(fd).st_mode
    if not (hasattr(select, "poll") and (stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind))):
        await asyncio.Event().wait()
    poll = select.poll()
    poll.register(fd, 0)  # errors are always reported
    await BlockingCalls().call(poll.poll)
