"""Clients at the plain door: a bare socket, JSON, no identity and no way back.

Whoever connects again is somebody else. So each connection has a record of its own, with the name of this connection;
what was said before and not acknowledged is gone with it.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from .client import Caller, dial
from .json_events import RETRYABLE, Object, read, request_of, why
from .records import Acked, Client, Place, Saw, Step, Welcomed

_ASKS_PER_SILENCE = 4
_LINE_BYTES = 64 * 1024
_HOST = "127.0.0.1"
_BETWEEN = ("", "\n", " ", "\r\n")

_WHO = {"operacion": "who", "id": "who"}


class TcpCaller(Caller):
    """A client that holds a bare socket; it is in the lobby, whatever room is wanted.

    Args:
        again: makes the record of its next connection.
        turns: how often the server went down or came up; odd while it is down. That is all that may end without a word.
    """

    door = "tcp"

    def __init__(self, *args: Any, again: Callable[[], Client], turns: Callable[[], int], **options: Any) -> None:
        super().__init__(*args, **options)
        self._again = again
        self._turns = turns

    async def _visit(self) -> str:
        turns = self._turns()
        try:
            tls: dict[str, Any] = {"ssl": self.guard.context, "server_hostname": _HOST} if self.guard else {}
            connection = await dial(self.cable.address)
            async with asyncio.timeout(self.silence_s):
                reader, writer = await asyncio.open_connection(sock=connection, limit=_LINE_BYTES, **tls)
        except (OSError, TimeoutError):
            return "nobody there"
        if not self.unacknowledged:
            self.say()  # what is acknowledged tells where it is
        writing = asyncio.create_task(self._write(writer))
        told = ""
        try:
            while line := await self._read_line(reader, writer):
                told = self._take(event := json.loads(line))
                if _begins_anew(event):
                    return "a new order"
            return self._ending(told, down=self._was_down(turns))
        except asyncio.IncompleteReadError:
            return "lost" if self._was_down(turns) else "torn"
        except TimeoutError:
            return "silence"
        except OSError:
            return "lost"
        finally:
            writing.cancel()
            writer.transport.abort()

    def _was_down(self, turns: int) -> bool:
        return self._turns() > turns or turns % 2 == 1

    def _depart(self) -> None:
        if not self.record.gone:
            self.record.gone = True
            self.record.stayed = False
            self.record = self._again()
        self.unacknowledged.clear()
        self._due.clear()
        self.place = None

    async def _read_line(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """Read the next line, and ask now and then whether anybody is there; return nothing at the end."""
        for _ in range(_ASKS_PER_SILENCE):
            await self._thawed.wait()
            try:
                async with asyncio.timeout(self.silence_s / _ASKS_PER_SILENCE):
                    return await reader.readuntil()
            except asyncio.IncompleteReadError as error:
                if error.partial:
                    raise
                return b""
            except TimeoutError:
                if not self._leaving:
                    writer.write(json.dumps(_WHO).encode())
        raise TimeoutError

    async def _write(self, writer: asyncio.StreamWriter) -> None:
        async def send_all(requests: Sequence[Object]) -> None:
            writer.write("".join(json.dumps(request) + random.choice(_BETWEEN) for request in requests).encode())
            await writer.drain()

        async def send(texts: Sequence[str]) -> None:
            if token := self._due_token():
                await send_all([{"operacion": "auth", "msg": token}])
            await send_all(list(map(request_of, texts)))

        with suppress(OSError):
            if token := self._token():
                await send_all([{"operacion": "auth", "msg": token}])
            if self.record.named:
                await send_all([{"operacion": "join", "msg": self.record.key}])
            await send_all([_WHO])
            await self._speak(send)
            if self.guard or random.random() < 0.5:  # asyncio cannot half-close with TLS
                await send_all([{"operacion": "leave"}])
            else:
                writer.write_eof()

    def _take(self, event: Object) -> str:
        step = read(event, self.record.key)
        if step and not _begins_anew(event):
            self._hear(step)
            if not self.visit.welcome and isinstance(step, Acked):
                self._find_place(step)
            self._bell.ring()
        return why(event)

    def _find_place(self, ack: Acked) -> None:
        """Find out where it came in: nobody says so at this door."""
        first = min((step.seq for step in self.visit.steps if isinstance(step, Saw)), default=ack.place.seq)
        before: list[Step] = self.visit.steps[:]
        self.place = None
        self.visit.steps.clear()
        self._hear(Welcomed(Place(ack.place.epoch, min(first, ack.place.seq) - 1), resumed=False))
        self.visit.steps += before
        if saw := [step.seq for step in before if isinstance(step, Saw)]:
            self.place = Place(ack.place.epoch, saw[-1])

    def _ending(self, told: str, *, down: bool) -> str:
        if told:
            self._banished = told not in RETRYABLE
            return told
        if self._leaving:
            return "OK"
        return "lost" if down else "UNEXPLAINED"


def _begins_anew(event: Object) -> bool:
    """Whether another order begins: nobody says which at this door, so whoever has to know connects again."""
    return bool(event.get("gap", {}).get("reason") == "GAP_REASON_NEW_EPOCH")
