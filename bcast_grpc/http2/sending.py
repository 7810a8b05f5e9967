"""Sends frames in order, within the peer's windows and frame size."""

from __future__ import annotations

from functools import lru_cache

from bcast_grpc.http2 import frames
from bcast_grpc.http2.errors import ConnectionFault, ErrorCode
from bcast_grpc.http2.limits import DEFAULT_WINDOW, LARGEST_WINDOW, Limits
from bcast_grpc.http2.states import HALF_CLOSED_REMOTE, OPEN, Kind, State, Stream, Streams

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = (
    range(1, 7)
)
"""Settings, by number (RFC 9113, section 6.5.2)."""

_OPEN_FOR_US = (OPEN, HALF_CLOSED_REMOTE)


class Sending:
    """The sending half of a connection.

    Attributes:
        owed: Bytes of answers to the peer's frames that wait to be sent.
        peer_max_frame_size: Largest payload of a frame that the peer accepts, in bytes.
    """

    __slots__ = (
        "_data_frames",
        "_initial",
        "_limits",
        "_most_credit",
        "_out",
        "_refused_above",
        "_streams",
        "_window",
        "owed",
        "peer_max_frame_size",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._streams = Streams()
        self._out: list[bytes | memoryview] = []
        self._window = DEFAULT_WINDOW
        self._initial = DEFAULT_WINDOW
        self._most_credit = 0  # an upper bound of all streams' credit: finding the exact maximum costs O(streams)
        self._data_frames = 0  # DATA frames that were sent and not yet counted as earned by the peer
        self._refused_above: int | None = None
        self.owed = 0
        self.peer_max_frame_size = frames.SMALLEST_MAX_FRAME

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._streams.open)

    @property
    def window(self) -> int:
        """How many bytes of DATA can be sent now, on all streams together."""
        return self._window

    @property
    def last_stream_id(self) -> int:
        """The highest stream that the peer opened."""
        return self._streams.highest

    def start(self) -> None:
        """Send this side's SETTINGS, and open the window of the connection."""
        self._out.append(_preface(self._limits))

    def data_to_send(self) -> list[bytes | memoryview]:
        """What is to be written now, in order; the next call returns only what comes later."""
        out, self._out = self._out, []
        self.owed = 0
        return out

    def room(self, stream_id: int) -> int:
        """Bytes of DATA that can be sent on a stream now; 0 if it has ended, too."""
        stream = self._streams.open.get(stream_id)
        if stream is None or stream.state not in _OPEN_FOR_US:
            return 0
        return max(0, min(self._window, self._initial + stream.credit))

    def send_headers(self, stream_id: int, block: bytes, *, ended: bool = False) -> None:
        """Send a block of ``encode()``; ``ended`` if nothing follows on the stream.

        Raises:
            LookupError: the stream has ended.
        """
        self._stream_to_send(stream_id)
        self._out.append(frames.header_frames(stream_id, block, self.peer_max_frame_size, ended=ended))
        if ended:
            self._streams.end_by_us(stream_id)

    def send_data(self, stream_id: int, data: bytes | memoryview) -> int:
        """Send as much as the windows allow, and return how many bytes that was.

        The same ``bytes`` on the same stream id of many connections are made into frames once.
        A ``memoryview``, or anything larger than 2 KiB, is not copied, so it must not change.

        Raises:
            LookupError: the stream has ended.
        """
        stream = self._stream_to_send(stream_id)
        size = min(len(data), self._window, self._initial + stream.credit)
        if size <= 0:
            return 0
        self._send(stream, stream_id, memoryview(data)[:size] if size < len(data) else data)
        return size

    def send_whole(self, stream_id: int, data: bytes) -> bool:
        """Send data if this is the only stream, and the windows allow all of it; return whether that was done."""
        streams, size = self._streams.open, len(data)
        stream = streams.get(stream_id)
        if stream is None or len(streams) > 1 or stream.state not in _OPEN_FOR_US:
            return False
        if size > self._window or size > self._initial + stream.credit:
            return False
        self._send(stream, stream_id, data)
        return True

    def count_sent(self, stream_id: int, size: int, frames_: int) -> None:
        """Count data that were written as DATA frames without this object.

        Within ``room()``, and as long as nothing else is sent or received, that is allowed.
        """
        self._data_frames += frames_
        self._window -= size
        if stream := self._streams.open.get(stream_id):
            stream.credit -= size

    def _send(self, stream: Stream, stream_id: int, data: bytes | memoryview) -> None:
        size = len(data)
        self._out += frames.data_frames(data, stream_id, self.peer_max_frame_size)
        self._data_frames += 1 + size // self.peer_max_frame_size
        self._window -= size
        stream.credit -= size

    def reset(self, stream_id: int, code: int) -> None:
        """Reset a stream; what still comes on it is ignored. Does nothing if the stream has ended."""
        if stream_id in self._streams.open:
            self._out.append(frames.rst_stream(stream_id, code))
            self._streams.close(stream_id, State.RESET_BY_US)

    def ping(self, data: bytes) -> None:
        """Send a ping with these 8 bytes, which the answer will have, too."""
        if len(data) != 8:
            raise ValueError(f"data: must be 8 bytes, not {len(data)}")
        self._out.append(frames.frame(Kind.PING, 0, 0, data))

    def go_away(self, code: int, *, last_stream_id: int | None = None, debug: bytes = b"") -> None:
        """Announce that streams above ``last_stream_id`` are refused; by default those that are not open yet."""
        last = self._streams.highest if last_stream_id is None else last_stream_id
        self._refused_above = last
        self._out.append(frames.go_away(last, code, debug))

    def _answer(self, data: bytes) -> None:
        """Send the answer to a frame, unless the peer does not read.

        Raises:
            ConnectionFault: too many bytes of answers wait to be sent.
        """
        self.owed += len(data)
        if self.owed > self._limits.max_owed_bytes:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "the answers to PING and SETTINGS must be read")
        self._out.append(data)

    def _open_window(self, increment: int) -> None:
        if self._window + increment > LARGEST_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"a window must be at most {LARGEST_WINDOW}")
        self._window += increment

    def _stream_to_send(self, stream_id: int) -> Stream:
        stream = self._streams.open.get(stream_id)
        if stream is None or stream.state not in _OPEN_FOR_US:
            raise LookupError(f"stream {stream_id} is not open for sending")
        return stream


@lru_cache(maxsize=8)
def _preface(limits: Limits) -> bytes:
    """The first frames of each connection with these limits."""
    settings = {
        HEADER_TABLE_SIZE: 0,
        MAX_CONCURRENT_STREAMS: limits.max_concurrent_streams,
        INITIAL_WINDOW_SIZE: limits.stream_window,
        MAX_HEADER_LIST_SIZE: limits.max_header_bytes,
    }
    preface = frames.settings_frame(settings)
    if limits.connection_window > DEFAULT_WINDOW:
        preface += frames.window_update(0, limits.connection_window - DEFAULT_WINDOW)
    return preface
