"""WebSockets at the HTTP door: the contract's messages as JSON, for browsers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from urllib.parse import quote

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from bcast_grpc.core import notices
from bcast_grpc.core.batch import Encoder
from bcast_grpc.core.hello import read_hello
from bcast_grpc.core.identity import Caller
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Request
from bcast_grpc.transport import tcp_info
from bcast_grpc.transport.bearer import bearer_token
from bcast_grpc.transport.coroutines import CoroutineLine
from bcast_grpc.transport.door import Shared
from bcast_grpc.transport.ending import ConnectionGone, ending
from bcast_grpc.transport.first_request import admit_with_first, find_first, too_much
from bcast_grpc.transport.framer import Framer
from bcast_grpc.transport.http_connection import HttpConnection
from bcast_grpc.transport.http_secrets import SUBPROTOCOL, TOKEN_PROTOCOL
from bcast_grpc.transport.lingering import LINGER_S, Linger, limited, taken
from bcast_grpc.transport.liveness import Keepalive, Liveness
from bcast_grpc.transport.percent import percent_decode
from bcast_grpc.transport.stream import Stream
from bcast_grpc.transport.tcp_info import acked
from bcast_grpc.transport.tls.peer import subject_of
from bcast_grpc.transport.turns import LIGHT_BYTES, Turns
from bcast_grpc.wire import json_events, json_requests

logger = logging.getLogger(__name__)

CLOSE_CODES = 4000
"""An error closes a WebSocket with this plus the number of its code."""

_ARRAYS = Encoder(json_events.encode_arrays, json_events.PIECE_BYTES, json_events.split_arrays)
_SINGLY = Encoder(json_events.encode_singly, 0)
_REASON_BYTES = 123
_REQUESTS = (WSMsgType.TEXT, WSMsgType.BINARY)
_WRITES_IN_A_ROW = 64
_WRITE_BYTES = 16 * 1024  # after so much aiohttp checks whether it has to wait; the last events are smaller
_READS_IN_A_ROW = 16
_FIN_TEXT = 0x81


class WebSockets:
    """Serves WebSockets.

    Args:
        shared: what all doors share.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._arrays = Framer(lambda pieces: _framed(json_events.close_array(pieces)))
        self._singly = Framer(_framed)

    async def serve(self, request: web.Request, peer: str) -> web.WebSocketResponse:
        """Serve a client until its WebSocket ends.

        Raises:
            HTTPException: the request is not a WebSocket handshake.
            ConnectionResetError: the client disconnected before it was admitted.
        """
        socket = web.WebSocketResponse(
            autoping=False,
            heartbeat=None if tcp_info.KNOWN else self._shared.keepalive.interval_s,
            max_msg_size=json_requests.MAX_REQUEST_BYTES,
            protocols=(SUBPROTOCOL,),
            compress=False,  # each client would compress what all of them share
            timeout=LINGER_S,  # for the answer to a close
            writer_limit=_WRITE_BYTES,
        )
        batch = "batch=1" in request.rel_url.raw_query_string.split("&")
        assert isinstance(request.protocol, HttpConnection)
        framer = self._arrays if batch else self._singly
        connection = _Connection(request.protocol, socket, self._shared.scheduler.turns, framer, batch=batch)
        try:
            talking = self._talk(request, socket, connection, peer)
            ended = await ending(talking, peer, OSError, counts=self._shared.hub.counts)
            if not ended.gone:
                await connection.end(request, ended.error)
        finally:
            connection.watch_no_more()
            if socket.prepared and request.transport:
                request.transport.abort()  # what it did not read until now, it never will
            if lost := socket.exception():
                lost.__traceback__ = lost.__context__ = None  # the WebSocket keeps it, and it would keep the WebSocket
        if not socket.prepared:
            raise ConnectionResetError("it disconnected before it was admitted")
        return socket

    async def _talk(
        self, request: web.Request, socket: web.WebSocketResponse, connection: _Connection, peer: str
    ) -> None:
        shared = self._shared
        hello = read_hello(_pairs(request.rel_url.raw_query_string), shared.hub.limits)

        async def first() -> Request:
            await socket.prepare(request)
            return await connection.first()

        caller = Caller(peer, connection.take_token(), subject_of(request.transport) or "")
        admission = await admit_with_first(shared, hello, caller, first)
        del caller  # it knows the token
        if request.transport is None:
            admission.release()
            raise ConnectionGone("it disconnected before it was admitted")
        connection.admitted()
        line = CoroutineLine(shared.scheduler.writes, peer, connection.write_now)
        with closing(Stream(admission, shared.scheduler, connection.encoder, line)) as stream:
            if not socket.prepared:
                session = stream.session
                socket.headers["bcast-session"] = session.id
                socket.headers["bcast-room"] = quote(hello.room, safe="")
                socket.headers["bcast-epoch"] = session.epoch
                await socket.prepare(request)
            if request.transport is None:
                raise ConnectionGone("it disconnected while it was admitted")
            connection.watch(shared.keepalive, request.transport)
            await line.serve(stream, connection.write, connection.read, partial(acked, request.transport))


class _Connection:
    """Reads requests from a WebSocket, and writes frames to it."""

    __slots__ = (
        *("_batch", "_framer", "_http", "_in_a_row", "_liveness", "_reads_in_a_row", "_received", "_socket", "_turns"),
        "encoder",
    )

    def __init__(
        self, http: HttpConnection, socket: web.WebSocketResponse, turns: Turns, framer: Framer, *, batch: bool
    ) -> None:
        self._http = http
        self._framer = framer
        self._liveness: Liveness | None = None
        self._reads_in_a_row = 0
        self._turns = turns
        self.encoder = _ARRAYS if batch else _SINGLY
        self._socket = socket
        self._batch = batch
        self._in_a_row = 0
        self._received: Iterator[Sequence[Request]] | None = None

    async def first(self) -> Request:
        """Wait for the first request. What came with it is read next.

        Raises:
            CallError: too much came before it.
        """
        try:
            async with self._http.before_admission():
                while not (first := find_first(await self.read())):
                    pass
        except TimeoutError:
            raise too_much() from None
        self._received = first.rest
        return first.request

    def take_token(self) -> str:
        """Return the token in the headers of the handshake; empty if there is none. It is not kept after that.

        Raises:
            CallError: ``UNAUTHENTICATED``: there is more than one.
        """
        return bearer_token(self._http.take_tokens())

    def admitted(self) -> None:
        """Note that the client is let in, so that it may send more than a first request."""
        self._http.admitted()

    def watch(self, keepalive: Keepalive, transport: asyncio.WriteTransport) -> None:
        """Watch whether the client is alive until it has taken its last words, however slow its line is."""
        self._liveness = keepalive.watch(transport, self.ping)

    def watch_no_more(self) -> None:
        """Stop watching. May be called again, or before ``watch()``."""
        if self._liveness:
            self._liveness.stop()
            self._liveness = None

    async def read(self) -> Iterator[Sequence[Request]]:
        if self._received:
            received, self._received = self._received, None
            return received
        while True:
            try:
                with self._http.reading():
                    message = await self._socket.receive()
                self._http.received(message)
                await self._take_turn(message)
                if message.type is WSMsgType.PING:
                    await self._socket.pong(message.data)
            except OSError as error:  # as when a ping cannot be answered
                raise ConnectionGone(str(error)) from None
            if message.type in _REQUESTS:
                return json_requests.read_requests(message.data)
            if message.type not in (WSMsgType.PING, WSMsgType.PONG):
                raise ConnectionGone(message.type.name)  # a client that has closed its WebSocket reads nothing more

    async def _take_turn(self, message: WSMessage) -> None:
        """Give others their turn after much or frequent reading: receiving data that have come does not wait."""
        self._reads_in_a_row += 1
        if message.type in _REQUESTS and len(message.data) > LIGHT_BYTES:
            await self._turns.take(self._http.peer)
        elif self._reads_in_a_row >= _READS_IN_A_ROW:
            self._reads_in_a_row = 0
            await asyncio.sleep(0)

    def write_now(self, frame: bytes) -> bool:
        """Write a frame, past aiohttp, if nothing is waiting to be sent; return whether it was written."""
        transport = self._http.transport
        if self._socket.closed or transport is None or transport.is_closing() or transport.get_write_buffer_size():
            return False
        transport.write(self._framer.frame(frame))
        return True

    async def write(self, frame: bytes) -> None:
        await self._socket.send_frame(json_events.close_array(frame) if self._batch else frame, WSMsgType.TEXT)
        self._in_a_row += 1
        if self._in_a_row == _WRITES_IN_A_ROW:  # to a socket with room, a write waits for nothing
            self._in_a_row = 0
            await asyncio.sleep(0)

    def ping(self) -> None:
        """Send a ping, soon."""
        asyncio.get_running_loop().create_task(self._ping())

    async def _ping(self) -> None:
        with suppress(OSError):
            await self._socket.ping()

    async def end(self, request: web.Request, error: CallError | None = None) -> None:
        """Send the error in an event and in the close code: a browser cannot see any other answer to a handshake."""
        try:
            await self._socket.prepare(request)  # does nothing if it is prepared
            if request.transport is None:
                return
            linger = Linger()
            async with limited(linger, partial(acked, request.transport)):
                linger.begin()
                if error:
                    for frame, *_ in self.encoder.frames([notices.error(error, "")]):
                        await self.write(frame)
                await taken(request.transport)
            self.watch_no_more()  # no ping may follow the close frame
            # After a wait for aiohttp's drain was cancelled, the next one is cancelled, too.
            code, reason = (CLOSE_CODES + error.code, _shortened(error.reason)) if error else (WSCloseCode.OK, b"")
            with self._http.reading():
                await self._socket.close(code=code, message=reason, drain=False)
        except (OSError, TimeoutError) as lost:
            logger.debug("%s disconnected: %s", self._http.peer, lost)


def _framed(text: bytes) -> bytes:
    """Return a text of less than 64 KiB as a server's frame (RFC 6455, section 5.2)."""
    size = len(text)
    head = bytes((_FIN_TEXT, size)) if size < 126 else bytes((_FIN_TEXT, 126)) + size.to_bytes(2)
    return head + text


def _shortened(reason: str) -> bytes:
    """Shorten a reason to what a close frame can carry."""
    encoded = reason.encode()
    if len(encoded) <= _REASON_BYTES:
        return encoded
    return encoded[: _REASON_BYTES - 3].decode(errors="ignore").encode() + "…".encode()


def _pairs(query: str) -> Iterator[tuple[str, str]]:
    for pair in filter(None, query.split("&")):
        key, _, value = pair.replace("+", " ").partition("=")
        if key == "token":
            raise CallError(
                ErrorCode.METADATA_INVALID,
                "token: must not be in the address, which logs keep; present it as a header (Authorization: Bearer"
                f" TOKEN), as a subprotocol ({TOKEN_PROTOCOL}TOKEN beside {SUBPROTOCOL}), or as the first object",
            )
        yield percent_decode("a key", key), percent_decode(key, value)
