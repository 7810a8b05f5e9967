"""A terminal of its own for the program, as a person sees and uses it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import struct
import termios
from collections.abc import Callable, Mapping

import pyte

from tests.forked import Program

TIMEOUT_S = 60


ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm-256color"}


def _own_terminal() -> None:
    """Have the pty as the controlling terminal, as a shell's job has its own."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """A terminal with the program on it.

    Attributes:
        written: all that the program wrote.
    """

    def __init__(self, *arguments: str, environment: Mapping[str, str]) -> None:
        self.written = b""
        self._read_all = False
        self._screen = pyte.Screen(80, 24)
        self._stream = pyte.ByteStream(self._screen)
        self._changed = asyncio.Event()
        self._end, self._child_end = os.openpty()
        self.resize(80, 24, tell=False)
        self.modes = termios.tcgetattr(self._child_end)
        self.process = Program(
            "bcast_grpc.client",
            *arguments,
            descriptors=[self._child_end] * 3,
            environment={**ENVIRONMENT, **environment},
            first=_own_terminal,
        )
        asyncio.get_running_loop().add_reader(self._end, self._read)

    @property
    def lines(self) -> list[str]:
        """What is on the screen, without blank lines at its end."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip("\n").split("\n")

    @property
    def last_word(self) -> str:
        """The one line that it says in its own name, at the end and nowhere else; the terminal may have wrapped it."""
        first, *rest = [line for line in self.lines if line][-2:]
        line = first + "".join(rest) if first.startswith("bcast-client: ") else "".join(rest)
        assert line.startswith("bcast-client: "), self.lines
        assert self.written.decode().count("bcast-client: ") == 1
        return line

    @property
    def modes_now(self) -> list[object]:
        """How the terminal is set."""
        return termios.tcgetattr(self._end)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._end, text.encode())

    async def paste(self, text: str) -> None:
        """Paste, as terminals do."""
        content = f"\x1b[200~{text}\x1b[201~".encode()
        for at in range(0, len(content), 1024):  # a pty takes 4 KiB at once, if nobody reads
            await asyncio.to_thread(os.write, self._end, content[at : at + 1024])

    def resize(self, columns: int, lines: int, *, tell: bool = True) -> None:
        """Make the window another size."""
        self._screen.resize(lines, columns)
        fcntl.ioctl(self._end, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        if tell:
            self.process.send_signal(signal.SIGWINCH)

    async def until(self, seen: Callable[[list[str]], object]) -> None:
        """Wait for the screen to be as it should."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                while not seen(self.lines):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError("\n".join(["not seen on this screen:", *self.lines])) from None

    async def until_shows(self, *texts: str) -> None:
        """Wait until all of them are on the screen."""
        await self.until(lambda lines: all(text in "\n".join(lines) for text in texts))

    async def exit(self) -> int:
        """Wait for the program's end; its exit code."""
        code = await asyncio.to_thread(self.process.wait, TIMEOUT_S)
        os.close(self._child_end)
        self._child_end = -1
        await self.until(lambda _: self._read_all)
        return code

    def close(self) -> None:
        """Leave nothing behind."""
        self.process.kill()
        self.process.wait()
        if self._end >= 0:
            self.hang_up()

    def hang_up(self) -> None:
        """Be closed, as the window of a terminal is."""
        asyncio.get_running_loop().remove_reader(self._end)
        if self._child_end >= 0:
            os.close(self._child_end)
        os.close(self._end)
        self._end = -1

    def _read(self) -> None:
        try:
            data = os.read(self._end, 65536)
        except OSError:  # what Linux says when nobody has the other end any more, and all is read
            asyncio.get_running_loop().remove_reader(self._end)
            self._read_all = True
            data = b""
        self.written += data
        self._stream.feed(data)
        self._changed.set()
