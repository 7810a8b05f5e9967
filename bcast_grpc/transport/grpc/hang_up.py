"""The end of a connection, if the server ends it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from bcast_grpc.http2 import Connection as Http2
from bcast_grpc.http2 import ErrorCode
from bcast_grpc.transport.grpc.calls import Calls
from bcast_grpc.transport.grpc.reader import Reader
from bcast_grpc.transport.grpc.writer import Writer
from bcast_grpc.transport.lingering import LINGER_S
from bcast_grpc.transport.tcp_info import acked

LAST_WORDS_S = 1.0
"""How long a connection that the server closes stays open for the client to read what was written last."""

DRAIN_PING = b"draining"
_LARGEST_STREAM_ID = 2**31 - 1
_SHUTTING_DOWN = b"the server is shutting down"


class HangUp:
    """Ends a connection: when the server drains, because of an error of the client, or at once.

    Args:
        h2: the connection's HTTP/2.
        transport: the connection's transport.
        writer: writes to the connection.
        reader: reads from it.
        calls: the calls on it.

    Attributes:
        greeted: whether the client has begun, so that it can be told why the connection ends.
        closing: whether the end has begun: nothing more is read.
    """

    __slots__ = ("_announced", "_calls", "_draining", "_h2", "_reader", "_transport", "_writer", "closing", "greeted")

    def __init__(self, h2: Http2, transport: asyncio.Transport, writer: Writer, reader: Reader, calls: Calls) -> None:
        self._h2 = h2
        self._transport = transport
        self._writer = writer
        self._reader = reader
        self._calls = calls
        self._announced = False
        self._draining = False
        self.greeted = False
        self.closing = False

    @property
    def _is_connecting(self) -> bool:
        """Whether the client has made no call yet, so that it may not have read our SETTINGS.

        It must not find a GOAWAY behind them: grpcio (1.85) then makes its first call on that connection again and
        again, without a pause, until its process has filled the memory.
        """
        return not (self._h2.last_stream_id or self._h2.in_header_block)

    def announce(self) -> None:
        """Tell the client to make its next calls elsewhere. Calls are still served until its answer to the ping."""
        if self.greeted and not (self._is_connecting or self._announced or self.closing):
            self._announced = True
            self._h2.go_away(ErrorCode.NO_ERROR, last_stream_id=_LARGEST_STREAM_ID, debug=_SHUTTING_DOWN)
            self._h2.ping(DRAIN_PING)
            self._writer.flush()

    def go_away(self) -> None:
        """Refuse new calls, and disconnect once there are none."""
        if not self.greeted:
            self.abort()
        elif self._is_connecting:
            self.finish()
        elif not (self._draining or self.closing):
            self._draining = True
            self._h2.go_away(ErrorCode.NO_ERROR, debug=_SHUTTING_DOWN)
            self._writer.flush()
            self._finish_if_idle()

    def none_left(self) -> None:
        """Note that the last call has ended."""
        loop = asyncio.get_running_loop()
        if self._draining:
            loop.call_soon(self._finish_if_idle)
        elif self._writer.paused and not self.closing:
            loop.call_later(LINGER_S, self._abort_if_stuck, acked(self._transport))

    def _abort_if_stuck(self, acked_before: int) -> None:
        """Disconnect a client without calls that has read nothing for a while."""
        if self._writer.paused and not self._calls and acked(self._transport) == acked_before:
            self.abort()

    def _finish_if_idle(self) -> None:
        if not self._calls:
            self.finish()

    def refuse(self, code: ErrorCode) -> None:
        """Drop the calls, and disconnect with an error."""
        if not self.greeted:
            self.abort()
        elif not self.closing:
            if not self._is_connecting:
                self._h2.go_away(code)
            self._calls.drop_all()
            self.finish()

    def finish(self) -> None:
        """Half-close, and give the client a moment to read what was written and to close its end.

        Closing a socket with unread data in it resets the connection, and what was last written may be lost.
        """
        if self.closing:
            return
        self.closing = True
        self._reader.stop()
        self._writer.end()
        if self._transport.is_closing():
            return
        with suppress(OSError):  # the client is gone; asyncio's own loop raises at once
            self._transport.write_eof()
        asyncio.get_running_loop().call_later(LAST_WORDS_S, self._transport.abort)

    def abort(self) -> None:
        """Disconnect at once."""
        self.closing = True
        self._reader.stop()
        self._transport.abort()
