"""Clients at the door for browsers: a WebSocket, and JSON."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus

from bcast_grpc.v1 import chat_pb2 as pb

from .client import Caller, bearer, dial
from .json_events import RETRYABLE, read, request_of, why

_CODES = 4000
_WELL = 1000


class WebSocketCaller(Caller):
    """A client that holds a WebSocket."""

    door = "ws"

    async def _visit(self) -> str:
        try:
            async with asyncio.timeout(self.silence_s):
                socket = await self._connect()
        except InvalidStatus as error:
            return f"HTTP_{error.response.status_code}"
        except (OSError, TimeoutError, EOFError, InvalidHandshake, InvalidMessage):
            return "nobody there"
        writing: asyncio.Task[None] | None = None
        told = ""
        try:
            while True:
                await self._thawed.wait()
                async with asyncio.timeout(self.silence_s):
                    frame = json.loads(await socket.recv())
                for event in frame if self._batch else [frame]:
                    told = why(event)
                    if step := read(event, self.record.key):
                        self._hear(step)
                self._bell.ring()
                if self.here and not writing:
                    writing = asyncio.create_task(self._write(socket))
        except ConnectionClosed as closed:
            return self._ending(closed, told)
        except TimeoutError:
            return "silence"
        finally:
            if writing:
                writing.cancel()
            socket.transport.abort()

    async def _connect(self) -> ClientConnection:
        query = {"room": self.room, "client": self.record.key, "events": "all"}
        query |= {"echo": "1"} if self.record.echo else {}
        query |= {"name": self.record.key} if self.record.named else {}
        query |= {"batch": "1"} if self._batch else {}
        query |= {"after": f"{self.place.epoch}:{self.place.seq}"} if self.place else {}
        scheme = "wss" if self.guard else "ws"
        tls: dict[str, Any] = {"ssl": self.guard.context} if self.guard else {}
        return await connect(
            f"{scheme}://{self.cable.address}/ws?{urlencode(query)}",
            additional_headers=bearer(self._token()),
            **tls,
            sock=await dial(self.cable.address),
            compression=None,
            ping_interval=None,
            max_queue=2,  # so that what is not read is soon felt by the server
        )

    async def _write(self, socket: ClientConnection) -> None:
        async def send(texts: Sequence[str]) -> None:
            if token := self._due_token():
                await socket.send(json.dumps({"operacion": "auth", "msg": token}))
            requests = list(map(request_of, texts))
            frame: Any = random.choice([requests, {"batch": requests}]) if self._batch else requests[0]
            await socket.send(json.dumps(frame))

        with suppress(ConnectionClosed):
            await socket.send(json.dumps({"operacion": "who", "id": "who"}))
            await self._speak(send)
            await socket.send(json.dumps({"operacion": "leave"}))

    def _ending(self, closed: ConnectionClosed, told: str) -> str:
        """Return how it ended, and stay away for good if it is of no use to come back."""
        if closed.rcvd is None:
            return f"BROKEN_BY_{closed.sent.code}" if closed.sent else "lost"
        code = closed.rcvd.code
        if code == _WELL:
            return "OK" if self._leaving else "OK_UNASKED"
        name = pb.ErrorCode.Name(code - _CODES) if code - _CODES in pb.ErrorCode.values() else f"CLOSED_{code}"
        reason = name.removeprefix("ERROR_CODE_")
        self._banished = reason not in RETRYABLE
        return reason if told == reason else f"{reason}_AFTER_{told}"
