"""A line to type on at the bottom of the terminal, and above it whatever arrives meanwhile.

prompt_toolkit's own ways to print above a prompt (``patch_stdout``, ``run_in_terminal``) return the terminal to its own
line editing for a moment, so a key pressed then is echoed into the output. They also write in several steps, which
flickers. So here a single write erases the prompt, writes the lines and draws the prompt again.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from prompt_toolkit import ANSI, PromptSession
from prompt_toolkit.application.current import set_app
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.data_structures import Size
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.shortcuts import CompleteStyle

from bcast_grpc.terminal.columns import Columns

_PAUSE_S = 0.02
_MAX_WRITTEN_AT_ONCE = 32_768
_MAX_WAITING = 1_000_000


class Screen:
    """The terminal, while somebody types on it.

    Args:
        prompt: draws what stands before the line that is being typed.
        typed: called with each line that was typed.
        caught_up: called when all that waited is shown.
        words: what the tab key completes at the start of a line.
    """

    def __init__(
        self,
        prompt: Callable[[Columns], str],
        typed: Callable[[str], None],
        caught_up: Callable[[], None],
        words: Sequence[str],
        *,
        colour: bool,
    ) -> None:
        self._typed = typed
        self._caught_up = caught_up
        self._colour = colour
        self._urgent: deque[str] = deque()
        self._waiting: deque[str] = deque()
        self._waiting_characters = 0
        self._something = asyncio.Event()
        self._is_closed = self._is_over = False
        self._output = _OneWrite(sys.stdout, _size)
        self._session: PromptSession[str] = PromptSession(
            lambda: ANSI(prompt(self.columns)),
            prompt_continuation=lambda *_: ANSI(self.columns.continuation()),
            completer=WordCompleter(words, sentence=True),
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,  # the other styles reserve lines below the prompt
            key_bindings=_keys(),
            color_depth=ColorDepth.DEPTH_8_BIT if colour else ColorDepth.DEPTH_1_BIT,
            enable_suspend=True,
            erase_when_done=True,
            output=self._output,
        )
        self._session.default_buffer.accept_handler = self._accept

    async def run(self) -> None:
        """Let somebody type, until ``close``.

        Raises:
            EOFError: Ctrl-D, or the terminal is gone.
            KeyboardInterrupt: Ctrl-C.
        """
        try:
            await self._session.prompt_async(pre_run=self._begin)
        finally:
            self._is_over = True
            self._output.write_raw("".join((*self._urgent, *self._waiting)))
            self._output.flush()

    def close(self) -> None:
        """End the typing."""
        self._is_closed = True
        self._end_if_closed()

    @property
    def columns(self) -> Columns:
        """The columns to lay out what is shown, as wide as the terminal is now."""
        return Columns(_size().columns, self._colour)

    @property
    def behind(self) -> bool:
        """Whether more waits to be shown than a terminal shows in about a second."""
        return self._waiting_characters >= _MAX_WAITING

    def show(self, lines: str, *, urgent: bool = False) -> None:
        """Show lines above the one that is being typed.

        Args:
            lines: each with a line break at its end.
            urgent: show them before the lines that wait, so that what somebody typed appears at once.
        """
        if self._is_over:
            self._output.write_raw(lines)
            self._output.flush()
        elif urgent:
            self._urgent.append(lines)
        else:
            self._waiting.append(lines)
            self._waiting_characters += len(lines)
        self._something.set()

    def _begin(self) -> None:
        self._session.app.create_background_task(self._paint())
        self._end_if_closed()

    def _end_if_closed(self) -> None:
        app = self._session.app
        if self._is_closed and app.is_running and not app.is_done:
            app.exit()

    def _accept(self, buffer: Buffer) -> bool:
        # Bytes that are not UTF-8 arrive as surrogates, which cannot be sent.
        self._typed(buffer.text.encode(errors="replace").decode())
        return False  # clears the line; prompt_toolkit's own handler would end the prompt

    async def _paint(self) -> None:
        while True:
            await self._something.wait()
            if self._session.app.is_done:  # the prompt is gone for good
                return
            self._write(self._take())
            if not self._waiting:
                self._something.clear()
                self._caught_up()
            await asyncio.sleep(_PAUSE_S)  # collects what arrives meanwhile into one block, and lets keys be handled

    def _take(self) -> str:
        taken = list(self._urgent)
        self._urgent.clear()
        size = 0
        while self._waiting and size < _MAX_WRITTEN_AT_ONCE:
            taken.append(self._waiting.popleft())
            size += len(taken[-1])
        self._waiting_characters -= size
        return "".join(taken)

    def _write(self, text: str) -> None:
        app = self._session.app
        with self._output.held(), set_app(app):
            app.renderer.erase()
            self._output.write_raw(text)
            app.renderer.render(app, app.layout)


class _OneWrite(Vt100_Output):
    """An output that can hold back its flushes, so that several become one write.

    It does not ask the terminal where the cursor is: nothing here needs that, and the answer would arrive as keys.
    """

    def __init__(self, stdout: object, get_size: Callable[[], Size]) -> None:
        super().__init__(stdout, get_size, enable_cpr=False)  # type: ignore[arg-type]
        self._is_held = False

    def flush(self) -> None:
        if not self._is_held:
            with suppress(
                OSError
            ):  # the terminal is gone; that ends the typing, but what was sent still needs its answers
                super().flush()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Collect all writes of a ``with`` block into one, at its end."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
            self.flush()


def _size() -> Size:
    try:
        size = os.get_terminal_size(sys.stdout.fileno())
    except OSError:  # it is gone
        return Size(rows=24, columns=80)
    return Size(rows=size.lines or 24, columns=size.columns or 80)


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys
