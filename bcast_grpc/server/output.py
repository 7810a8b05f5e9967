"""Lines for stdout and stderr, written by a thread of their own, so that the server never waits for their reader."""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

_MAX_LINES = 10_000
_MAX_BYTES = 4 * 1024 * 1024
_MAX_LINE_BYTES = 64 * 1024
_PAUSE_S = 0.05


def open_missing() -> None:
    """Open ``/dev/null`` for each of stdin, stdout and stderr that is closed, or a socket would get its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # this gets the lowest free number
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r+"))  # noqa: PTH123, SIM115  # for as long as the process


class Output:
    """Writes lines to a stream, in a daemon thread that may block forever. Any thread may call ``put``.

    The queue of lines is bounded in number and bytes. Lines beyond that are dropped and counted, and so are lines that
    cannot be written (a full disk). Once lines can be written again, one of them reports how many are missing.

    Args:
        stream: where the lines go.
        missing: makes the line that reports how many lines are missing.
    """

    def __init__(self, stream: TextIO, missing: Callable[[int], str]) -> None:
        self._stream = stream
        self._missing = missing
        self._changed = threading.Condition()  # reentrant: a garbage collection may log in the middle of a put
        self._lines: deque[tuple[bytes, int]] = deque()  # with the number of lines that each stands for
        self._bytes = 0
        self._dropped = 0
        self._writing = False
        self._thread: threading.Thread | None = None

    def put(self, line: str) -> None:
        """Queue a line to be written, without waiting."""
        data = line.encode(errors="backslashreplace") + b"\n"
        with self._changed:
            share = 0.5 if self._dropped else 1  # after dropping lines, wait until half of the queue is free
            if len(self._lines) >= _MAX_LINES * share or self._bytes + len(data) > _MAX_BYTES * share:
                self._dropped += 1
                return
            self._tell_missing()
            self._append(data, 1)
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_all, name="output", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, patience_s: float) -> bool:
        """Wait until everything has been written, for ``patience_s`` at most; return whether it has."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._lines and not self._writing, patience_s)

    def _append(self, data: bytes, lines: int) -> None:
        self._lines.append((data, lines))
        self._bytes += len(data)

    def _tell_missing(self) -> None:
        if self._dropped:
            count, self._dropped = self._dropped, 0
            self._append(self._missing(count).encode() + b"\n", count)

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._lines)
                self._writing = True
                data, lines = self._lines.popleft()
                self._bytes -= len(data)
            written = self._write(data)
            with self._changed:
                if not written:
                    self._dropped += lines
                elif not self._lines:
                    self._tell_missing()

    def _write(self, data: bytes) -> bool:
        try:
            try:
                fd = self._stream.fileno()
            except io.UnsupportedOperation:  # the stream is not a file
                self._stream.write(data.decode())
                return True
            while data:
                try:
                    data = data[os.write(fd, data) :]
                except BlockingIOError:  # another process has made the shared file non-blocking
                    time.sleep(_PAUSE_S)
        except (OSError, ValueError):  # there is no reader, the disk is full, or the stream is closed
            return False
        return True


class LineStream(io.TextIOBase):
    """A text stream for what the interpreter and libraries print: its lines go to an ``Output``."""

    def __init__(self, output: Output, fd: int) -> None:
        self._output = output
        self._fd = fd
        self._rest = ""

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the file descriptor, for code that writes to it directly."""
        return self._fd

    def write(self, text: str) -> int:
        """Write text; a line is queued once it is complete."""
        *lines, rest = (self._rest + text).split("\n")
        if len(rest) > _MAX_LINE_BYTES:
            lines, rest = [*lines, rest], ""
        self._rest = rest
        for line in lines:
            self._output.put(line)
        return len(text)
