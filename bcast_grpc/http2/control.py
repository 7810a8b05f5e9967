"""Received SETTINGS, PING, GOAWAY and PRIORITY frames, and the budgets for frames that carry nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

from bcast_grpc.http2 import frames, sending
from bcast_grpc.http2.budget import Budget
from bcast_grpc.http2.errors import ConnectionFault, ErrorCode, StreamFault
from bcast_grpc.http2.events import (
    FRAME_IGNORED,
    PING_RECEIVED,
    Event,
    GoAwayReceived,
    PingAcknowledged,
    SettingsAcknowledged,
    WindowOpened,
)
from bcast_grpc.http2.header_blocks import HeaderDecoder
from bcast_grpc.http2.limits import LARGEST_WINDOW, Limits
from bcast_grpc.http2.sending import Sending
from bcast_grpc.http2.states import Kind

MAX_SETTINGS = 32
"""Settings that one frame may hold (nghttp2: 32)."""


Handler: TypeAlias = Callable[[Any, int, int, bytes], Event]


class Control(Sending):
    """Handles the frames that concern the connection as a whole, and limits how often they may come."""

    __slots__ = ("_acknowledged", "_control", "_headers", "_resets", "_settings", "_time")

    def __init__(self, limits: Limits, time: Callable[[], float]) -> None:
        super().__init__(limits)
        now = time()
        self._time = time
        self._headers = HeaderDecoder(limits.max_header_bytes)
        self._acknowledged = False
        self._control = Budget(now)
        self._resets = Budget(now)
        self._settings = Budget(now)

    def _on_priority(self, _flags: int, stream_id: int, payload: bytes) -> Event:
        if len(payload) != 5 or parent(payload) == stream_id:
            code = ErrorCode.FRAME_SIZE_ERROR if len(payload) != 5 else ErrorCode.PROTOCOL_ERROR
            if stream_id in self._streams.open:
                raise StreamFault(stream_id, code)
            raise ConnectionFault(code, "PRIORITY must be 5 bytes, and a stream must not depend on itself")
        return self._ignore("PRIORITY frames")

    def _on_settings(self, flags: int, _stream_id: int, payload: bytes) -> Event:
        if flags & frames.ACK:
            self._spend_control("SETTINGS frames")
            if payload:
                raise wrong_size(Kind.SETTINGS)
            if self._acknowledged:
                return FRAME_IGNORED
            self._acknowledged = True
            self._headers.drop_table()
            return SettingsAcknowledged()
        if len(payload) % 6:
            raise wrong_size(Kind.SETTINGS)
        if len(payload) > 6 * MAX_SETTINGS:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"a SETTINGS frame must have at most {MAX_SETTINGS}")
        # A peer cannot earn these: each may concern all open streams.
        limits = self._limits
        self._settings.spend(self._time(), limits.control_burst, limits.control_per_s, 0, "SETTINGS frames")
        before = self._initial
        for name, value in frames.SETTING.iter_unpack(payload):
            self._set(name, value)
        self._answer(frames.frame(Kind.SETTINGS, frames.ACK, 0))
        return WindowOpened(0) if self._initial > before else FRAME_IGNORED

    def _set(self, name: int, value: int) -> None:
        if name == sending.ENABLE_PUSH and value > 1:
            raise protocol_error("ENABLE_PUSH must be 0 or 1")
        if name == sending.INITIAL_WINDOW_SIZE:
            if value + self._most_credit > LARGEST_WINDOW:  # the stream with the most may have ended, or used it
                self._most_credit = max((0, *(stream.credit for stream in self._streams.open.values())))
            if value + self._most_credit > LARGEST_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"a window must be at most {LARGEST_WINDOW}")
            self._initial = value
        elif name == sending.MAX_FRAME_SIZE:
            if not frames.SMALLEST_MAX_FRAME <= value <= frames.LARGEST_MAX_FRAME:
                raise protocol_error("MAX_FRAME_SIZE must be 16384 to 16777215")
            self.peer_max_frame_size = value

    def _on_ping(self, flags: int, _stream_id: int, payload: bytes) -> Event:
        self._spend_control("PING frames")
        if flags & frames.ACK:
            return PingAcknowledged(payload)
        self._answer(frames.frame(Kind.PING, frames.ACK, 0, payload))
        return PING_RECEIVED

    def _on_goaway(self, _flags: int, _stream_id: int, payload: bytes) -> Event:
        self._spend_control("GOAWAY frames")
        if len(payload) < 8:
            raise wrong_size(Kind.GOAWAY)
        return GoAwayReceived(number(payload[4:]), number(payload) & LARGEST_WINDOW)

    def _on_push_promise(self, _flags: int, _stream_id: int, _payload: bytes) -> Event:
        raise protocol_error("a client must not send PUSH_PROMISE")

    def _ignore(self, what: str) -> Event:
        self._spend_control(what)
        return FRAME_IGNORED

    def _spend_control(self, what: str) -> None:
        limits, streams = self._limits, self._streams
        earned = self._data_frames * limits.control_per_data_frame + streams.opened * limits.control_per_stream
        self._data_frames = streams.opened = 0
        self._control.spend(self._time(), limits.control_burst, limits.control_per_s, earned, what)

    def _spend_resets(self) -> None:
        limits, streams = self._limits, self._streams
        scale = 1 + limits.resets_per_stream * streams.most / limits.resets_burst
        earned, streams.ended = streams.ended, 0
        self._resets.spend(
            self._time(), limits.resets_burst * scale, limits.resets_per_s * scale, earned, "streams that were reset"
        )

    HANDLERS: ClassVar[dict[int, Handler]] = {
        Kind.PRIORITY: _on_priority,
        Kind.SETTINGS: _on_settings,
        Kind.PUSH_PROMISE: _on_push_promise,
        Kind.PING: _on_ping,
        Kind.GOAWAY: _on_goaway,
    }
    """The handler of each kind of frame; it gets the flags, the stream id and the payload."""


def protocol_error(reason: str) -> ConnectionFault:
    """The fault of a peer that broke a rule of the protocol."""
    return ConnectionFault(ErrorCode.PROTOCOL_ERROR, reason)


def wrong_size(kind: int) -> ConnectionFault:
    """The fault of a frame that is shorter or longer than its kind allows."""
    return ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a {Kind(kind).name} frame has the wrong size")


def parent(priority: bytes) -> int:
    """The stream that a priority depends on."""
    return number(priority) & LARGEST_WINDOW


def number(payload: bytes) -> int:
    """The number in the first four bytes."""
    return int.from_bytes(payload[:4], "big")
