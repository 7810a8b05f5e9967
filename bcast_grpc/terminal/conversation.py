"""The interactive program: it sends what is typed, and shows what others send."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress

import bcast_grpc
from bcast_grpc.console.exits import EXIT_DONE, EXIT_HUNG_UP, EXIT_TERMINATED
from bcast_grpc.console.safe_text import shown, shown_name
from bcast_grpc.errors import BcastError, ConnectionLost, RequestError
from bcast_grpc.events import Event, Kind, Welcome
from bcast_grpc.terminal.columns import Columns
from bcast_grpc.terminal.lines import is_news, notice, reason, who
from bcast_grpc.terminal.screen import Screen

NOTICES = ("welcome", "joined", "left")
"""The notices that are shown, besides those that always come."""

_HELP = """\
/who          show who is in the room
/join NAME    change your name to NAME
/quit         leave (Ctrl-D does the same)
//TEXT        send /TEXT, a message that begins with a slash
Alt-Enter begins another line of the same message, Tab completes a command, Up and Down go through what you typed."""
_QUOTED = 40
_LEAVE_TIMEOUT_S = 5.0


async def run(chat: bcast_grpc.Chat, name: str, *, colour: bool) -> int:
    """Let somebody talk and read until they leave.

    Returns:
        The exit code.

    Raises:
        BcastError: the chat ended with an error.
        KeyboardInterrupt: Ctrl-C.
    """
    conversation = _Conversation(chat, name, colour=colour)
    loop = asyncio.get_running_loop()
    endings = {signal.SIGTERM: EXIT_TERMINATED}  # restore the terminal first
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        endings[signal.SIGHUP] = EXIT_HUNG_UP
    for number, code in endings.items():
        loop.add_signal_handler(number, conversation.end, code)
    try:
        return await conversation.run()
    finally:
        for number in endings:
            loop.remove_signal_handler(number)


class _Conversation:
    def __init__(self, chat: bcast_grpc.Chat, name: str, *, colour: bool) -> None:
        self._chat = chat
        self._name = name
        self._exit_code = EXIT_DONE
        self._skipped = 0
        self._welcomed = False
        self._unanswered: set[asyncio.Task[None]] = set()
        self._commands: dict[str, Callable[[str], Coroutine[None, None, None]]] = {
            "/help": self._help,
            "/join": self._join,
            "/quit": self._quit,
            "/who": self._who,
        }
        words = ["/join " if command == "/join" else command for command in self._commands]
        self._screen = Screen(self._prompt, self._typed, self._tell_skipped, words, colour=colour)

    async def run(self) -> int:
        receiving = asyncio.create_task(self._receive())
        receiving.add_done_callback(lambda _: self._screen.close())
        with suppress(EOFError):
            await self._screen.run()
        try:
            async with asyncio.timeout(_LEAVE_TIMEOUT_S):
                if not receiving.done():
                    await self._chat.leave()
                await receiving
                return self._exit_code
        except TimeoutError:
            raise ConnectionLost("the server does not answer") from None
        finally:
            await self._await_answers()

    def end(self, exit_code: int) -> None:
        """Leave as soon as possible."""
        self._exit_code = exit_code
        self._screen.close()

    async def _await_answers(self) -> None:
        """Let the messages that were not answered report it."""
        if self._unanswered:
            await asyncio.wait(self._unanswered, timeout=1)

    async def _receive(self) -> None:
        async for event in self._chat:
            if event.kind is Kind.MESSAGE and self._screen.behind:
                self._skip(event)
                continue
            self._tell_skipped()
            self._show(event)

    def _skip(self, event: Event) -> None:
        if not self._skipped:
            text = "messages come faster than a terminal can show them: some are skipped"
            self._screen.show(self._screen.columns.alarm(text, event.time_ns))
        self._skipped += 1

    def _tell_skipped(self) -> None:
        skipped, self._skipped = self._skipped, 0
        if skipped:
            text = f"{skipped} messages were not shown"
            self._screen.show(self._screen.columns.alarm(text, time.time_ns()))

    def _show(self, event: Event) -> None:
        screen, columns = self._screen, self._screen.columns
        match event.kind:
            case Kind.MESSAGE:
                screen.show(columns.message(event))
            case Kind.ERROR | Kind.GAP:
                screen.show(columns.alarm(notice(event), event.time_ns))
            case Kind.RECONNECTING:
                if is_news(event):
                    screen.show(columns.alarm(notice(event), event.time_ns))
            case Kind.WELCOME if not self._welcomed:
                self._welcomed = True
                members = event.detail.members if isinstance(event.detail, Welcome) else 0
                self._answer(f"{shown(self._chat.room)}: {members} here; type /help for help")
            case Kind.JOINED | Kind.LEFT | Kind.RESUMED:
                screen.show(columns.notice(notice(event), event.time_ns))
            case _:  # answers, events of newer servers, and CLOSING: the end itself says the same
                pass

    def _answer(self, *lines: str) -> None:
        """Show what the person at the terminal asked for."""
        columns, now = self._screen.columns, time.time_ns()
        self._screen.show("".join(columns.notice(line, now) for line in lines), urgent=True)

    def _alarm(self, text: str) -> None:
        self._screen.show(self._screen.columns.alarm(text, time.time_ns()), urgent=True)

    def _prompt(self, columns: Columns) -> str:
        return columns.prompt(self._chat.room, self._name, self._chat.session)

    # --- what was typed

    def _typed(self, line: str) -> None:
        if not line.strip():
            return
        if not line.startswith("/") or line.startswith("//"):
            self._start(self._say(line.removeprefix("/")))
            return
        word, _, argument = line.partition(" ")
        command = self._commands.get(word)
        if command is None:
            self._alarm(f"{_quoted(word)} is not a command, so nothing was sent; type /help, or // to send a slash")
            return
        self._start(command(argument.strip()))

    def _start(self, doing: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(doing)
        self._unanswered.add(task)
        task.add_done_callback(self._unanswered.discard)

    async def _say(self, text: str) -> None:
        mine = self._screen.columns.mine(self._name, self._chat.session, text, time.time_ns())
        self._screen.show(mine, urgent=True)
        try:
            await self._chat.send(text)
        except RequestError as error:
            self._alarm(f"not sent: {_quoted(text)}: {reason(error)}")
        except BcastError:  # ``_receive`` reports why the chat ended
            self._alarm(f"not acknowledged: {_quoted(text)}")

    async def _who(self, _: str) -> None:
        try:
            lines = who(await self._chat.members())
        except BcastError as error:
            self._alarm(f"/who: {reason(error)}")
            return
        self._answer(f"{len(lines)} here:", *lines)

    async def _join(self, name: str) -> None:
        if not name:
            self._alarm("/join needs a name, such as /join ana")
            return
        try:
            await self._chat.rename(name)
        except BcastError as error:
            self._alarm(f"/join: {reason(error)}")
            return
        self._name = name
        self._answer(f"you are now {shown_name(name)}")

    async def _help(self, _: str) -> None:
        self._answer(*_HELP.splitlines())

    async def _quit(self, _: str) -> None:
        self.end(EXIT_DONE)


def _quoted(text: str) -> str:
    """The beginning of a text, to show which one is meant."""
    safe = shown(text[: _QUOTED + 1])
    return f'"{safe}"' if len(text) <= _QUOTED else f'"{shown(text[:_QUOTED])}…"'
