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
        resets_burst: Streams that may be reset at once, by the peer or because it broke a rule (nghttp2: 1000).
        resets_per_s: The same for each second after that (nghttp2: 33).
        resets_per_stream: How much ``resets_burst`` grows, and ``resets_per_s`` in proportion, with the most streams
            that were open at once: a client may cancel all its calls soon after it has opened them again (Go: 4).
            Each stream that ends without a reset also allows another reset.
        control_burst: Frames at once that carry nothing: PING, SETTINGS, PRIORITY, WINDOW_UPDATE, CONTINUATION, empty
            and unknown ones, and those for closed streams (nghttp2: 10,000; Envoy: 1000 answers owed for them).
        control_per_s: The same for each second after that (nghttp2: 330).
        control_per_data_frame: The same for each DATA frame that was sent: the peer may answer it with WINDOW_UPDATE
            frames and a PING that measures the line (Envoy: 10).
        control_per_stream: The same for each stream that was opened: for PRIORITY and WINDOW_UPDATE frames, and for
            the DATA that is under way when this side resets it (Envoy: 100).
        max_owed_bytes: Bytes of answers that wait to be sent; a peer that asks and does not read is cut off.
    """

    max_concurrent_streams: int = 100
    stream_window: int = DEFAULT_WINDOW
    connection_window: int = 1 << 20
    max_header_bytes: int = 16_384
    resets_burst: int = 1000
    resets_per_s: float = 100
    resets_per_stream: int = 2
    control_burst: int = 1000
    control_per_s: float = 100
    control_per_data_frame: int = 10
    control_per_stream: int = 100
    max_owed_bytes: int = 65_536

    def __post_init__(self) -> None:
        if not DEFAULT_WINDOW <= self.connection_window <= LARGEST_WINDOW:
            raise ValueError(f"connection_window must be {DEFAULT_WINDOW} to {LARGEST_WINDOW} bytes")
        if self.resets_burst < 1:
            raise ValueError("resets_burst must be at least 1")
        if not 1 <= self.stream_window <= LARGEST_WINDOW:
            raise ValueError(f"stream_window must be 1 to {LARGEST_WINDOW} bytes")
