"""A reverse proxy between browsers and the server, which serves below a path and may have ideas of its own."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import aiohttp
from aiohttp import WSMsgType, web

PATH = "/chat"

_HOP_BY_HOP = ("connection", "content-encoding", "content-length", "transfer-encoding")


class Proxy:
    """Passes on what comes below its path to ``target``, without the path, as nginx does for ``location /chat/``.

    Attributes:
        url: what browsers connect to, without a slash at its end.
        answers: the status with which it answers a handshake instead of passing it on.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self.url = ""
        self.answers: int | None = None
        self._sockets: dict[web.WebSocketResponse, web.Request] = {}
        self._runner: web.AppRunner | None = None
        self._client: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Listen."""
        app = web.Application()
        app.router.add_get(f"{PATH}/ws", self._pass_socket)
        app.router.add_get(PATH + "/{rest:.*}", self._pass_request)
        self._client = aiohttp.ClientSession(auto_decompress=False)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}{PATH}"

    async def stop(self) -> None:
        """End it."""
        await self.close(1001)
        if self._client and self._runner:
            await self._client.close()
            await self._runner.cleanup()

    async def say(self, data: str | bytes) -> None:
        """Send every browser a frame that the server never sent."""
        for browser in list(self._sockets):
            await (browser.send_str(data) if isinstance(data, str) else browser.send_bytes(data))

    async def close(self, code: int) -> None:
        """Close every browser's WebSocket; with 1006 just the connection."""
        for browser, request in list(self._sockets.items()):
            if code == 1006:
                assert request.transport
                request.transport.abort()
            else:
                await browser.close(code=code)

    async def _pass_request(self, request: web.Request) -> web.Response:
        assert self._client
        path = request.path_qs.removeprefix(PATH)
        async with self._client.get(f"{self._target}{path}", headers=request.headers) as answer:
            headers = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
            if encoding := answer.headers.get("Content-Encoding"):
                headers["Content-Encoding"] = encoding
            return web.Response(status=answer.status, body=await answer.read(), headers=headers)

    async def _pass_socket(self, request: web.Request) -> web.StreamResponse:
        if self.answers is not None:
            return web.Response(status=self.answers, text="<html>the proxy is of another mind</html>")
        assert self._client
        target = f"{self._target}{request.path_qs.removeprefix(PATH)}"
        headers = {"Origin": request.headers["Origin"], "Host": request.headers["Host"]}
        async with self._client.ws_connect(target, headers=headers) as server:
            browser = web.WebSocketResponse()
            await browser.prepare(request)
            self._sockets[browser] = request
            back = asyncio.create_task(_pump(browser, server))
            try:
                await _pump(server, browser)
                await browser.close(code=server.close_code or 1011, message=b"")
            finally:
                del self._sockets[browser]
                back.cancel()
        return browser


async def _pump(
    source: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
    sink: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
) -> None:
    """Pass on frames until one side has ended, then end the other one."""
    with suppress(OSError):
        async for message in source:
            if message.type == WSMsgType.TEXT:
                await sink.send_str(message.data)
    if isinstance(sink, aiohttp.ClientWebSocketResponse):
        await sink.close()
