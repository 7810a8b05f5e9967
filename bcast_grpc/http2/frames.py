"""Encodes the frames that are sent (RFC 9113, section 6)."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from bcast_grpc.http2.states import Kind

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_SIZE = 9
SMALLEST_MAX_FRAME = 16_384
LARGEST_MAX_FRAME = 2**24 - 1

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY = 0x20

HEADER = Struct(">IBI")
"""Length and kind in one number (``length << 8 | kind``), flags, stream id."""
LONG = Struct(">I")
SETTING = Struct(">HI")

COPIED_SIZE = 2048
"""A payload up to this size is copied behind its header: that is cheaper than another piece to write."""
SHARED_SIZE = 65_536
"""The frames of a payload up to this size become one piece for all streams with the same id."""
SHARED_COUNT = 16
"""How many payloads are remembered for that."""


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """A frame with its header."""
    return HEADER.pack(len(payload) << 8 | kind, flags, stream_id) + payload


def settings_frame(settings: dict[int, int]) -> bytes:
    """SETTINGS."""
    return frame(Kind.SETTINGS, 0, 0, b"".join(SETTING.pack(*one) for one in settings.items()))


def window_update(stream_id: int, increment: int) -> bytes:
    """WINDOW_UPDATE."""
    return frame(Kind.WINDOW_UPDATE, 0, stream_id, LONG.pack(increment))


def rst_stream(stream_id: int, code: int) -> bytes:
    """RST_STREAM."""
    return frame(Kind.RST_STREAM, 0, stream_id, LONG.pack(code))


def go_away(last_stream_id: int, code: int, debug: bytes) -> bytes:
    """GOAWAY."""
    return frame(Kind.GOAWAY, 0, 0, LONG.pack(last_stream_id) + LONG.pack(code) + debug)


def header_frames(stream_id: int, block: bytes, max_size: int, *, ended: bool) -> bytes:
    """HEADERS, and CONTINUATION as often as the block needs it."""
    flags = END_STREAM if ended else 0
    if len(block) <= max_size:
        return frame(Kind.HEADERS, flags | END_HEADERS, stream_id, block)
    parts = [block[at : at + max_size] for at in range(0, len(block), max_size)]
    frames = [frame(Kind.HEADERS, flags, stream_id, parts[0])]
    frames += [frame(Kind.CONTINUATION, 0, stream_id, part) for part in parts[1:-1]]
    frames.append(frame(Kind.CONTINUATION, END_HEADERS, stream_id, parts[-1]))
    return b"".join(frames)


def data_frame(stream_id: int, payload: bytes) -> bytes:
    """One DATA frame, of at most ``SMALLEST_MAX_FRAME`` bytes: see ``Connection.count_sent``."""
    return HEADER.pack(len(payload) << 8, 0, stream_id) + payload


def data_frames(data: bytes | memoryview, stream_id: int, max_size: int) -> Sequence[bytes | memoryview]:
    """DATA frames in pieces to be written one after the other.

    A broadcast goes to many connections, mostly on the same stream id. So ``bytes`` that are sent a second time are
    copied into one piece, which all connections then share. Otherwise only short payloads are copied.
    """
    size = len(data)
    if size <= COPIED_SIZE:
        return (HEADER.pack(size << 8, 0, stream_id) + data,)
    if size > SHARED_SIZE or not isinstance(data, bytes):
        return _data_pieces(data, stream_id, max_size)
    key = (id(data), stream_id, max_size)
    known = _sent.get(key)
    again = known is not None and known[0] is data
    if known and again and known[1]:
        return known[1]
    if len(_sent) >= SHARED_COUNT:
        _sent.clear()
    pieces: Sequence[bytes | memoryview] = _data_pieces(data, stream_id, max_size)
    if again:
        pieces = (b"".join(pieces),)
    _sent[key] = data, pieces if again else ()
    return pieces


_sent: dict[tuple[int, int, int], tuple[bytes, Sequence[bytes | memoryview]]] = {}
"""What was sent lately, and its frames once they are shared. It keeps the payload, so that no other gets its id()."""


def _data_pieces(data: bytes | memoryview, stream_id: int, max_size: int) -> list[bytes | memoryview]:
    if len(data) <= max_size:
        return [HEADER.pack(len(data) << 8, 0, stream_id), data]
    view = memoryview(data)
    pieces: list[bytes | memoryview] = []
    for at in range(0, len(view), max_size):
        part = view[at : at + max_size]
        pieces += (HEADER.pack(len(part) << 8, 0, stream_id), part)
    return pieces
