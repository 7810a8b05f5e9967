"""The HTTP port: the page for people, the WebSocket behind it, and what a load balancer asks."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import logging
import socket
from collections.abc import Collection, Iterable
from pathlib import Path

from aiohttp import hdrs, web

from bcast_grpc.core.hub import Hub
from bcast_grpc.transport.connections import Connections, peer_of, port_of
from bcast_grpc.transport.handshake import Gate, check_handshake, check_upgrade
from bcast_grpc.transport.http_connection import HttpConnection, Portions, finish, watch
from bcast_grpc.transport.scheduler import LoopScheduler
from bcast_grpc.transport.serving import BACKLOG, Refused, Serving
from bcast_grpc.transport.websocket import WebSocketDoor

# It warns of every client that asks for a protocol on top of the WebSocket; there is none, and that is no fault.
logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)

_ANSWER_S = 0.1

_PAGE = Path(__file__).parent.parent / "page"
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


class HttpService:
    """What is served over HTTP.

    Args:
        hub: where the clients go.
        scheduler: the loop that the hub flushes in.
        keepalive_s: how long a WebSocket is silent before it is pinged.
        origins: whose pages may open the WebSocket, besides our own; ``*``: all.
        on_loopback: whether only this machine reaches it.
        connections: counts those that carry a client.
    """

    def __init__(
        self,
        hub: Hub,
        scheduler: LoopScheduler,
        *,
        keepalive_s: float,
        origins: Collection[str] = (),
        on_loopback: bool = True,
        connections: Connections,
    ) -> None:
        self._hub = hub
        self._door = WebSocketDoor(hub, scheduler, keepalive_s)
        self._serving = Serving()
        self._connections = connections
        self._gate = Gate(origins, on_loopback=on_loopback)
        self._runner: web.AppRunner | None = None
        self._listeners: list[asyncio.Server] = []

    async def start(self, sockets: Iterable[socket.socket]) -> None:
        """Take in requests from sockets that listen."""
        loop = asyncio.get_running_loop()
        self._runner = web.AppRunner(self.app(), shutdown_timeout=_ANSWER_S)
        await self._runner.setup()
        assert self._runner.server
        server = self._runner.server
        portions = Portions(loop)

        def accept() -> asyncio.Protocol:
            return Refused() if self._connections.crowded() else HttpConnection(server, portions, loop=loop)

        self._listeners = [await loop.create_server(accept, sock=one, backlog=BACKLOG) for one in sockets]

    async def stop(self, grace_s: float) -> None:
        """Take in nobody more, and cut off who is still there after ``grace_s``."""
        while self._listeners:
            self._listeners.pop().close()
        await self._serving.end(grace_s)  # before aiohttp ends, which would not hear their last words
        if self._runner:
            await self._runner.cleanup()

    def app(self) -> web.Application:
        """Return what aiohttp serves."""
        app = web.Application(middlewares=[watch])
        app.on_response_prepare.append(finish)
        app.router.add_get("/ws", self._connect, allow_head=False)
        app.router.add_get("/healthz", _live)
        app.router.add_get("/readyz", self._ready)
        for path, body, type_ in _read_page():
            app.router.add_get(path, _Static(body, type_).serve)
        return app

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        check_upgrade(request)
        self._gate.check(request)
        check_handshake(request)
        with self._serving.here(), self._connections.carrying(port_of(peer_of(request.transport))):
            return await self._door.serve(request)

    async def _ready(self, _: web.Request) -> web.Response:
        if self._hub.closed:
            raise web.HTTPServiceUnavailable(text=f"{self._hub.closed}\n")
        return web.Response(text="ready\n")


class _Static:
    """One file of the page, from memory."""

    def __init__(self, body: bytes, type_: str) -> None:
        self._body = body
        self._zipped = gzip.compress(body, mtime=0)
        self._type = type_
        self._etag = hashlib.sha256(body).hexdigest()[:16]

    async def serve(self, request: web.Request) -> web.Response:
        if any(tag.value == self._etag for tag in request.if_none_match or ()):
            response = web.Response(status=304)
        else:
            zipped = "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "")
            response = web.Response(
                body=self._zipped if zipped else self._body, content_type=self._type, charset="utf-8"
            )
            if zipped:
                response.headers[hdrs.CONTENT_ENCODING] = "gzip"
        response.etag = self._etag
        response.headers[hdrs.CACHE_CONTROL] = "no-cache"
        response.headers[hdrs.VARY] = hdrs.ACCEPT_ENCODING
        return response


async def _live(_: web.Request) -> web.Response:
    return web.Response(text="alive\n")


def _read_page() -> list[tuple[str, bytes, str]]:
    """Return the files of the page: path, body, type."""
    page = []
    for file in _PAGE.iterdir():
        if type_ := _TYPES.get(file.suffix):
            path = "/" if file.name == "index.html" else f"/{file.name}"
            page.append((path, file.read_bytes(), type_))
    return page
