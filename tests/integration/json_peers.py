"""Clients of the WebSocket and of plain sockets, as a stranger would write them."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections import deque
from typing import Any, Self

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from .peers import within


class JsonPeer:
    """A client that speaks JSON.

    Attributes:
        heard: every event so far.
    """

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self._unread: deque[dict[str, Any]] = deque()

    async def send(self, *requests: dict[str, Any]) -> None:
        """Send requests."""
        raise NotImplementedError

    async def frame(self) -> Any:
        """Read what comes next as it comes; None at the end."""
        raise NotImplementedError

    async def say(self, msg: str, **fields: Any) -> None:
        """Broadcast."""
        await self.send({"msg": msg, **fields})

    async def hear(self) -> dict[str, Any]:
        """Read the next event."""
        if not self._unread:
            frame = await self.frame()
            assert frame is not None, "it has ended"
            self._unread.extend(frame if isinstance(frame, list) else [frame])
        event = self._unread.popleft()
        self.heard.append(event)
        return event

    async def hear_some(self, count: int) -> list[str]:
        """Read so many events, and return their texts."""
        return [(await self.hear())["message"] for _ in range(count)]

    async def hear_until(self, message: str) -> list[dict[str, Any]]:
        """Read up to the event with this text, and return what came before it."""
        events: list[dict[str, Any]] = []
        while (event := await self.hear()).get("message") != message:
            events.append(event)
        return events

    async def end(self) -> list[dict[str, Any]]:
        """Read to the end, and return the events until there."""
        events = list(self._unread)
        while (frame := await self.frame()) is not None:
            events += frame if isinstance(frame, list) else [frame]
        return events


class WebSocketPeer(JsonPeer):
    """A WebSocket of the library ``websockets``."""

    def __init__(self, socket: ClientConnection) -> None:
        super().__init__()
        self.socket = socket

    @property
    def headers(self) -> dict[str, str]:
        """What the server answered to the handshake."""
        assert self.socket.response
        return dict(self.socket.response.headers)

    @property
    def closed(self) -> tuple[int | None, str | None]:
        """The code and the reason that it was closed with."""
        return self.socket.close_code, self.socket.close_reason

    async def send(self, *requests: dict[str, Any]) -> None:
        """Send one request, or several in one frame."""
        await within(self.socket.send(json.dumps(requests[0] if len(requests) == 1 else requests)))

    async def close(self) -> None:
        """Go, without a goodbye."""
        self.socket.transport.abort()
        await within(self.socket.wait_closed())

    async def frame(self) -> Any:
        """Read the next frame; None at the end."""
        try:
            frame = await within(self.socket.recv())
        except ConnectionClosed:
            return None
        assert isinstance(frame, str)
        return json.loads(frame)


class SocketPeer(JsonPeer):
    """A bare socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__()
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int, tls: ssl.SSLContext | None = None) -> Self:
        """Connect."""
        return cls(*await within(asyncio.open_connection("127.0.0.1", port, limit=2**26, ssl=tls)))

    async def send(self, *requests: dict[str, Any]) -> None:
        """Send requests, one after the other without anything between them."""
        await self.write("".join(map(json.dumps, requests)).encode())

    async def write(self, some: bytes) -> None:
        """Send bytes."""
        self.writer.write(some)
        await within(self.writer.drain())

    async def frame(self) -> Any:
        """Read the next line; None at the end."""
        line = await within(self.reader.readline())
        assert not line or line.endswith(b"\n"), line
        return json.loads(line) if line else None

    async def close(self) -> None:
        """Go, without a goodbye."""
        self.writer.transport.abort()

    def reset(self) -> None:
        """Break the connection without a word."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
