"""What a supervisor and a worker say to each other: lines of JSON over a socket pair, and beats.

Either may ask the other something, at any time and several things at once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from itertools import count
from socket import socket
from typing import Any, Self, TypeAlias

from bcast_grpc.server.processes import BEAT

ANSWERS_S = 1.0
"""So long a worker may take for an answer."""

_LONGEST_LINE = 1 << 24

Answer: TypeAlias = Callable[[str], Awaitable[object]]
"""Answers a question of the other; JSON can hold what it returns."""


class Link:
    """One end of what connects them. While it is open, the other knows that this process is there.

    Args:
        reader: reads what the other says.
        writer: writes to it.
        answer: answers its questions.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
        self._reader = reader
        self._writer = writer
        self._answer = answer
        self._numbers = count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._replies: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, sock: socket, answer: Answer) -> Self:
        """Return this end, which is the socket's only user from now on."""
        return cls(*await asyncio.open_unix_connection(sock=sock, limit=_LONGEST_LINE), answer)

    def tell(self, said: Mapping[str, object]) -> None:
        """Say something, without waiting until it is read."""
        self._writer.write(json.dumps(said).encode() + b"\n")

    def beat(self) -> None:
        """Say that this process's loop runs; nothing if the other has yet to read what was said before."""
        to_other = self._writer.transport
        if not to_other.is_closing() and not to_other.get_write_buffer_size():
            self._writer.write(BEAT)

    async def hear(self, beat: Callable[[], object]) -> Any:
        """Return the next thing that the other tells; None if it is gone. Its questions are answered meanwhile.

        Args:
            beat: called for each of its signs of life.
        """
        with suppress(OSError):
            while (line := await self._reader.readline()).endswith(b"\n"):
                beat()
                if line == BEAT:
                    continue
                said = json.loads(line)
                if "question" in said:
                    reply = asyncio.create_task(self._reply(said["question"], said["number"]))
                    self._replies.add(reply)
                    reply.add_done_callback(self._replies.discard)
                elif "answer" not in said:
                    return said
                elif (asked := self._asked.get(said["number"])) and not asked.done():
                    asked.set_result(said["answer"])
        return None

    async def _reply(self, question: str, number: int) -> None:
        self.tell({"answer": await self._answer(question), "number": number})

    async def ask(self, question: str, patience_s: float) -> Any:
        """Return the other's answer, while ``hear`` is awaited.

        Raises:
            TimeoutError: it does not answer in time.
        """
        number = next(self._numbers)
        asked = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self.tell({"question": question, "number": number})
            async with asyncio.timeout(patience_s):
                return await asked
        finally:
            del self._asked[number]

    def close(self) -> None:
        """Close it, once what was said is written."""
        self._writer.close()

    async def wait_closed(self) -> None:
        """Wait until it is closed."""
        with suppress(OSError):
            await self._writer.wait_closed()
