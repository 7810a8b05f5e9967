"""A connection without I/O: what comes in becomes events, and a peer that breaks a rule is cut off with its code."""

from __future__ import annotations

import pytest
from hpack import Encoder

from bcast_grpc.http2 import Connection, ErrorCode, Limits, encode
from bcast_grpc.http2 import events as happened
from bcast_grpc.http2 import frames as wire
from bcast_grpc.http2.header_blocks import MAX_EARLY
from bcast_grpc.http2.states import Kind
from tests.http2.peer import GREETING, REQUEST, Clock, data, feed, headers, opened


def test_a_request_is_reported_in_order() -> None:
    """Fields, a run of DATA frames at once, and its end."""
    connection = opened()
    assert feed(connection, headers(1), data(1, b"one"), data(1, b"two"), data(1, b"end", wire.END_STREAM)) == [
        happened.HeadersReceived(1, REQUEST, ended=False),
        happened.DataReceived(1, [b"one", b"two"], 6, ended=False),
        happened.DataReceived(1, [b"end"], 3, ended=True),
    ]


def test_a_table_of_hpack_is_used_until_the_settings_are_acknowledged() -> None:
    """The peer may use it until it knows better."""
    connection = Connection(Limits(), Clock())
    connection.start()
    encoder = Encoder()
    blocks = [encoder.encode(REQUEST), encoder.encode(REQUEST)]
    frames = [wire.header_frames(1 + 2 * n, block, 16_384, ended=True) for n, block in enumerate(blocks)]
    seen = feed(connection, GREETING, *frames)
    assert [one.fields for one in seen if isinstance(one, happened.HeadersReceived)] == [REQUEST] * 2


@pytest.mark.parametrize("updates", [b"\x3f\x61", b"\x3f\x61\x3f\xe1\x1f"], ids=["128", "128 and 4096"])
def test_a_table_is_resized_up_to_what_the_settings_allow(updates: bytes) -> None:
    """4096 bytes until the settings are acknowledged, which allow none: what needs one after that is no HPACK.

    Three cases of h2spec do it nevertheless (HPACK 14 and 15, 6.10 case 1): it ignores the setting.
    """
    request = wire.header_frames(1, updates + encode(REQUEST), wire.SMALLEST_MAX_FRAME, ended=True)
    early = Connection(Limits(), Clock())
    early.start()
    assert feed(early, GREETING, request)[-1] == happened.HeadersReceived(1, REQUEST, ended=True)
    last = feed(opened(), request)[-1]
    assert isinstance(last, happened.ConnectionFailed)
    assert last.code == ErrorCode.COMPRESSION_ERROR


def test_a_block_that_came_before_is_judged_as_the_first_time() -> None:
    """On another connection too, though it is not decoded again."""
    good, bad = headers(1), headers(1, ("Name", "upper case"))
    for _ in range(2):
        assert feed(opened(), good) == [happened.HeadersReceived(1, REQUEST, ended=False)]
        assert feed(opened(), bad) == [happened.StreamReset(1, ErrorCode.PROTOCOL_ERROR, by_peer=False)]
    late = headers(1, fields=REQUEST, ended=True)
    assert feed(opened(), good, late)[1:] == [happened.StreamReset(1, ErrorCode.PROTOCOL_ERROR, by_peer=False)]


def test_sending_keeps_to_the_windows() -> None:
    """What does not fit is not sent, and a window that opens is reported."""
    connection = opened()
    feed(connection, headers(1))
    assert connection.send_data(1, b"x" * 70_000) == 65_535
    assert connection.room(1) == connection.send_data(1, b"x") == 0
    opening = wire.window_update(0, 10) + wire.window_update(1, 5)
    assert feed(connection, opening) == [happened.WindowOpened(0), happened.WindowOpened(1)]
    assert connection.room(1) == 5
    feed(connection, wire.settings_frame({4: 0}))  # the window is negative now
    assert connection.room(1) == 0


def test_data_may_be_sent_whole_or_not_at_all() -> None:
    """Where a window has no room for all of it, or the stream is gone, nothing is sent."""
    connection = opened()
    feed(connection, headers(1))
    connection.data_to_send()
    assert not connection.send_whole(1, bytes(65_536))
    assert not connection.send_whole(3, b"x")
    assert connection.data_to_send() == []
    assert connection.send_whole(1, b"x")
    assert connection.data_to_send() == [wire.frame(Kind.DATA, 0, 1, b"x")]
    assert not connection.send_whole(1, bytes(65_535))
    connection.reset(1, ErrorCode.NO_ERROR)
    assert not connection.send_whole(1, b"x")


def test_a_window_that_is_too_large_is_found_whatever_was_granted_before() -> None:
    """By the settings, on a stream that is there; not on one that is gone, nor after the DATA was sent."""
    largest = 2**31 - 1
    grown = wire.settings_frame({4: 65_536})
    wide = wire.window_update(1, largest - 65_535)
    gone = opened()
    feed(gone, headers(1), wide, wire.rst_stream(1, ErrorCode.CANCEL), headers(3))
    assert feed(gone, grown) == [happened.WindowOpened(0)]
    used = opened()
    feed(used, headers(1), wide)
    assert used.send_data(1, b"x") == 1
    assert feed(used, grown) == [happened.WindowOpened(0)]
    there = opened()
    feed(there, headers(1), wide, headers(3))
    last = feed(there, grown)[-1]
    assert isinstance(last, happened.ConnectionFailed)
    assert last.code == ErrorCode.FLOW_CONTROL_ERROR


def test_consumed_data_opens_both_windows_again() -> None:
    """Once half a window has gathered."""
    connection = opened(Limits(connection_window=65_535))
    feed(connection, headers(1), *[data(1, b"x" * 16_000)] * 3)
    connection.consumed(1, 48_000)
    assert connection.data_to_send() == [wire.window_update(0, 48_000), wire.window_update(1, 48_000)]


def test_late_data_of_a_stream_that_was_reset_is_given_back() -> None:
    """It takes room of the connection's window, and nobody else will give it back."""
    connection = opened(Limits(connection_window=65_535))
    feed(connection, headers(1))
    connection.reset(1, ErrorCode.CANCEL)
    connection.data_to_send()
    assert set(feed(connection, *[data(1, b"x" * 16_000)] * 3)) == {happened.FRAME_IGNORED}
    assert connection.data_to_send() == [wire.window_update(0, 48_000)]
    assert connection.streams == 0


def test_another_protocol_is_reported() -> None:
    """With what it said first."""
    connection = Connection(Limits(), Clock())
    assert feed(connection, b"GET / HTTP/1.1\r\n") == [happened.NotHttp2(b"GET / HTTP/1.1\r\n")]


def test_after_a_goaway_new_streams_are_refused() -> None:
    """But not between its two steps."""
    connection = opened()
    connection.go_away(ErrorCode.NO_ERROR, last_stream_id=2**31 - 1)
    assert isinstance(feed(connection, headers(1))[0], happened.HeadersReceived)
    connection.go_away(ErrorCode.NO_ERROR)
    assert feed(connection, headers(3)) == [happened.StreamReset(3, ErrorCode.REFUSED_STREAM, by_peer=False)]


def test_trailers_end_a_request() -> None:
    """Fields after the DATA; they may not leave the request open, nor hold pseudo fields."""
    late = (("checksum", "1"),)
    seen = feed(opened(), headers(1), data(1, b"x"), headers(1, fields=late, ended=True))
    assert seen[2:] == [happened.TrailersReceived(1, late)]
    for wrong in (headers(1, fields=late), headers(1, fields=REQUEST, ended=True)):
        assert feed(opened(), headers(1), wrong)[1:] == [
            happened.StreamReset(1, ErrorCode.PROTOCOL_ERROR, by_peer=False)
        ]


def test_more_streams_than_allowed_are_refused() -> None:
    """A client may try those again; the ones that are open are not touched, and one that ends makes room."""
    connection = opened(Limits(max_concurrent_streams=2))
    feed(connection, headers(1), headers(3))
    assert feed(connection, headers(5)) == [happened.StreamReset(5, ErrorCode.REFUSED_STREAM, by_peer=False)]
    assert feed(connection, wire.rst_stream(3, ErrorCode.CANCEL), headers(7)) == [
        happened.StreamReset(3, ErrorCode.CANCEL, by_peer=True),
        happened.HeadersReceived(7, REQUEST, ended=False),
    ]


def test_a_peer_that_asks_and_does_not_read_is_cut_off() -> None:
    """What is owed to it is bounded, however slowly it asks."""
    clock = Clock()
    connection = opened(Limits(max_owed_bytes=100), clock)
    ping = wire.frame(Kind.PING, 0, 0, bytes(8))
    seen: list[happened.Event] = []
    while not seen or isinstance(seen[-1], happened.PingReceived):
        clock.now_s += 60
        seen += feed(connection, ping)
    assert seen[-1] == happened.ConnectionFailed(
        ErrorCode.ENHANCE_YOUR_CALM, "the answers to PING and SETTINGS must be read"
    )
    assert sum(map(len, connection.data_to_send())) < 200
    again = opened(Limits(max_owed_bytes=100), clock)
    for _ in range(50):
        clock.now_s += 60
        assert feed(again, ping) == [happened.PingReceived()]
        assert again.data_to_send() == [wire.frame(Kind.PING, wire.ACK, 0, bytes(8))]


def test_a_peer_that_goes_away_is_reported_and_served_on() -> None:
    """It opens no more streams; those that are open go on."""
    connection = opened()
    feed(connection, headers(1))
    assert feed(connection, wire.go_away(0, ErrorCode.NO_ERROR, b"")) == [happened.GoAwayReceived(0, 0)]
    assert connection.send_data(1, b"x") == 1


def test_padding_counts_for_the_windows() -> None:
    """And is no part of what is received."""
    seen = feed(opened(), headers(1), data(1, b"\x03abc" + bytes(3), wire.PADDED))
    assert seen[1] == happened.DataReceived(1, [b"abc"], 7, ended=False)


def test_more_data_than_the_window_allows_is_refused() -> None:
    """Of a stream: it is reset. Of all streams together: the connection ends."""
    small = opened(Limits(stream_window=10))
    assert feed(small, headers(1), data(1, bytes(11)))[1:] == [
        happened.StreamReset(1, ErrorCode.FLOW_CONTROL_ERROR, by_peer=False)
    ]
    shared = opened(Limits(stream_window=2**20, connection_window=65_535))
    last = feed(shared, headers(1), headers(3), *[data(stream, bytes(16_000)) for stream in (1, 3) * 3])[-1]
    assert isinstance(last, happened.ConnectionFailed)
    assert last.code == ErrorCode.FLOW_CONTROL_ERROR


def test_a_stream_that_has_ended_is_closed_for_both() -> None:
    """Nothing can be sent on it, and what still comes is an error; a late WINDOW_UPDATE is not."""
    connection = opened()
    feed(connection, headers(1, ended=True))
    connection.send_headers(1, encode([(":status", "200")]), ended=True)
    assert connection.streams == connection.room(1) == 0
    with pytest.raises(LookupError):
        connection.send_data(1, b"x")
    assert feed(connection, wire.window_update(1, 1), wire.rst_stream(1, ErrorCode.CANCEL)) == [
        happened.FRAME_IGNORED,
        happened.FRAME_IGNORED,
    ]
    last = feed(connection, data(1, b"x"))[-1]
    assert isinstance(last, happened.ConnectionFailed)
    assert last.code == ErrorCode.STREAM_CLOSED


MALFORMED = {
    "upper case": [*REQUEST, ("Name", "x")],
    "connection": [*REQUEST, ("connection", "close")],
    "te": [*REQUEST[:4], ("te", "gzip")],
    "line break": [*REQUEST, ("name", "a\nb")],
    "no path": [one for one in REQUEST if one[0] != ":path"],
    "pseudo last": [*REQUEST, (":scheme", "http")],
    "host": [*REQUEST, ("host", "elsewhere")],
    "two hosts": [*[one for one in REQUEST if one[0] != ":authority"], ("host", "here"), ("host", "here")],
    "content-length": [*REQUEST, ("content-length", "1"), ("content-length", "2")],
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_request_is_reset(fields: list[tuple[str, str]]) -> None:
    """And the connection lives."""
    connection = opened()
    expected = happened.StreamReset(1, ErrorCode.PROTOCOL_ERROR, by_peer=False)
    assert feed(connection, headers(1, fields=fields)) == [expected]
    assert isinstance(feed(connection, headers(3))[0], happened.HeadersReceived)


@pytest.mark.parametrize("sent", [b"x", b"xyz"])
def test_content_length_must_be_what_came(sent: bytes) -> None:
    """Neither less nor more."""
    seen = feed(opened(), headers(1, ("content-length", "2")), data(1, sent, wire.END_STREAM))
    assert seen[1] == happened.StreamReset(1, ErrorCode.PROTOCOL_ERROR, by_peer=False)


BROKEN = {
    "idle": (data(1, b"x"), ErrorCode.PROTOCOL_ERROR),
    "even": (headers(2), ErrorCode.PROTOCOL_ERROR),
    "push": (wire.frame(Kind.PUSH_PROMISE, 0, 1), ErrorCode.PROTOCOL_ERROR),
    "padding": (headers(1) + data(1, b"\x09x", wire.PADDED), ErrorCode.PROTOCOL_ERROR),
    "frame size": (headers(1) + data(1, b"x" * 16_385), ErrorCode.FRAME_SIZE_ERROR),
    "hpack": (wire.frame(Kind.HEADERS, wire.END_HEADERS, 1, b"\xff\xff"), ErrorCode.COMPRESSION_ERROR),
    "size updates": (
        wire.frame(Kind.HEADERS, wire.END_HEADERS, 1, b"\x20\x3f\x80\x00\x20"),
        ErrorCode.COMPRESSION_ERROR,
    ),
    "window": (wire.window_update(0, 2**31 - 1), ErrorCode.FLOW_CONTROL_ERROR),
    "between": (wire.frame(Kind.HEADERS, 0, 1) + data(1, b"x"), ErrorCode.PROTOCOL_ERROR),
}


@pytest.mark.parametrize(("sent", "code"), BROKEN.values(), ids=BROKEN)
def test_a_broken_rule_ends_the_connection(sent: bytes, code: ErrorCode) -> None:
    """With a GOAWAY that says why, and nothing is read after it."""
    connection = opened()
    last = feed(connection, sent)[-1]
    assert isinstance(last, happened.ConnectionFailed)
    assert last.code == code
    assert any(bytes(one)[3] == Kind.GOAWAY for one in connection.data_to_send())
    assert feed(connection, headers(7)) == []


@pytest.mark.parametrize(
    "fields", [[("a", "")] * 600, [("a", "x" * 20_000)], [("a", "x" * 60_000)]], ids=["many", "large", "largest"]
)
def test_fields_that_are_too_large_end_their_stream_only(fields: list[tuple[str, str]]) -> None:
    """Others that share the connection go on: there is no table that could have been missed."""
    connection = opened()
    assert feed(connection, headers(1, *fields)) == [
        *[happened.FRAME_IGNORED] * (len(fields[0][1]) // 16_384),
        happened.StreamReset(1, ErrorCode.ENHANCE_YOUR_CALM, by_peer=False),
    ]
    assert [type(event) for event in feed(connection, headers(3))] == [happened.HeadersReceived]


def test_fields_that_are_too_large_end_their_stream_only_before_the_settings_are_acknowledged() -> None:
    """What follows may refer to them: the table is what it would be."""
    connection = Connection(Limits(), Clock())
    encoder = Encoder()
    blocks = [encoder.encode([*REQUEST, ("a", "x" * 500 + "y" * large)]) for large in (60_000, 0)]
    blocks.append(encoder.encode([*REQUEST, ("a", "x" * 500)]))
    requests = [wire.header_frames(1 + 2 * n, block, 16_384, ended=True) for n, block in enumerate(blocks)]
    seen = feed(connection, GREETING, *requests)
    assert happened.StreamReset(1, ErrorCode.ENHANCE_YOUR_CALM, by_peer=False) in seen
    assert [type(event) for event in seen[-2:]] == [happened.HeadersReceived] * 2


@pytest.mark.parametrize("size", [70_000, 20_000])
def test_fields_that_are_far_too_large_or_too_often_end_a_connection_with_a_table(size: int) -> None:
    """To decode them takes long."""
    connection = Connection(Limits(), Clock())
    fields = [(f"a{n}", "x" * 1000) for n in range(size // 1000)]
    last = feed(connection, GREETING, *(headers(1 + 2 * n, *fields) for n in range(MAX_EARLY + 1)))[-1]
    assert isinstance(last, happened.ConnectionFailed)
    assert last.code == ErrorCode.ENHANCE_YOUR_CALM
    assert connection.streams == 0


def test_a_header_block_is_bounded_before_it_ends() -> None:
    """In frames and in bytes."""
    start, more = wire.frame(Kind.HEADERS, 0, 1), wire.frame(Kind.CONTINUATION, 0, 1)
    for sent in (
        start + more * 20,
        start + wire.frame(Kind.CONTINUATION, 0, 1, b"x" * 16_384) * 5,
    ):
        last = feed(opened(), sent)[-1]
        assert isinstance(last, happened.ConnectionFailed)
        assert last.code == ErrorCode.ENHANCE_YOUR_CALM
