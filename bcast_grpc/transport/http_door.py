"""The HTTP door: the page for people, the WebSocket behind it, and what a load balancer and Prometheus ask."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import logging
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from aiohttp import hdrs, web

from bcast_grpc.transport.address import Address, is_loopback
from bcast_grpc.transport.connections import port_of
from bcast_grpc.transport.door import Door, Shared
from bcast_grpc.transport.handshake import Gate, check_handshake, check_once, check_upgrade
from bcast_grpc.transport.http_connection import HttpConnection
from bcast_grpc.transport.http_middleware import finish, peer_of, watch
from bcast_grpc.transport.listeners import Listeners
from bcast_grpc.transport.metrics import Metrics, Siblings
from bcast_grpc.transport.one_by_one import OneByOne
from bcast_grpc.transport.portions import Portions
from bcast_grpc.transport.serving import Serving
from bcast_grpc.transport.websocket import WebSockets

# aiohttp warns about every client that offers an unknown subprotocol, which is no mistake.
logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)

_ANSWER_S = 0.1

_PAGE = Path(__file__).parent.parent / "page"
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


class HttpDoor(Door):
    """Serves HTTP: the page, its WebSocket, health checks, and metrics.

    Args:
        shared: what all doors share.
        address: where to listen.
        origins: whose pages may open the WebSocket, besides our own; ``*``: all.
        siblings: the other processes of the server, if there are any: metrics are those of all.
    """

    def __init__(
        self, shared: Shared, address: Address, origins: Collection[str] = (), siblings: Siblings | None = None
    ) -> None:
        self._shared = shared
        self._listeners = Listeners(shared, address)
        self._sockets = WebSockets(shared)
        self._serving = Serving()
        self._gate = Gate(origins, on_loopback=is_loopback(address.host))
        self._metrics = Metrics(shared, siblings)
        self._runner: web.AppRunner | None = None

    async def open(self) -> Sequence[str]:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._runner = web.AppRunner(self.app(), shutdown_timeout=_ANSWER_S)
        await self._runner.setup()
        assert self._runner.server
        server, shared, portions, requests = self._runner.server, self._shared, Portions(loop), OneByOne(loop)
        connection = partial(
            HttpConnection, server, portions, requests, shared.handshake_s, shared.connections, loop=loop
        )
        return [await self._listeners.open("http", connection)]

    async def stop(self, grace_s: float) -> None:
        """Accept nobody more, and disconnect those that are still connected after ``grace_s``."""
        self._listeners.close()
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
        app.router.add_get("/metrics", self._measure)
        for path, body, type_ in _read_page():
            app.router.add_get(path, _Static(body, type_).serve)
        return app

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        check_upgrade(request)
        check_once(request)
        self._gate.check(request)
        check_handshake(request)
        peer, headers, connections = peer_of(request), request.headers, self._shared.connections
        forwarded, x_forwarded_for = headers.getall(hdrs.FORWARDED, ()), headers.getall(hdrs.X_FORWARDED_FOR, ())
        client = connections.proxies.client(peer, forwarded, x_forwarded_for)
        with self._serving.here(), connections.carrying(port_of(peer)):
            return await self._sockets.serve(request, client)

    async def _ready(self, _: web.Request) -> web.Response:
        if why_not := self._shared.hub.readiness.why_not:
            raise web.HTTPServiceUnavailable(text=f"{why_not}\n")
        return web.Response(text="ready\n")

    async def _measure(self, request: web.Request) -> web.Response:
        body, content_type = await self._metrics.render(request.headers.get(hdrs.ACCEPT, ""))
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})


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
