"""Two that judge the same frames: the project's layer, and python-hyper's ``h2``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from hyperframe.frame import Frame, RstStreamFrame

from bcast_grpc.http2 import Connection, Limits, encode
from bcast_grpc.http2 import events as happened
from bcast_grpc.http2.errors import ErrorCode
from tests.http2.peer import Clock

LIMITS = Limits(max_concurrent_streams=3, stream_window=100_000, connection_window=200_000, max_header_bytes=16_384)


@dataclass
class Verdict:
    """What a frame brought.

    Attributes:
        events: What was reported, in words that are the same for both.
        resets: The streams that were reset for a rule that was broken, and the codes.
        ended: The code that the connection ended with; None if it lives.
    """

    events: list[tuple[object, ...]] = field(default_factory=list)
    resets: list[tuple[int, int]] = field(default_factory=list)
    ended: int | None = None


class Ours:
    """The project's layer."""

    def __init__(self) -> None:
        self.connection = Connection(LIMITS, Clock())
        self.connection.start()
        self.answered: set[int] = set()

    def feed(self, *pieces: bytes) -> Verdict:
        """Take a frame, in pieces."""
        verdict = Verdict()
        for piece in pieces:
            self.connection.receive(piece)
            while (event := self.connection.next_event()) is not None:
                self._add(event, verdict)
        self.connection.data_to_send()
        return verdict

    def _add(self, event: happened.Event, verdict: Verdict) -> None:
        events = verdict.events
        match event:
            case happened.HeadersReceived(stream_id, fields, ended):
                events.append(("request", stream_id, tuple(fields), ended))
            case happened.DataReceived(stream_id, payloads, size, ended):
                events.append(("data", stream_id, b"".join(payloads), size, ended))
                self.connection.consumed(stream_id, size)
            case happened.TrailersReceived(stream_id, fields):
                events.append(("trailers", stream_id, tuple(fields)))
            case happened.StreamReset(stream_id, code, by_peer=True):
                events.append(("reset", stream_id, code))
            case happened.StreamReset(stream_id, code):
                verdict.resets.append((stream_id, code))
            case happened.PingReceived():
                events.append(("ping",))
            case happened.PingAcknowledged(data):
                events.append(("pong", data))
            case happened.GoAwayReceived(code, last):
                events.append(("goaway", code, last))
            case happened.ConnectionFailed(code):
                verdict.ended = code
            case happened.NotHttp2():
                verdict.ended = ErrorCode.PROTOCOL_ERROR

    def answer(self, stream_id: int, *, ended: bool) -> bool:
        """Send the first fields of an answer or its last ones, and return whether that was possible."""
        if stream_id in self.answered and not ended:
            return False
        try:
            self.connection.send_headers(stream_id, encode([(":status", "200")]), ended=ended)
        except LookupError:
            return False
        self.answered.add(stream_id)
        return True

    def reset(self, stream_id: int) -> bool:
        """End a stream, and return whether there was one."""
        before = self.connection.streams
        self.connection.reset(stream_id, ErrorCode.CANCEL)
        return self.connection.streams < before


class Theirs:
    """The oracle."""

    def __init__(self) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="latin-1")
        self.connection = h2.connection.H2Connection(config)
        codes = h2.settings.SettingCodes
        self.connection.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                codes.MAX_CONCURRENT_STREAMS: LIMITS.max_concurrent_streams,
                codes.INITIAL_WINDOW_SIZE: LIMITS.stream_window,
                codes.MAX_HEADER_LIST_SIZE: LIMITS.max_header_bytes,
                codes.MAX_FRAME_SIZE: 16_384,
            },
        )
        self.answered: set[int] = set()
        self.connection.initiate_connection()
        self.connection.increment_flow_control_window(LIMITS.connection_window - 65_535)
        self.connection.data_to_send()

    def feed(self, *pieces: bytes) -> Verdict:
        """Take a frame, in pieces."""
        verdict = Verdict()
        try:
            for piece in pieces:
                for event in self.connection.receive_data(piece):
                    self._add(event, verdict)
        except h2.exceptions.ProtocolError as error:
            verdict.ended = int(error.error_code)
        sent = self.connection.data_to_send()
        verdict.resets += [
            (one.stream_id, one.error_code) for one in frames_in(sent) if isinstance(one, RstStreamFrame)
        ]
        return verdict

    def _add(self, event: h2.events.Event, verdict: Verdict) -> None:
        events = verdict.events
        match event:
            case h2.events.RequestReceived():
                events.append(("request", event.stream_id, pairs(event.headers), event.stream_ended is not None))
            case h2.events.DataReceived():
                ended = event.stream_ended is not None
                size = event.flow_controlled_length
                events.append(("data", event.stream_id, bytes(event.data or b""), size, ended))
                if size:
                    self.connection.acknowledge_received_data(size, event.stream_id)
            case h2.events.TrailersReceived():
                events.append(("trailers", event.stream_id, pairs(event.headers)))
            case h2.events.StreamReset(remote_reset=True):
                events.append(("reset", event.stream_id, int(event.error_code or 0)))
            case h2.events.PingReceived():
                events.append(("ping",))
            case h2.events.PingAckReceived():
                events.append(("pong", event.ping_data))
            case h2.events.ConnectionTerminated():
                events.append(("goaway", int(event.error_code or 0), (event.last_stream_id or 0) & 2**31 - 1))

    def answer(self, stream_id: int, *, ended: bool) -> None:
        """Send the first fields of an answer or its last ones."""
        if stream_id in self.answered:
            self.connection.end_stream(stream_id)
        else:
            self.connection.send_headers(stream_id, [(":status", "200")], end_stream=ended)
        self.answered.add(stream_id)
        self.connection.data_to_send()

    def reset(self, stream_id: int) -> None:
        """End a stream."""
        self.connection.reset_stream(stream_id, h2.errors.ErrorCodes.CANCEL)
        self.connection.data_to_send()


def pairs(fields: Any) -> tuple[tuple[str, str], ...]:
    """Fields as text."""
    return tuple((str(name), str(value)) for name, value in fields)


def frames_in(data: bytes) -> list[Frame]:
    """The frames in what was sent."""
    frames = []
    view = memoryview(data)
    while view:
        frame, length = Frame.parse_frame_header(view[:9])
        frame.parse_body(view[9 : 9 + length])
        view = view[9 + length :]
        frames.append(frame)
    return frames
