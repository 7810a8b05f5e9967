"""What a connection reports: named tuples, one for each thing that happened.

Sizes are in bytes. ``stream_id`` is the stream that it happened on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias


class HeadersReceived(NamedTuple):
    """A request began, and its fields are valid: pseudo fields first, values decoded as latin-1.

    ``secret``: one of them lets somebody in, so they are not to be kept.
    """

    stream_id: int
    fields: Sequence[tuple[str, str]]
    ended: bool
    secret: bool = False


class DataReceived(NamedTuple):
    """A run of DATA frames of one stream. ``size`` is what they take of the windows: padding counts too.

    The caller gives all of ``size`` back with ``Connection.consumed()``, even when the stream is gone by then.
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
    """The stream is gone, by the peer, or by this side since the peer broke a rule or was refused.

    It may be a stream that was never reported, since its request was not valid.
    """

    stream_id: int
    code: int
    by_peer: bool


class WindowOpened(NamedTuple):
    """More can be sent on a stream, or with 0 on all of them."""

    stream_id: int


class PingReceived(NamedTuple):
    """The peer pinged; the answer is in what is to be sent."""


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
    """A frame came that changes nothing for the caller."""


class ConnectionFailed(NamedTuple):
    """The peer broke the protocol: GOAWAY is in what is to be sent, and nothing more is read."""

    code: int
    reason: str


class NotHttp2(NamedTuple):
    """The peer speaks something else; nothing more is read."""

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
