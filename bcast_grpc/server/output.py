"""Lines for stdout and stderr, written by a thread of their own: whoever says something never waits for a reader."""

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
    """Open what the process was started without, of stdin, stdout and stderr: else a socket would get its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r+"))  # noqa: PTH123, SIM115  # for as long as the process


class Output:
    """Writes lines to a stream. Any thread may say something; a daemon thread alone writes, and may be stuck for ever.

    What waits to be written is bounded in lines and bytes. What comes on top of that is dropped and counted, as is what
    the system does not take (a full disk); once something can be written again, a line tells how many are missing.

    Args:
        stream: where they go.
        missing: words the line that tells how many lines are missing.
    """

    def __init__(self, stream: TextIO, missing: Callable[[int], str]) -> None:
        self._stream = stream
        self._missing = missing
        self._changed = threading.Condition()  # its lock may be taken again by what a garbage collection says
        self._lines: deque[tuple[bytes, int]] = deque()  # and how many lines each stands for
        self._bytes = 0
        self._dropped = 0
        self._writing = False
        self._thread: threading.Thread | None = None

    def put(self, line: str) -> None:
        """Have a line written, without waiting."""
        data = line.encode(errors="backslashreplace") + b"\n"
        with self._changed:
            share = 0.5 if self._dropped else 1  # an episode of dropping ends when there is room for some
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
        """Wait until everything has been written, for so long at the most; return whether it has."""
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
            except io.UnsupportedOperation:  # it is no file
                self._stream.write(data.decode())
                return True
            while data:
                try:
                    data = data[os.write(fd, data) :]
                except BlockingIOError:  # somebody else has made it so, for all who share it
                    time.sleep(_PAUSE_S)
        except (OSError, ValueError):  # nobody can read it any more, the disk is full, or it has been closed
            return False
        return True


class LineStream(io.TextIOBase):
    """A text stream for what is printed by the interpreter and by libraries: its lines go to an ``Output``."""

    def __init__(self, output: Output, fd: int) -> None:
        self._output = output
        self._fd = fd
        self._rest = ""

    def writable(self) -> bool:
        """It is for writing."""
        return True

    def fileno(self) -> int:
        """Return the file beneath, for those who write to it by themselves."""
        return self._fd

    def write(self, text: str) -> int:
        """Take text; a line goes out once it is complete."""
        *lines, rest = (self._rest + text).split("\n")
        if len(rest) > _MAX_LINE_BYTES:
            lines, rest = [*lines, rest], ""
        self._rest = rest
        for line in lines:
            self._output.put(line)
        return len(text)
