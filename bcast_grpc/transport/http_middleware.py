"""What is done with each request of the HTTP port, and with each answer."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web
from aiohttp.http import HttpVersion11

from bcast_grpc.transport.handshake import shown
from bcast_grpc.transport.http_answers import HEADERS, NO_HTTP2
from bcast_grpc.transport.http_connection import HttpConnection
from bcast_grpc.transport.http_secrets import forget_addresses, has_token_in_address

logger = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell the connection which request it answers, and refuse HTTP/2."""
    if isinstance(request.protocol, HttpConnection):
        request.protocol.answering(request)
    if request.version > HttpVersion11:
        raise web.HTTPVersionNotSupported(text=f"{NO_HTTP2}\n")
    return await handler(request)


async def finish(request: web.Request, response: web.StreamResponse) -> None:
    """Add the headers that every answer has, and log a refusal."""
    response.headers.update(HEADERS)
    assert isinstance(request.protocol, HttpConnection)
    has_token = bool(request.protocol.take_tokens())
    if has_token_in_address(request.rel_url.raw_query_string):
        has_token = True
        forget_addresses()
    if has_token and response.status != HTTPStatus.SWITCHING_PROTOCOLS:
        response.force_close()  # the parser would keep it until the next request
    if response.status >= HTTPStatus.BAD_REQUEST:
        what, why = shown(request.rel_url.raw_path), shown(getattr(response, "text", None) or "")
        logger.debug("answered %d to %s: %s %s: %s", response.status, peer_of(request), request.method, what, why)


def peer_of(request: web.BaseRequest) -> str:
    """Return the address that a request's connection comes from."""
    assert isinstance(request.protocol, HttpConnection)
    return request.protocol.peer
