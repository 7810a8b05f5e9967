"""Handles the received frames of streams (RFC 9113, section 6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from bcast_grpc.http2 import frames
from bcast_grpc.http2.control import Control, Handler, number, parent, protocol_error, wrong_size
from bcast_grpc.http2.errors import ConnectionFault, ErrorCode, Malformed, StreamFault
from bcast_grpc.http2.events import (
    ALL_WINDOWS_OPENED,
    FRAME_IGNORED,
    DataReceived,
    Event,
    HeadersReceived,
    StreamReset,
    TrailersReceived,
    WindowOpened,
)
from bcast_grpc.http2.fields import FieldSection
from bcast_grpc.http2.header_blocks import MAX_EARLY, PartialBlock, too_large
from bcast_grpc.http2.limits import DEFAULT_WINDOW, LARGEST_WINDOW, Limits
from bcast_grpc.http2.states import HALF_CLOSED_REMOTE, TABLE, Action, Kind, State, Stream

_SIZES = {Kind.RST_STREAM: 4, Kind.PING: 8, Kind.WINDOW_UPDATE: 4}
_OF_CONNECTION = (Kind.SETTINGS, Kind.PING, Kind.GOAWAY)
_new = tuple.__new__  # a named tuple's own constructor takes three times as long
_OF_STREAM = (Kind.DATA, Kind.HEADERS, Kind.PRIORITY, Kind.RST_STREAM)


class Receiving(Control):
    """The receiving half of a connection."""

    __slots__ = ("_block", "_early", "_gathered", "_greeted", "_taken")

    def __init__(self, limits: Limits, time: Callable[[], float]) -> None:
        super().__init__(limits, time)
        self._block: PartialBlock | None = None
        self._early = 0  # header blocks that were too large while there was a table
        self._greeted = False
        self._taken = 0  # bytes of DATA received since the window was last opened
        self._gathered = 0  # those of them that the application has processed

    @property
    def in_header_block(self) -> bool:
        """Whether a header block has begun and is not complete."""
        return self._block is not None

    def _on_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> Event:
        self._check_place(kind, flags, stream_id)
        if kind in _OF_CONNECTION and stream_id:
            raise protocol_error(f"{Kind(kind).name} must be sent on stream 0, not on {stream_id}")
        if kind in _OF_STREAM and not stream_id:
            raise protocol_error(f"{Kind(kind).name} must be sent on a stream, not on 0")
        if len(payload) != _SIZES.get(kind, len(payload)):  # type: ignore[call-overload]
            raise wrong_size(kind)
        handler = self._HANDLERS.get(kind)
        if handler is None:
            return self._ignore("frames of unknown kinds")
        return handler(self, flags, stream_id, payload)

    def _check_place(self, kind: int, flags: int, stream_id: int) -> None:
        """SETTINGS come first, and nothing comes between the parts of a header block."""
        if not self._greeted:
            if kind != Kind.SETTINGS or flags & frames.ACK:
                raise protocol_error("the first frame must be SETTINGS")
            self._greeted = True
        block = self._block
        if block is None:
            if kind == Kind.CONTINUATION:
                raise protocol_error("CONTINUATION must follow HEADERS")
        elif kind != Kind.CONTINUATION or stream_id != block.stream_id:
            raise protocol_error("a header block must be complete before the next frame")

    # DATA

    def _on_data_frame(self, flags: int, stream_id: int, payload: bytes) -> Event:
        size = len(payload)
        if flags & frames.PADDED:
            payload = _without_padding(payload)
        ended = bool(flags & frames.END_STREAM)
        return self._on_data(stream_id, [payload] if payload else [], size, size - len(payload), ended)

    def _on_data(self, stream_id: int, payloads: Sequence[bytes], size: int, padding: int, ended: bool) -> Event:
        self._taken += size
        if self._taken > self._limits.connection_window:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "DATA exceed the window of the connection")
        stream = self._streams.open.get(stream_id)
        if stream is None or stream.state is HALF_CLOSED_REMOTE:
            self._give_back(size)
            self._judge(stream_id, Kind.DATA)
            return self._ignore("DATA frames for closed streams")
        stream.taken += size
        if stream.taken > self._limits.stream_window or stream.length_left is not None or ended or not payloads:
            self._check_data(stream_id, stream, size, size - padding, ended)
        return _new(DataReceived, (stream_id, payloads, size, ended))

    def _check_data(self, stream_id: int, stream: Stream, size: int, useful: int, ended: bool) -> None:
        """Keep DATA to the stream's window and to what ``content-length`` promised, and end the stream if it does."""
        limit = self._limits.stream_window if self._acknowledged else max(self._limits.stream_window, DEFAULT_WINDOW)
        if stream.taken > limit:
            self._give_back(size)
            raise StreamFault(stream_id, ErrorCode.FLOW_CONTROL_ERROR)
        if stream.length_left is not None:
            stream.length_left -= useful
            if stream.length_left < 0 or (ended and stream.length_left):
                self._give_back(size)
                raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR)
        if ended:
            self._streams.end_by_peer(stream_id)
        elif not useful:
            self._spend_control("empty DATA frames")

    def _give_back(self, size: int) -> None:
        """Open the window of the connection again, once half of it has gathered."""
        self._gathered += size
        if self._gathered * 2 >= self._limits.connection_window:
            self._out.append(frames.window_update(0, self._gathered))
            self._taken -= self._gathered
            self._gathered = 0

    # HEADERS and CONTINUATION

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> Event:
        if flags & frames.PADDED:
            payload = _without_padding(payload)
        on_itself = False
        if flags & frames.PRIORITY:
            if len(payload) < 5:
                raise wrong_size(Kind.HEADERS)
            on_itself = parent(payload) == stream_id
            payload = payload[5:]
        ended = bool(flags & frames.END_STREAM)
        self._block = PartialBlock(
            stream_id,
            self._limits.max_header_bytes,
            ended=ended,
            depends_on_itself=on_itself,
            keeps=self._headers.has_table,
        )
        return self._add_to_block(flags, stream_id, payload)

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> Event:
        self._spend_control("CONTINUATION frames")
        return self._add_to_block(flags, stream_id, payload)

    def _add_to_block(self, flags: int, stream_id: int, payload: bytes) -> Event:
        block = self._block
        assert block is not None  # _check_place() has made sure of that
        block.add(payload)
        if not flags & frames.END_HEADERS:
            return FRAME_IGNORED
        self._block = None
        section = self._headers.decode(block.joined())
        if section is None and self._headers.has_table:
            self._count_early()
        if block.depends_on_itself:
            self._streams.highest = max(self._streams.highest, stream_id)
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR)
        action = self._judge(stream_id, Kind.HEADERS)
        if action is Action.IGNORE:
            self._spend_resets()  # the fields are as costly as those of a stream
            return FRAME_IGNORED
        try:
            if stream_id in self._streams.open:
                return self._end_request(stream_id, section, block.ended)
            return self._begin_request(stream_id, section, block.ended)
        except Malformed:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR) from None

    def _count_early(self) -> None:
        self._early += 1
        if self._early > MAX_EARLY:
            raise too_large(self._limits.max_header_bytes)

    def _begin_request(self, stream_id: int, section: FieldSection | None, ended: bool) -> Event:
        if not stream_id % 2:
            raise protocol_error("a client's streams must have odd ids")
        streams = self._streams
        streams.highest = stream_id
        section = _not_too_large(stream_id, section)
        fields, length = section.request()
        if ended and length:
            raise Malformed("content-length announces DATA, but none follow")
        refused_above = self._refused_above
        if len(streams.open) >= self._limits.max_concurrent_streams or (
            refused_above is not None and stream_id > refused_above
        ):
            raise StreamFault(stream_id, ErrorCode.REFUSED_STREAM)
        streams.add(stream_id, length)
        if ended:
            streams.end_by_peer(stream_id)
        return HeadersReceived(stream_id, fields, ended, section.secret)

    def _end_request(self, stream_id: int, section: FieldSection | None, ended: bool) -> Event:
        fields = _not_too_large(stream_id, section).trailers()
        if not ended or self._streams.open[stream_id].length_left:
            raise Malformed("trailers must end the request, after as many DATA as content-length says")
        self._streams.end_by_peer(stream_id)
        return TrailersReceived(stream_id, fields)

    # what changes a stream

    def _on_rst_stream(self, _flags: int, stream_id: int, payload: bytes) -> Event:
        if self._judge(stream_id, Kind.RST_STREAM) is Action.IGNORE:
            return self._ignore("RST_STREAM frames")
        self._spend_resets()
        self._streams.close(stream_id, State.RESET_BY_PEER)
        return StreamReset(stream_id, number(payload), by_peer=True)

    def _on_window_update(self, _flags: int, stream_id: int, payload: bytes) -> Event:
        self._spend_control("WINDOW_UPDATE frames")
        increment = number(payload) & LARGEST_WINDOW
        if not stream_id:
            if not increment:
                raise protocol_error("WINDOW_UPDATE must have an increment of at least 1")
            self._open_window(increment)
            return ALL_WINDOWS_OPENED
        stream = self._streams.open.get(stream_id)
        if stream is None:
            self._judge(stream_id, Kind.WINDOW_UPDATE)
            return FRAME_IGNORED
        if not increment:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR)
        if self._initial + stream.credit + increment > LARGEST_WINDOW:
            raise StreamFault(stream_id, ErrorCode.FLOW_CONTROL_ERROR)
        stream.credit += increment
        self._most_credit = max(self._most_credit, stream.credit)
        return _new(WindowOpened, (stream_id,))

    def _judge(self, stream_id: int, kind: Kind) -> Action:
        """Whether a frame is accepted or ignored on a stream.

        Raises:
            StreamFault, ConnectionFault: the frame is not allowed.
        """
        state = self._streams.state_of(stream_id)
        action = TABLE[state, kind]
        if action is Action.STREAM_CLOSED:
            raise StreamFault(stream_id, ErrorCode.STREAM_CLOSED)
        if action is Action.CONNECTION_CLOSED:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, f"{kind.name} on stream {stream_id}, which has ended")
        if action is Action.CONNECTION_ERROR:
            raise protocol_error(f"{kind.name} on stream {stream_id}, which is {state.name.lower().replace('_', ' ')}")
        return action

    _HANDLERS: ClassVar[dict[int, Handler]] = Control.HANDLERS | {
        Kind.DATA: _on_data_frame,
        Kind.HEADERS: _on_headers,
        Kind.RST_STREAM: _on_rst_stream,
        Kind.WINDOW_UPDATE: _on_window_update,
        Kind.CONTINUATION: _on_continuation,
    }


def _not_too_large(stream_id: int, section: FieldSection | None) -> FieldSection:
    if section is None:
        raise StreamFault(stream_id, ErrorCode.ENHANCE_YOUR_CALM)
    return section


def _without_padding(payload: bytes) -> bytes:
    if not payload:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a padded frame must have the length of its padding")
    padding = payload[0]
    if padding >= len(payload):
        raise protocol_error("the padding of a frame must be shorter than its payload")
    return payload[1 : len(payload) - padding]
