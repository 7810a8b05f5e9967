"""A peer of a connection without I/O: what it sends, and what the connection reports of that."""

from __future__ import annotations

from bcast_grpc.http2 import Connection, Limits, encode
from bcast_grpc.http2 import events as happened
from bcast_grpc.http2 import frames as wire
from bcast_grpc.http2.states import Kind

REQUEST = ((":method", "POST"), (":scheme", "http"), (":path", "/chat"), (":authority", "here"), ("te", "trailers"))
GREETING = wire.PREFACE + wire.settings_frame({})


class Clock:
    """A clock that stands until it is moved."""

    now_s = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


def opened(limits: Limits | None = None, clock: Clock | None = None) -> Connection:
    """A connection whose peer has greeted and acknowledged the settings."""
    connection = Connection(limits or Limits(), clock or Clock())
    connection.start()
    connection.receive(GREETING + wire.frame(Kind.SETTINGS, wire.ACK, 0))
    drain(connection)
    connection.data_to_send()
    return connection


def drain(connection: Connection) -> list[happened.Event]:
    """All events until more data is needed."""
    seen = []
    while (event := connection.next_event()) is not None:
        seen.append(event)
    return seen


def feed(connection: Connection, *data: bytes) -> list[happened.Event]:
    """The events that these bytes bring."""
    connection.receive(b"".join(data))
    return drain(connection)


def headers(stream_id: int, *more: tuple[str, str], ended: bool = False, fields: object = None) -> bytes:
    """HEADERS of a request."""
    block = encode([*REQUEST, *more] if fields is None else fields)  # type: ignore[arg-type]
    return wire.header_frames(stream_id, block, wire.SMALLEST_MAX_FRAME, ended=ended)


def data(stream_id: int, payload: bytes, flags: int = 0) -> bytes:
    """One DATA frame."""
    return wire.frame(Kind.DATA, flags, stream_id, payload)
