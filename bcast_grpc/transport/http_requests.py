"""The requests of an HTTP connection. Even what is not a valid one gets an answer of ours, not of aiohttp."""

from __future__ import annotations

import logging
from asyncio import BaseTransport, Task, TimerHandle, current_task
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.http import HttpProcessingError, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from bcast_grpc.transport.connections import Connections
from bcast_grpc.transport.handshake import shown
from bcast_grpc.transport.http_answers import (
    HEADERS,
    MAX_FIELD_BYTES,
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    MAX_LINE_BYTES,
    TOO_LARGE,
    raw,
    say_what_is_wrong,
)
from bcast_grpc.transport.http_secrets import take_tokens
from bcast_grpc.transport.one_by_one import OneByOne

logger = logging.getLogger(__name__)

_IDLE_S = 60.0
_LINGER_S = 2.0


class HttpRequests(web.RequestHandler):
    """Answers the requests of one client, within bounds of time and size.

    Args:
        server: what answers them.
        requests: whose requests are answered when; a client may send the next ones before it has read the answers.
        head_s: how long the headers of a request may take, those of the first from the beginning of the connection.
        connections: those of all doors.
        peer: the client's address.

    Attributes:
        peer: the client's address, as a proxy may have told it.
    """

    __slots__ = (
        *("_body", "_connections", "_head_bytes", "_head_s", "_head_timer", "_requests", "_tokens", "_waiting"),
        "peer",
    )

    def __init__(
        self, server: web.Server, requests: OneByOne, head_s: float, connections: Connections, peer: str, **options: Any
    ) -> None:
        super().__init__(
            server,
            access_log=None,  # type: ignore[arg-type]  # none
            auto_decompress=False,  # nobody reads what comes with a request
            keepalive_timeout=_IDLE_S,
            logger=logger,
            max_field_size=MAX_FIELD_BYTES,
            max_headers=MAX_FIELDS,
            max_line_size=MAX_LINE_BYTES,
            **options,
        )
        self._requests = requests
        self._connections = connections
        self.peer = peer
        self._head_bytes = 0
        self._head_timer: TimerHandle | None = None
        self._body: StreamReader = EMPTY_PAYLOAD
        self._head_s = head_s
        self._tokens: Sequence[str] = ()  # of the last request
        self._waiting: Task[Any] | None = None  # for the turn of a request

    def connection_made(self, transport: BaseTransport) -> None:
        """Wait for the first request."""
        super().connection_made(transport)
        self._head_timer = self._loop.call_later(self._head_s, self._expire)

    async def start(self) -> None:
        """Answer requests until there are no more. aiohttp raises on some, such as one without an address."""
        try:
            await super().start()
        except (AssertionError, AttributeError, TypeError, ValueError) as error:
            if self.transport and isinstance(error, AssertionError | TypeError):
                raise  # otherwise the client is gone, and aiohttp has forgotten what it would have gone on with
            self._refuse(HTTPStatus.BAD_REQUEST, "this is not a valid HTTP/1.1 request", shown(str(error)))

    async def _handle_request(self, *args: Any) -> tuple[web.StreamResponse, bool]:
        """Answer a request when it is its turn."""
        self._waiting = current_task()
        try:
            await self._requests.turn(self.peer)
        finally:
            self._waiting = None
        return await super()._handle_request(*args)

    def force_close(self) -> None:
        """Close the connection, also where aiohttp does; after that it has no transport any more."""
        self._end_head()
        super().force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """End the connection."""
        self._end_head()
        if self._waiting:
            self._waiting.cancel()  # nobody would read the answer
        self._body = EMPTY_PAYLOAD
        self._connections.gone(self.peer)
        super().connection_lost(exc)

    def _take_in(self, data: bytes) -> None:
        """Pass data to aiohttp, and bound the size and time of a request's head."""
        before = self._request_count
        try:
            super().data_received(data)
        except ValueError as error:  # older aiohttp raises it for an invalid address
            self._refuse(HTTPStatus.BAD_REQUEST, "this is not a valid HTTP/1.1 request", shown(str(error)))
            return
        if self._request_count != before:
            self._end_head()
            self._hide_tokens(self._request_count - before)
        elif self.transport and self._body.is_eof() and not (self._force_close or self._upgraded):
            self._head_bytes += len(data)
            self._connections.unfinished.keep(self.transport, self._head_bytes)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(*TOO_LARGE, "its headers are too large")
            elif self._head_timer is None:
                self._head_timer = self._loop.call_later(self._head_s, self._expire)

    def _hide_tokens(self, count: int) -> None:
        """Keep the tokens of the last request apart: aiohttp would keep them as long as it answers that."""
        messages = self._messages
        for at in range(-min(count, len(messages)), 0):
            message, payload = messages[at]
            if isinstance(message, RawRequestMessage):
                message, self._tokens = take_tokens(message)
                messages[at] = message, payload

    def take_tokens(self) -> Sequence[str]:
        """Return the tokens of the last request, as values of ``Authorization``; they are not kept after that."""
        tokens, self._tokens = self._tokens, ()
        return tokens

    def _expire(self) -> None:
        if not self._head_bytes:
            self._head_timer = None
            self.force_close()  # browsers connect in advance, and expect no answer on such a connection
            return
        text = f"the headers of the request were not complete after {self._head_s:g} s"
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, text, "an incomplete request")

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is not a valid request, or an internal error."""
        if isinstance(exc, HttpProcessingError):
            self._refuse(*say_what_is_wrong(exc), shown(str(exc)))
            raise ConnectionError("it is answered, and no more is read")
        if isinstance(exc, UnicodeEncodeError):  # aiohttp repeats what it refuses, and can't where that is no text
            self._refuse(HTTPStatus.BAD_REQUEST, "a header is not UTF-8", shown(str(exc)))
            raise ConnectionError("it is answered, and no more is read")
        if isinstance(exc, ConnectionError) or request.writer.output_size > 0:
            raise ConnectionError("there can be no other answer") from exc
        logger.error("internal error while answering %s", self.peer, exc_info=exc)
        text = "internal error of the server; its log has the details\n"
        answer = web.Response(status=status, text=text, headers=HEADERS)
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kwargs: Any) -> None:
        """Log an error of the server; mistakes of clients at debug level. Errors of handlers do not come here."""
        noise = (web.RequestPayloadError, HttpProcessingError, OSError, ValueError)
        is_noise = isinstance(kwargs.get("exc_info"), noise)
        logger.log(logging.DEBUG if is_noise else logging.ERROR, *args, **kwargs)

    def answering(self, request: web.BaseRequest) -> None:
        """Note the body of the request that is being answered: it does not count towards the next request's head."""
        self._body = request.content

    def _end_head(self) -> None:
        self._head_bytes = 0
        self._connections.unfinished.forget(self.transport)
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: HTTPStatus, text: str, why: str) -> None:
        """Answer an invalid request, and end the connection: later, as with unread data the answer would be lost."""
        self._end_head()
        if self.transport and not self.transport.is_closing():
            logger.debug("answered %d to %s: %s", status, self.peer, why)
            self.transport.write(raw(status, text))
            self.transport.write_eof()
            self._force_close = True
            self._head_timer = self._loop.call_later(_LINGER_S, self.force_close)
