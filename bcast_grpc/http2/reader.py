"""Bytes to frames: nothing is decoded or judged here but the preface and the length of a frame."""

from __future__ import annotations

from typing import NamedTuple

from bcast_grpc.http2.errors import ConnectionFault, ErrorCode
from bcast_grpc.http2.frames import HEADER, HEADER_SIZE, PREFACE, SMALLEST_MAX_FRAME

LONGEST_RUN = 256
"""DATA frames that are taken at once."""
_MAX_STREAM_ID = 2**31 - 1

_header_at = HEADER.unpack_from


class Frame(NamedTuple):
    """One frame."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes


class Run(NamedTuple):
    """DATA frames of one stream, without padding and not the last of it; none is empty."""

    stream_id: int
    payloads: list[bytes]
    size: int


class Reader:
    """What has come, cut into frames."""

    __slots__ = ("_at", "_began", "_buffer")

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0
        self._began = False

    def add(self, data: bytes) -> None:
        """Keep what came."""
        self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
        self._at = 0

    def clear(self) -> None:
        """Forget all that came."""
        self._buffer = b""
        self._at = 0

    def foreign(self) -> bytes | None:
        """What came, if it cannot be the start of HTTP/2."""
        if self._began or PREFACE.startswith(self._buffer[: len(PREFACE)]):
            return None
        return self._buffer

    def next(self) -> Frame | Run | None:
        """The next frame, or the run of DATA frames that begins with it; None if its end has not come.

        Raises:
            ConnectionFault: it is longer than allowed.
        """
        buffer, at = self._buffer, self._at
        if not self._began:
            if len(buffer) < len(PREFACE):
                return None
            self._began = True
            at = self._at = len(PREFACE)
        if len(buffer) < at + HEADER_SIZE:
            self._trim()
            return None
        head, flags, stream_id = _header_at(buffer, at)
        if not (head & 0xFF or flags) and (run := self._run(at, stream_id)):
            return run
        length = head >> 8
        if length > SMALLEST_MAX_FRAME:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame must be at most {SMALLEST_MAX_FRAME} bytes")
        start = at + HEADER_SIZE
        if len(buffer) < start + length:
            self._trim()
            return None
        self._at = start + length
        return Frame(head & 0xFF, flags, stream_id & _MAX_STREAM_ID, buffer[start : self._at])

    def _run(self, at: int, stream_id: int) -> Run | None:
        buffer = self._buffer
        size = len(buffer)
        last_header = size - HEADER_SIZE
        payloads: list[bytes] = []
        first = at
        head, flags, number = _header_at(buffer, at)
        while number == stream_id and not flags and 0 < (length := head >> 8) <= SMALLEST_MAX_FRAME and not head & 0xFF:
            end = at + HEADER_SIZE + length
            if end > size:
                break
            payloads.append(buffer[at + HEADER_SIZE : end])
            at = end
            if at > last_header or len(payloads) == LONGEST_RUN:
                break
            head, flags, number = _header_at(buffer, at)
        if not payloads:
            return None
        self._at = at
        return Run(stream_id & _MAX_STREAM_ID, payloads, at - first - HEADER_SIZE * len(payloads))

    def _trim(self) -> None:
        self._buffer = self._buffer[self._at :]
        self._at = 0
