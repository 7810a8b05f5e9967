"""A fast way to write to the only call of a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from bcast_grpc.http2 import data_frame
from bcast_grpc.transport.framer import Framer
from bcast_grpc.transport.grpc.messages import with_prefix

if TYPE_CHECKING:
    from bcast_grpc.transport.grpc.chat_call import ChatCall
    from bcast_grpc.transport.grpc.writer import Writer

MOST_BYTES = 8 * 1024
"""Longer pieces go the usual way: what they gain here is little."""

_HEADER_BYTES = len(data_frame(1, b""))
_STREAM_IDS = 16


class Lane:
    """A fast way to write short pieces to the only call of a connection.

    A message to a thousand clients that were idle costs as much as it touches memory that is in no cache. So the writer
    lends the lane all that the windows allow, and it needs nothing else. Before anything else happens on the connection
    the writer takes that back. Whatever is not possible in this way goes the usual one, through the call.

    Args:
        call: the call.
        frame: returns the DATA frame of a piece.
        transport: the connection's transport.
        writer: the connection's writer.
    """

    __slots__ = ("_frame", "_frames", "_lent", "_room", "_transport", "_writer", "call")

    def __init__(
        self, call: ChatCall, frame: Callable[[bytes], bytes], transport: asyncio.Transport, writer: Writer
    ) -> None:
        self.call = call
        self._frame = frame
        self._transport = transport
        self._writer = writer
        self._lent = self._room = self._frames = 0

    def write(self, piece: bytes) -> bool:
        """Write a piece, if there is room for all of it; return whether it was written."""
        if len(piece) <= MOST_BYTES and self._room:
            data = self._frame(piece)
            size = len(data)
            if size <= self._room and not self._transport.is_closing():
                self._room -= size
                self._frames += 1
                return self._put(data)
        written = self.call.write_now(piece)
        if written:
            self.borrow()
        return written

    def borrow(self) -> None:
        """Borrow all room that there is."""
        self._lent = self._room = self._writer.lend(self)

    def _put(self, data: bytes) -> bool:
        try:
            self._transport.write(data)
        except Exception as raised:  # noqa: BLE001  # the call ends with it, but not in the middle of a flush
            asyncio.get_running_loop().call_soon(self.call.fault, raised)
        return True

    def give_back(self) -> tuple[int, int]:
        """Give back what was lent; return how many bytes were written, and in how many DATA frames."""
        frames = self._frames
        written = self._lent - self._room - frames * _HEADER_BYTES
        self._lent = self._room = self._frames = 0
        return written, frames


class Framings:
    """Puts pieces into DATA frames, once for all calls with the same stream id, which mostly is 1."""

    def __init__(self) -> None:
        self._known = lru_cache(maxsize=_STREAM_IDS)(_framing)

    def of(self, stream_id: int, *, prefixed: bool) -> Callable[[bytes], bytes]:
        """Return what makes the DATA frame of a piece; ``prefixed`` if the piece has gRPC's prefix already."""
        return self._known(stream_id, prefixed)


def _framing(stream_id: int, prefixed: bool) -> Callable[[bytes], bytes]:
    def frame(piece: bytes) -> bytes:
        return data_frame(stream_id, piece if prefixed else with_prefix(piece))

    return Framer(frame).frame
