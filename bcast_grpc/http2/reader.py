"""Cuts bytes into frames, and checks only the preface and the length of each frame."""

from __future__ import annotations

from typing import TypeAlias

from bcast_grpc.http2.errors import ConnectionFault, ErrorCode, ForeignProtocol
from bcast_grpc.http2.frames import HEADER, HEADER_SIZE, PREFACE, SMALLEST_MAX_FRAME

LONGEST_RUN = 256
"""Most DATA frames that are taken at once."""
_MAX_STREAM_ID = 2**31 - 1

_header_at = HEADER.unpack_from

Frames: TypeAlias = tuple[int, int, int, list[bytes], int]
"""Kind, flags, stream id, payloads, and their size.

One frame; or a run of DATA frames of one stream without flags, of which none is empty.
"""


class Reader:
    """Cuts received bytes into frames."""

    __slots__ = ("_at", "_began", "_buffer")

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0
        self._began = False

    def add(self, data: bytes) -> None:
        """Add received bytes."""
        self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
        self._at = 0

    def clear(self) -> None:
        """Drop all received bytes."""
        self._buffer = b""
        self._at = 0

    def next(self) -> Frames | None:
        """The next frame, or the run of DATA frames that begins with it; None if it is not complete.

        Raises:
            ConnectionFault: the frame is longer than allowed.
            ForeignProtocol: the bytes cannot be the beginning of HTTP/2.
        """
        if not self._began and not self._begin():
            return None
        buffer, at = self._buffer, self._at
        rest = len(buffer) - at - HEADER_SIZE
        if rest < 0:
            self._wait()
            return None
        head, flags, stream_id = _header_at(buffer, at)
        length = head >> 8
        if length > SMALLEST_MAX_FRAME:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame must be at most {SMALLEST_MAX_FRAME} bytes")
        if rest < length:
            self._wait()
            return None
        start = at + HEADER_SIZE
        self._at = at = start + length
        payloads = [buffer[start:at]]
        if length and rest > length and not (flags or head & 0xFF):
            length += self._add_run(payloads, stream_id)
        return head & 0xFF, flags, stream_id & _MAX_STREAM_ID, payloads, length

    def _add_run(self, payloads: list[bytes], stream_id: int) -> int:
        """Add the payloads of the DATA frames that continue a run, and return their size."""
        buffer = self._buffer
        first = at = self._at
        size = len(buffer)
        last_header = size - HEADER_SIZE
        while at <= last_header and len(payloads) < LONGEST_RUN:
            head, flags, number = _header_at(buffer, at)
            if head & 0xFF or flags or number != stream_id or not 0 < (length := head >> 8) <= SMALLEST_MAX_FRAME:
                break
            start = at + HEADER_SIZE
            if start + length > size:
                break
            at = start + length
            payloads.append(buffer[start:at])
        self._at = at
        return at - first - HEADER_SIZE * (len(payloads) - 1)

    def _begin(self) -> bool:
        if not PREFACE.startswith(self._buffer[: len(PREFACE)]):
            raise ForeignProtocol(self._buffer)
        if len(self._buffer) < len(PREFACE):
            return False
        self._began = True
        self._at = len(PREFACE)
        return True

    def _wait(self) -> None:
        """Keep only the beginning of an incomplete frame."""
        self._buffer = self._buffer[self._at :]
        self._at = 0
