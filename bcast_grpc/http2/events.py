"""What a connection reports: named tuples, one for each thing that happened.

Sizes are in bytes. ``stream_id`` is the stream that it happened on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias


class HeadersReceived(NamedTuple):
    """A request began, and its fields are valid: pseudo fields first, values decoded as latin-1.

    ``secret``: one of them is a credential, so they must not be kept.
    """

    stream_id: int
    fields: Sequence[tuple[str, str]]
    ended: bool
    secret: bool = False


class DataReceived(NamedTuple):
    """A run of DATA frames of one stream. ``size`` is what they use of the windows, including padding.

    The caller passes all of ``size`` to ``Connection.consumed()``, even if the stream has ended by then.
    """

    stream_id: int
    payloads: Sequence[bytes]
    size: int
    ended: bool


class TrailersReceived(NamedTuple):
    """The request ended with these fields."""

    stream_id: int
    fields: Sequence[tuple[str, str]]


class StreamReset(NamedTuple):
    """The stream was reset: by the peer, or by this side because the peer broke a rule or was refused.

    The stream may never have been reported, if its request was not valid.
    """

    stream_id: int
    code: int
    by_peer: bool


class WindowOpened(NamedTuple):
    """More can be sent on a stream, or on all streams if the id is 0."""

    stream_id: int


class PingReceived(NamedTuple):
    """The peer sent a ping; ``data_to_send()`` has the answer."""


class PingAcknowledged(NamedTuple):
    """The peer answered a ping."""

    data: bytes


class SettingsAcknowledged(NamedTuple):
    """The peer applied this side's settings."""


class GoAwayReceived(NamedTuple):
    """The peer opens no more streams."""

    code: int
    last_stream_id: int


class FrameIgnored(NamedTuple):
    """A frame was received that means nothing to the caller."""


class ConnectionFailed(NamedTuple):
    """The peer broke the protocol: ``data_to_send()`` has a GOAWAY, and nothing more is read."""

    code: int
    reason: str


class NotHttp2(NamedTuple):
    """The peer does not speak HTTP/2; nothing more is read."""

    first_bytes: bytes


Event: TypeAlias = (
    HeadersReceived
    | DataReceived
    | TrailersReceived
    | StreamReset
    | WindowOpened
    | PingReceived
    | PingAcknowledged
    | SettingsAcknowledged
    | GoAwayReceived
    | FrameIgnored
    | ConnectionFailed
    | NotHttp2
)

FRAME_IGNORED = FrameIgnored()
PING_RECEIVED = PingReceived()
ALL_WINDOWS_OPENED = WindowOpened(0)
