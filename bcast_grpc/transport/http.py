"""The HTTP port: the page for people, the WebSocket behind it, and what a load balancer asks."""

from __future__ import annotations

import gzip
import hashlib
import logging
import socket
from collections.abc import Collection, Iterable
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.http import HttpProcessingError

from bcast_grpc.core.hub import Hub
from bcast_grpc.transport.scheduler import LoopScheduler
from bcast_grpc.transport.serving import Serving
from bcast_grpc.transport.websocket import WebSocketDoor

logger = logging.getLogger(__name__)
logger.addFilter(lambda record: not _is_noise(record))

ANY_ORIGIN = "*"

_IDLE_S = 60.0
_ANSWER_S = 0.1

_PAGE = Path(__file__).parent.parent / "page"
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
        " require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "bcast_grpc",
    "X-Content-Type-Options": "nosniff",
}


class HttpService:
    """What is served over HTTP.

    Args:
        hub: where the clients go.
        scheduler: the loop that the hub flushes in.
        keepalive_s: how long a WebSocket is silent before it is pinged.
        origins: whose pages may open the WebSocket, besides our own; ``*``: all.
        on_loopback: whether only this machine reaches it.
    """

    def __init__(
        self,
        hub: Hub,
        scheduler: LoopScheduler,
        *,
        keepalive_s: float,
        origins: Collection[str] = (),
        on_loopback: bool = True,
    ) -> None:
        self._hub = hub
        self._door = WebSocketDoor(hub, scheduler, keepalive_s)
        self._serving = Serving()
        self._origins = frozenset(origins)
        self._on_loopback = on_loopback
        self._runner: web.AppRunner | None = None
        self._sites: list[web.SockSite] = []

    async def start(self, sockets: Iterable[socket.socket]) -> None:
        """Take in requests from sockets that listen."""
        self._runner = web.AppRunner(
            self.app(), access_log=None, keepalive_timeout=_IDLE_S, shutdown_timeout=_ANSWER_S, logger=logger
        )
        await self._runner.setup()
        self._sites = [web.SockSite(self._runner, one) for one in sockets]
        for site in self._sites:
            await site.start()

    async def stop(self, grace_s: float) -> None:
        """Take in nobody more, and cut off who is still there after ``grace_s``."""
        while self._sites:
            await self._sites.pop().stop()
        await self._serving.end(grace_s)  # before aiohttp ends, which would not hear their last words
        if self._runner:
            await self._runner.cleanup()

    def app(self) -> web.Application:
        """Return what aiohttp serves."""
        app = web.Application()
        app.on_response_prepare.append(_add_headers)
        app.router.add_get("/ws", self._connect)
        app.router.add_get("/healthz", _live)
        app.router.add_get("/readyz", self._ready)
        for path, body, type_ in _read_page():
            app.router.add_get(path, _Static(body, type_).serve)
        return app

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get(hdrs.UPGRADE, "").lower() != "websocket":
            raise web.HTTPUpgradeRequired(
                text="this is a WebSocket: ws:// or wss://\n", headers={hdrs.UPGRADE: "websocket"}
            )
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and not self._may_connect(origin, request.host):
            raise web.HTTPForbidden(
                text=f"pages of {origin!r} may not connect here; --http-allow-origin names those that may\n"
            )
        with self._serving.here():
            return await self._door.serve(request)

    async def _ready(self, _: web.Request) -> web.Response:
        if self._hub.closed:
            raise web.HTTPServiceUnavailable(text=f"{self._hub.closed}\n")
        return web.Response(text="ready\n")

    def _may_connect(self, origin: str, host: str) -> bool:
        if origin in self._origins or ANY_ORIGIN in self._origins:
            return True
        # TLS may have ended before us, so the scheme tells nothing. On loopback the host must be this machine by its
        # own name: a foreign name that was made to lead here is still a foreign page.
        ours = urlsplit(origin).netloc == host
        return ours and not (self._on_loopback and not _is_local_name(urlsplit(origin).hostname or ""))


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


def _is_noise(record: logging.LogRecord) -> bool:
    """Whether a record only tells that something came that is no HTTP: it was answered, and is no fault of ours."""
    return bool(record.exc_info) and isinstance(record.exc_info[1], HttpProcessingError)  # type: ignore[index]


async def _live(_: web.Request) -> web.Response:
    return web.Response(text="alive\n")


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)


def _read_page() -> list[tuple[str, bytes, str]]:
    """Return the files of the page: path, body, type."""
    page = []
    for file in _PAGE.iterdir():
        if type_ := _TYPES.get(file.suffix):
            path = "/" if file.name == "index.html" else f"/{file.name}"
            page.append((path, file.read_bytes(), type_))
    return page


def _is_local_name(host: str) -> bool:
    """Whether a name means this machine wherever it is looked up, or is no name but an address."""
    try:
        ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return True
