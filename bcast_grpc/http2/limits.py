"""What a connection allows its peer."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_WINDOW = 65_535
"""The window of a connection, and of a stream before SETTINGS say otherwise."""
LARGEST_WINDOW = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one connection.

    Attributes:
        max_concurrent_streams: Streams that may be open at once; more are refused.
        stream_window: Bytes of DATA that may come on a stream before ``consumed()`` is called.
        connection_window: The same for all streams together, at least 65,535.
        max_header_bytes: Size of the fields of a request, each with 32 bytes on top, as HTTP/2 counts it.
        resets_burst: Streams that may be reset at once, by the peer or since it broke a rule (nghttp2: 1000).
        resets_per_s: The same for each second after that (nghttp2: 33).
        control_burst: Frames at once that carry nothing: PING, SETTINGS, PRIORITY, WINDOW_UPDATE, unknown and empty
            ones (nghttp2, Envoy and Go bound the answers that are owed for them at 1000 to 10,000).
        control_per_s: The same for each second after that.
        control_per_data_frame: The same for each ``send_data()`` that sent something, since that may be answered with
            WINDOW_UPDATE frames and a PING that measures the line (Envoy: 10).
        max_owed_bytes: Answers that wait to be sent; a peer that asks and does not read is cut off.
    """

    max_concurrent_streams: int = 100
    stream_window: int = DEFAULT_WINDOW
    connection_window: int = 1 << 20
    max_header_bytes: int = 16_384
    resets_burst: int = 1000
    resets_per_s: float = 33
    control_burst: int = 1000
    control_per_s: float = 100
    control_per_data_frame: int = 10
    max_owed_bytes: int = 65_536

    def __post_init__(self) -> None:
        if not DEFAULT_WINDOW <= self.connection_window <= LARGEST_WINDOW:
            raise ValueError(f"connection_window must be {DEFAULT_WINDOW} to {LARGEST_WINDOW} bytes")
        if not 1 <= self.stream_window <= LARGEST_WINDOW:
            raise ValueError(f"stream_window must be 1 to {LARGEST_WINDOW} bytes")
