"""A server's connection: received bytes become events, and what is sent becomes bytes."""

from __future__ import annotations

from collections.abc import Callable

from bcast_grpc.http2 import frames
from bcast_grpc.http2.errors import ConnectionFault, ForeignProtocol, StreamFault
from bcast_grpc.http2.events import ConnectionFailed, Event, NotHttp2, StreamReset
from bcast_grpc.http2.limits import Limits
from bcast_grpc.http2.reader import Reader
from bcast_grpc.http2.receiving import Receiving
from bcast_grpc.http2.states import HALF_CLOSED_REMOTE, State


class Connection(Receiving):
    """One connection.

    Args:
        limits: What the peer may do.
        time: A monotonic clock in seconds.
    """

    __slots__ = ("_failed", "_reader")

    def __init__(self, limits: Limits, time: Callable[[], float]) -> None:
        super().__init__(limits, time)
        self._reader = Reader()
        self._failed = False

    def receive(self, data: bytes) -> None:
        """Keep received bytes for ``next_event()``."""
        if not self._failed:
            self._reader.add(data)

    def next_event(self) -> Event | None:
        """The next event; None if more data is needed. Each call takes one frame, or one run of DATA frames."""
        if self._failed:
            return None
        try:
            try:
                return self._take()
            except StreamFault as fault:
                return self._break(fault)
        except ConnectionFault as fault:
            return self._fail(fault)
        except ForeignProtocol as foreign:
            self._stop()
            return NotHttp2(foreign.first_bytes)

    def consumed(self, stream_id: int, size: int) -> None:
        """Note that the application has processed ``size`` bytes of a stream, so that as many may come again."""
        self._give_back(size)
        stream = self._streams.open.get(stream_id)
        if stream is None or stream.state is HALF_CLOSED_REMOTE:
            return
        stream.gathered += size
        if stream.gathered * 2 >= self._limits.stream_window:
            self._out.append(frames.window_update(stream_id, stream.gathered))
            stream.taken -= stream.gathered
            stream.gathered = 0

    def _take(self) -> Event | None:
        frames = self._reader.next()
        if frames is None:
            return None
        kind, flags, stream_id, payloads, size = frames
        if size and not (kind or flags) and self._greeted and self._block is None:  # DATA, what most are
            return self._on_data(stream_id, payloads, size, 0, False)
        return self._on_frame(kind, flags, stream_id, payloads[0])

    def _break(self, fault: StreamFault) -> Event:
        """Reset a stream whose peer broke a rule; that counts as if the peer had reset it (CVE-2025-8671)."""
        self._spend_resets()
        self._answer(frames.rst_stream(fault.stream_id, fault.code))
        self._streams.close(fault.stream_id, State.RESET_BY_US)
        return StreamReset(fault.stream_id, fault.code, by_peer=False)

    def _fail(self, fault: ConnectionFault) -> Event:
        self.go_away(fault.code, debug=fault.reason.encode("ascii", "replace"))
        self._stop()
        return ConnectionFailed(fault.code, fault.reason)

    def _stop(self) -> None:
        self._failed = True
        self._reader.clear()
