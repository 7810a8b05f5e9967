"""The program in a pipeline: it sends each line of its input, and prints each message it receives."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TextIO

import bcast_grpc
from bcast_grpc.console.exits import EXIT_DONE, EXIT_NOT_ALL, complain
from bcast_grpc.errors import BacklogFull, BcastError, RequestError
from bcast_grpc.events import Event, Kind
from bcast_grpc.terminal.arguments import PROGRAM, Options
from bcast_grpc.terminal.lines import is_news, json_line, line, notice, reason
from bcast_grpc.terminal.stdio import BlockingCalls, Line, read_lines, until_unread, write_all

NOTICES = ("joined", "left")
"""The notices that stderr shows, besides those that always come."""

_ID = "line "
_MAX_WAITING = 4096


async def run(chat: bcast_grpc.Chat, options: Options) -> int:
    """Send the lines of the input and print the messages of others, until both are done.

    Returns:
        The exit code.

    Raises:
        BcastError: the chat ended with an error.
        OSError: the input or the output failed; ``BrokenPipeError`` if the reader of the output has gone.
    """
    pipeline = _Pipeline(chat, options)
    try:
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(pipeline.write())
            watching = group.create_task(pipeline.watch())
            writing.add_done_callback(lambda _: watching.cancel())
            group.create_task(pipeline.receive(writing))
            group.create_task(pipeline.send())
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return EXIT_NOT_ALL if pipeline.refused else EXIT_DONE


class _Pipeline:
    def __init__(self, chat: bcast_grpc.Chat, options: Options) -> None:
        self.refused = 0
        self._chat = chat
        self._options = options
        self._waiting: list[str] = []
        self._something = asyncio.Event()
        self._space = asyncio.Event()
        self._space.set()
        self._is_over = False

    async def send(self) -> None:
        """Send the lines of the input; at its end leave, unless ``--follow`` was given."""
        try:
            async for lines in read_lines(_descriptor(sys.stdin)):
                for each in lines:
                    await self._post(each)
            if self._options.follow:
                await self._chat.flush()
            else:
                await self._chat.leave()
        except BcastError:  # ``receive`` reports why the chat ended
            pass

    async def receive(self, writing: asyncio.Task[None]) -> None:
        """Hand what is received to ``writing``, and wait for it when it falls behind."""
        try:
            async for event in self._chat:
                self._sort(event)
                await self._space.wait()
        except BcastError:
            self._end()
            await asyncio.wait({writing})
            raise
        self._end()

    async def write(self) -> None:
        """Write all lines that wait, in one block, until there will be no more."""
        calls, stdout = BlockingCalls(), _descriptor(sys.stdout)
        while not self._is_over or self._waiting:
            await self._something.wait()
            block, self._waiting = "".join(self._waiting), []
            self._something.clear()
            self._space.set()
            await calls.call(write_all, stdout, block.encode())

    async def watch(self) -> None:
        """Raise ``BrokenPipeError`` as soon as the reader of the output has gone, even if there is nothing to write."""
        await until_unread(_descriptor(sys.stdout))
        raise BrokenPipeError

    def _end(self) -> None:
        self._is_over = True
        self._something.set()

    async def _post(self, each: Line) -> None:
        if each.fault:
            self._refuse(str(each.number), each.fault)
        if not each.text:  # an empty line is not a message
            return
        try:
            self._chat.post(each.text, id=f"{_ID}{each.number}")
        except BacklogFull:
            await self._chat.flush()
            await self._post(each)
        except RequestError as error:
            self._refuse(str(each.number), reason(error))

    def _sort(self, event: Event) -> None:
        refused = event.kind is Kind.ERROR and event.id.startswith(_ID)
        if refused:
            self._refuse(event.id.removeprefix(_ID), notice(event))
        if event.kind in (Kind.RECONNECTING, Kind.RESUMED):
            if is_news(event):
                self._report(event)
        elif self._options.json:
            self._show(json_line(event))
        elif event.kind is Kind.MESSAGE:
            self._show(line(event, colour=self._options.colour))
        elif event.kind in (Kind.JOINED, Kind.LEFT, Kind.GAP, Kind.ERROR) and not refused:
            self._report(event)

    def _report(self, event: Event) -> None:
        print(f"* {notice(event)}", file=sys.stderr, flush=True)

    def _show(self, text: str) -> None:
        self._waiting.append(f"{text}\n")
        self._something.set()
        if len(self._waiting) >= _MAX_WAITING:
            self._space.clear()

    def _refuse(self, number: str, why: str) -> None:
        self.refused += 1
        complain(PROGRAM, f"line {number} was not sent: {why}")


def _descriptor(stream: TextIO | None) -> int:
    """The descriptor of a standard stream; ``/dev/null`` if the program was started without it."""
    return os.open(os.devnull, os.O_RDWR) if stream is None else stream.fileno()
