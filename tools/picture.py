"""Make ``docs/picture.svg``: the server and two terminal clients at work, from a real run in real terminals."""

from __future__ import annotations

import html
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import pyte

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "picture.svg"
COLUMNS, CELL_W, CELL_H, PAD, BAR, GAP = 80, 8.4, 18, 12, 26, 16
COLOURS = {
    "default": "#d4d4d8",
    "black": "#71717a",
    "red": "#f87171",
    "green": "#4ade80",
    "brown": "#facc15",
    "blue": "#60a5fa",
    "magenta": "#e879f9",
    "cyan": "#22d3ee",
    "white": "#f4f4f5",
}


class Terminal:
    """A program in a terminal of its own."""

    def __init__(self, title: str, arguments: list[str], rows: int) -> None:
        self.title = title
        self.screen = pyte.Screen(COLUMNS, rows)
        self._stream = pyte.ByteStream(self.screen)
        self._master, slave = pty.openpty()
        environment = {**os.environ, "TERM": "xterm-256color", "LINES": str(rows), "COLUMNS": str(COLUMNS), "TZ": "UTC"}
        subprocess.run(["stty", "rows", str(rows), "cols", str(COLUMNS)], stdin=slave, check=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env=environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(20)
        os.close(self._master)

    def read(self, seconds: float) -> None:
        """Take in what the program shows within the time given."""
        if select.select([self._master], [], [], seconds)[0]:
            data = os.read(self._master, 65536)
            self._stream.feed(data)
            if b"\x1b[6n" in data:  # where is the cursor?
                os.write(self._master, b"\x1b[%d;%dR" % (self.screen.cursor.y + 1, self.screen.cursor.x + 1))

    def type(self, text: str) -> None:
        """Type a line."""
        os.write(self._master, text.encode() + b"\r")

    def lines(self) -> list[str]:
        """Return what is on the screen."""
        return [line.rstrip() for line in self.screen.display]


def wait_for(terminals: list[Terminal], shown: Callable[[], bool]) -> None:
    """Let the terminals go on until something is shown."""
    deadline = time.monotonic() + 20
    while not shown():
        for terminal in terminals:
            terminal.read(0.02)
        if time.monotonic() > deadline:
            sys.exit("\n\n".join("\n".join(terminal.lines()) for terminal in terminals))
    for terminal in terminals:
        terminal.read(0.1)


def main() -> None:
    """Run, and draw what is on the screens at the end."""
    with Terminal("python -m bcast_grpc.server", ["bcast_grpc.server", "--port", "50051"], 2) as server:
        everyone = [server]
        wait_for(everyone, lambda: "listening" in server.screen.display[0])
        ana = Terminal("python -m bcast_grpc.client --name ana", ["bcast_grpc.client", "--name", "ana"], 8)
        everyone.append(ana)
        wait_for(everyone, lambda: any("/help" in line for line in ana.lines()))
        bob = Terminal("python -m bcast_grpc.client --name bob", ["bcast_grpc.client", "--name", "bob"], 9)
        everyone.append(bob)
        with ana, bob:
            wait_for(everyone, lambda: any("bob joined" in line for line in ana.lines()))
            talk(everyone, ana, bob)
            PICTURE.write_text(draw(everyone))
    print(f"{PICTURE.relative_to(ROOT)} drawn")


def talk(everyone: list[Terminal], ana: Terminal, bob: Terminal) -> None:
    """Let them say something."""
    said = [
        (ana, bob, "hola"),
        (bob, ana, "¡hola, ana! Who else is here?"),
        (ana, bob, "just us, until somebody writes a client in Go"),
        (bob, ana, "the .proto is all they need 🙂"),
    ]
    for speaker, listener, text in said:
        speaker.type(text)
        wait_for(everyone, lambda listener=listener, text=text: any(text[:20] in line for line in listener.lines()))  # type: ignore[misc]
    bob.type("/who")
    wait_for(everyone, lambda: any("2 here" in line for line in bob.lines()))


def draw(terminals: list[Terminal]) -> str:
    """Draw the terminals below each other."""
    width = COLUMNS * CELL_W + 2 * PAD
    parts: list[str] = []
    top = 0.0
    for terminal in terminals:
        height = BAR + terminal.screen.lines * CELL_H + 2 * PAD
        parts.append(
            f'<g transform="translate(0 {top:g})">'
            f'<rect width="{width:g}" height="{height:g}" rx="8" fill="#18181b"/>'
            f'<path d="M0 {BAR}V8a8 8 0 0 1 8-8H{width - 8:g}a8 8 0 0 1 8 8V{BAR}Z" fill="#3f3f46"/>'
            + "".join(f'<circle cx="{16 + 16 * i}" cy="13" r="5" fill="#71717a"/>' for i in range(3))
            + f'<text x="{width / 2:g}" y="18" text-anchor="middle" fill="#e4e4e7">{html.escape(terminal.title)}</text>'
            + "".join(draw_line(terminal.screen, row) for row in range(terminal.screen.lines))
            + "</g>"
        )
        top += height + GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {top - GAP:g}" width="{width:g}"'
        ' font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="14">\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def draw_line(screen: pyte.Screen, row: int) -> str:
    """Draw a line as stretches of one style each."""
    y = BAR + PAD + row * CELL_H + 14
    stretches: list[tuple[int, str, str, str]] = []
    for column in range(screen.columns):
        cell = screen.buffer[row][column]
        if not cell.data:  # the right half of a wide character
            continue
        foreground, background = colour(cell.fg), cell.bg
        if cell.reverse:
            foreground, background = "#18181b", "d4d4d8"
        if stretches and stretches[-1][2:] == (foreground, background):
            start, text, *_ = stretches[-1]
            stretches[-1] = (start, text + cell.data, foreground, background)
        else:
            stretches.append((column, cell.data, foreground, background))
    drawn = []
    for start, text, foreground, background in stretches:
        x = PAD + start * CELL_W
        if background != "default":
            drawn.append(
                f'<rect x="{x:g}" y="{y - 14:g}" width="{len(text) * CELL_W:g}" height="{CELL_H}"'
                f' fill="{colour(background)}"/>'
            )
        if text.strip():
            shown = html.escape(text.rstrip())
            drawn.append(f'<text x="{x:g}" y="{y:g}" fill="{foreground}" xml:space="preserve">{shown}</text>')
    return "".join(drawn)


def colour(name: str) -> str:
    """Return a colour of pyte's as SVG wants it."""
    return COLOURS.get(name.removeprefix("bright"), f"#{name}" if len(name) == 6 else COLOURS["default"])


if __name__ == "__main__":
    main()
