"""Where the layer and ``h2`` judge a frame differently, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from bcast_grpc.http2 import ErrorCode
from bcast_grpc.http2 import frames as wire
from bcast_grpc.http2.states import Kind
from tests.http2.oracle import Verdict
from tests.http2.peer import REQUEST, data, headers

Step: TypeAlias = bytes | tuple[str, int]
"""A frame of the client, with those that go on with it; or what the server does to a stream."""

ALTSVC, ENABLE_CONNECT_PROTOCOL = 10, 8
SPECIFIC = (ErrorCode.FRAME_SIZE_ERROR, ErrorCode.FLOW_CONTROL_ERROR, ErrorCode.COMPRESSION_ERROR)


@dataclass(frozen=True)
class Disagreement:
    """A frame that was judged differently."""

    sent: bytes
    ours: Verdict
    theirs: Verdict

    @property
    def kind(self) -> int:
        """Of the frame."""
        return self.sent[3]

    @property
    def tolerated(self) -> bool:
        """Whether the layer did nothing."""
        return self.ours == Verdict()

    @property
    def known(self) -> Difference | None:
        """The first difference that explains it."""
        return next((one for one in DIFFERENCES if one.explains(self)), None)


@dataclass(frozen=True)
class Difference:
    """One that is known.

    Attributes:
        name: Says what it is.
        reason: Says why the layer is right, or may do so. Sections are those of RFC 9113.
        example: Steps of which the last is judged differently.
        explains: Whether it explains a disagreement.
    """

    name: str
    reason: str
    example: Sequence[Step]
    explains: Callable[[Disagreement], bool]


def codes(verdict: Verdict) -> list[int]:
    """Those that streams were reset with."""
    return [code for _, code in verdict.resets]


def resets_only(found: Disagreement) -> bool:
    """Whether the layer resets a stream and ``h2`` ends the connection, with the same code or the general one."""
    expected = codes(found.ours)
    return bool(expected) and found.ours.ended is None and found.theirs.ended in (*expected, ErrorCode.PROTOCOL_ERROR)


def both_end(found: Disagreement, ours: Sequence[int], theirs: Sequence[int]) -> bool:
    """Whether both end the connection, with these codes."""
    return found.ours.ended in ours and found.theirs.ended in theirs


def number(found: Disagreement) -> int:
    """Of the stream."""
    return int.from_bytes(found.sent[5 : wire.HEADER_SIZE], "big")


def settings_in(found: Disagreement) -> list[int]:
    """The names of the settings in a frame."""
    return [name for name, _ in wire.SETTING.iter_unpack(found.sent[wire.HEADER_SIZE :])]


def repeats(found: Disagreement) -> bool:
    """Whether a setting is there more than once."""
    names = settings_in(found)
    return len(set(names)) < len(names)


DIFFERENCES = (
    Difference(
        "a stream, not the connection",
        "What is wrong with one request ends its stream (8.1.1, 5.1.2, 6.9); h2 ends all, as it may (5.4.2).",
        [headers(1, ("connection", "close"))],
        resets_only,
    ),
    Difference(
        "a code of its own",
        "A frame of a wrong size, a window that is too large and bad HPACK have codes (4.2, 6.9.1, 4.3), not in h2.",
        [wire.frame(Kind.SETTINGS, wire.ACK, 0, bytes(6))],
        lambda found: both_end(found, SPECIFIC, [ErrorCode.PROTOCOL_ERROR]),
    ),
    Difference(
        "what a frame is comes before its size",
        "Wrong padding is a protocol error (6.1, 6.2); h2 parses the frame first.",
        [wire.frame(Kind.HEADERS, wire.PADDED | wire.PRIORITY | wire.END_HEADERS, 1, b"\xff" * 4)],
        lambda found: (
            found.kind != Kind.PUSH_PROMISE
            and both_end(found, [ErrorCode.PROTOCOL_ERROR], [ErrorCode.FRAME_SIZE_ERROR])
        ),
    ),
    Difference(
        "PUSH_PROMISE",
        "No client may send it (8.4); h2 parses it first, and waits for the end of its block.",
        [wire.frame(Kind.PUSH_PROMISE, wire.END_HEADERS, 1, b"x")],
        lambda found: found.kind == Kind.PUSH_PROMISE and found.ours.ended == ErrorCode.PROTOCOL_ERROR,
    ),
    Difference(
        "CONTINUATION of nothing",
        "That is a protocol error on any stream (6.10); h2 looks first whether the stream was closed.",
        [headers(3), wire.frame(Kind.CONTINUATION, 0, 1)],
        lambda found: (
            found.kind == Kind.CONTINUATION and both_end(found, [ErrorCode.PROTOCOL_ERROR], [ErrorCode.STREAM_CLOSED])
        ),
    ),
    Difference(
        "a stream that never was is reset",
        "That is a connection error (6.4); h2 ignores it.",
        [headers(1), wire.rst_stream(3, 0)],
        lambda found: (
            found.kind == Kind.RST_STREAM and found.ours.ended == ErrorCode.PROTOCOL_ERROR and found.theirs == Verdict()
        ),
    ),
    Difference(
        "frames on a closed stream",
        "They are ignored where this side reset it (5.1), or does not know any more how it closed: then they may "
        "have been under way. They cost the peer a budget. h2 answers each with RST_STREAM, and ends the connection "
        "if its fields are wrong.",
        [headers(1), ("reset", 1), data(1, b"x")],
        lambda found: (
            found.tolerated
            and found.kind in (Kind.DATA, Kind.HEADERS)
            and (found.theirs.ended == ErrorCode.PROTOCOL_ERROR or codes(found.theirs) == [ErrorCode.STREAM_CLOSED])
        ),
    ),
    Difference(
        "DATA on a stream that both have ended",
        "That ends the connection (5.1); h2 only answers with RST_STREAM.",
        [headers(1, ended=True), ("finish", 1), data(1, b"x")],
        lambda found: (
            found.kind == Kind.DATA
            and found.ours.ended == ErrorCode.STREAM_CLOSED
            and codes(found.theirs) == [ErrorCode.STREAM_CLOSED]
        ),
    ),
    Difference(
        "WINDOW_UPDATE for a closed stream",
        "It is ignored (5.1), whatever is in it; h2 ends the connection if the increment is wrong.",
        [headers(3), wire.window_update(1, 0)],
        lambda found: (
            found.tolerated and found.kind == Kind.WINDOW_UPDATE and found.theirs.ended == ErrorCode.PROTOCOL_ERROR
        ),
    ),
    Difference(
        "a setting twice in a frame",
        "Each is judged in its order (6.5); h2 sees only the last.",
        [wire.frame(Kind.SETTINGS, 0, 0, wire.SETTING.pack(5, 1) + wire.SETTING.pack(5, 16_384))],
        lambda found: found.kind == Kind.SETTINGS and repeats(found),
    ),
    Difference(
        "two faults at once",
        "HEADERS on a stream that the client ended, which depends on itself: each may name either.",
        [
            headers(1, ended=True),
            wire.frame(
                Kind.HEADERS, wire.END_HEADERS | wire.PRIORITY, 1, b"\0\0\0\1\x10" + headers(1)[wire.HEADER_SIZE :]
            ),
        ],
        lambda found: (
            found.kind == Kind.HEADERS
            and codes(found.ours) == [ErrorCode.PROTOCOL_ERROR]
            and codes(found.theirs) == [ErrorCode.STREAM_CLOSED]
        ),
    ),
    Difference(
        "a request without an authority",
        "gRPC allows that; h2 wants :authority or host.",
        [headers(1, fields=[*REQUEST[:3], *REQUEST[4:]])],
        lambda found: (
            found.kind == Kind.HEADERS
            and found.theirs.ended == ErrorCode.PROTOCOL_ERROR
            and [event[0] for event in found.ours.events] == ["request"]
            and b":authority" not in found.sent
        ),
    ),
    Difference(
        "trailers that are all padding",
        "Padding may fill a frame (6.2), which then ends a request as empty DATA does; h2 finds it too long.",
        [
            headers(1),
            wire.frame(Kind.HEADERS, wire.PADDED | wire.END_STREAM | wire.END_HEADERS, 1, b"\x05" + bytes(5)),
        ],
        lambda found: (
            found.ours.events == [("trailers", number(found), ())] and found.theirs.ended == ErrorCode.PROTOCOL_ERROR
        ),
    ),
    Difference(
        "content-length of a request that ends at once",
        "Without DATA it must be 0 (8.1.1); h2 looks when DATA comes.",
        [headers(1, ("content-length", "5"), ended=True)],
        lambda found: (
            found.kind == Kind.HEADERS
            and codes(found.ours) == [ErrorCode.PROTOCOL_ERROR]
            and "content-length" in repr(found.theirs.events)
            and [event[0] for event in found.theirs.events] == ["request"]
        ),
    ),
    Difference(
        "ALTSVC",
        "It means nothing to a server (RFC 7838, section 4), so it is ignored as an unknown frame is; h2 parses it.",
        [wire.frame(ALTSVC, 0, 0, b"x")],
        lambda found: found.tolerated and found.kind == ALTSVC,
    ),
    Difference(
        "ENABLE_CONNECT_PROTOCOL",
        "Clients have no use for it (RFC 8441), so it is ignored as an unknown setting is; h2 wants 0 or 1.",
        [wire.settings_frame({ENABLE_CONNECT_PROTOCOL: 5})],
        lambda found: found.tolerated and found.kind == Kind.SETTINGS and ENABLE_CONNECT_PROTOCOL in settings_in(found),
    ),
)
