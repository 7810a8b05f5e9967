"""A connection without I/O: what comes in becomes events, and a peer that breaks a rule is cut off with its code."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hpack import Encoder
from hypothesis import given
from hypothesis import strategies as st

from bcast_grpc.http2 import Connection, ErrorCode, Limits, encode
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


def told(connection: Connection, *data: bytes) -> list[happened.Event]:
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


def test_a_request_is_told_in_order() -> None:
    """Fields, a run of DATA frames at once, and its end."""
    connection = opened()
    assert told(connection, headers(1), data(1, b"one"), data(1, b"two"), data(1, b"end", wire.END_STREAM)) == [
        happened.HeadersReceived(1, list(REQUEST), ended=False),
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
    seen = told(connection, GREETING, *frames)
    assert [one.fields for one in seen if isinstance(one, happened.HeadersReceived)] == [list(REQUEST)] * 2


def test_sending_keeps_to_the_windows() -> None:
    """What does not fit is not sent, and a window that opens is reported."""
    connection = opened()
    told(connection, headers(1))
    assert connection.send_data(1, b"x" * 70_000) == 65_535
    assert connection.room(1) == connection.send_data(1, b"x") == 0
    opening = wire.window_update(0, 10) + wire.window_update(1, 5)
    assert told(connection, opening) == [happened.WindowOpened(0), happened.WindowOpened(1)]
    assert connection.room(1) == 5
    told(connection, wire.settings_frame({4: 0}))  # the window is negative now
    assert connection.room(1) == 0


def test_consumed_data_opens_both_windows_again() -> None:
    """Once half a window has gathered."""
    connection = opened(Limits(connection_window=65_535))
    told(connection, headers(1), *[data(1, b"x" * 16_000)] * 3)
    connection.consumed(1, 48_000)
    assert connection.data_to_send() == [wire.window_update(0, 48_000), wire.window_update(1, 48_000)]


def test_late_data_of_a_stream_that_was_reset_is_given_back() -> None:
    """It takes room of the connection's window, and nobody else will give it back."""
    connection = opened(Limits(connection_window=65_535))
    told(connection, headers(1))
    connection.reset(1, ErrorCode.CANCEL)
    connection.data_to_send()
    assert set(told(connection, *[data(1, b"x" * 16_000)] * 3)) == {happened.FRAME_IGNORED}
    assert connection.data_to_send() == [wire.window_update(0, 48_000)]
    assert connection.streams == 0


def test_another_protocol_is_told() -> None:
    """With what it said first."""
    connection = Connection(Limits(), Clock())
    assert told(connection, b"GET / HTTP/1.1\r\n") == [happened.NotHttp2(b"GET / HTTP/1.1\r\n")]


def test_after_a_goaway_new_streams_are_refused() -> None:
    """But not between its two steps."""
    connection = opened()
    connection.go_away(ErrorCode.NO_ERROR, last_stream_id=2**31 - 1)
    assert isinstance(told(connection, headers(1))[0], happened.HeadersReceived)
    connection.go_away(ErrorCode.NO_ERROR)
    assert told(connection, headers(3)) == [happened.StreamReset(3, ErrorCode.REFUSED_STREAM, by_peer=False)]


def test_trailers_end_a_request() -> None:
    """Fields after the DATA; they may not leave the request open, nor hold pseudo fields."""
    late = (("checksum", "1"),)
    seen = told(opened(), headers(1), data(1, b"x"), headers(1, fields=late, ended=True))
    assert seen[2:] == [happened.TrailersReceived(1, list(late))]
    for wrong in (headers(1, fields=late), headers(1, fields=REQUEST, ended=True)):
        assert told(opened(), headers(1), wrong)[1:] == [
            happened.StreamReset(1, ErrorCode.PROTOCOL_ERROR, by_peer=False)
        ]


def test_more_streams_than_allowed_are_refused() -> None:
    """A client may try those again; the ones that are open are not touched, and one that ends makes room."""
    connection = opened(Limits(max_concurrent_streams=2))
    told(connection, headers(1), headers(3))
    assert told(connection, headers(5)) == [happened.StreamReset(5, ErrorCode.REFUSED_STREAM, by_peer=False)]
    assert told(connection, wire.rst_stream(3, ErrorCode.CANCEL), headers(7)) == [
        happened.StreamReset(3, ErrorCode.CANCEL, by_peer=True),
        happened.HeadersReceived(7, list(REQUEST), ended=False),
    ]


def test_a_peer_that_asks_and_does_not_read_is_cut_off() -> None:
    """What is owed to it is bounded, however slowly it asks."""
    clock = Clock()
    connection = opened(Limits(max_owed_bytes=100), clock)
    ping = wire.frame(Kind.PING, 0, 0, bytes(8))
    seen: list[happened.Event] = []
    while not seen or isinstance(seen[-1], happened.PingReceived):
        clock.now_s += 60
        seen += told(connection, ping)
    assert seen[-1] == happened.ConnectionFailed(ErrorCode.ENHANCE_YOUR_CALM, "answers are not read")
    assert sum(map(len, connection.data_to_send())) < 200
    again = opened(Limits(max_owed_bytes=100), clock)
    for _ in range(50):
        clock.now_s += 60
        assert told(again, ping) == [happened.PingReceived()]
        assert again.data_to_send() == [wire.frame(Kind.PING, wire.ACK, 0, bytes(8))]


def test_a_peer_that_goes_away_is_reported_and_served_on() -> None:
    """It opens no more streams; those that are open go on."""
    connection = opened()
    told(connection, headers(1))
    assert told(connection, wire.go_away(0, ErrorCode.NO_ERROR, b"")) == [happened.GoAwayReceived(0, 0)]
    assert connection.send_data(1, b"x") == 1


def test_padding_counts_for_the_windows() -> None:
    """And is no part of what is received."""
    seen = told(opened(), headers(1), data(1, b"\x03abc" + bytes(3), wire.PADDED))
    assert seen[1] == happened.DataReceived(1, [b"abc"], 7, ended=False)


def test_more_data_than_the_window_allows_is_refused() -> None:
    """Of a stream: it is reset. Of all streams together: the connection ends."""
    small = opened(Limits(stream_window=10))
    assert told(small, headers(1), data(1, bytes(11)))[1:] == [
        happened.StreamReset(1, ErrorCode.FLOW_CONTROL_ERROR, by_peer=False)
    ]
    shared = opened(Limits(stream_window=2**20, connection_window=65_535))
    last = told(shared, headers(1), headers(3), *[data(stream, bytes(16_000)) for stream in (1, 3) * 3])[-1]
    assert isinstance(last, happened.ConnectionFailed)
    assert last.code == ErrorCode.FLOW_CONTROL_ERROR


def test_a_stream_that_has_ended_is_closed_for_both() -> None:
    """Nothing can be sent on it, and what still comes is an error; a late WINDOW_UPDATE is not."""
    connection = opened()
    told(connection, headers(1, ended=True))
    connection.send_headers(1, encode([(":status", "200")]), ended=True)
    assert connection.streams == connection.room(1) == 0
    with pytest.raises(LookupError):
        connection.send_data(1, b"x")
    assert told(connection, wire.window_update(1, 1), wire.rst_stream(1, ErrorCode.CANCEL)) == [
        happened.FRAME_IGNORED,
        happened.FRAME_IGNORED,
    ]
    last = told(connection, data(1, b"x"))[-1]
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
    "content-length": [*REQUEST, ("content-length", "1"), ("content-length", "2")],
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_request_is_reset(fields: list[tuple[str, str]]) -> None:
    """And the connection lives."""
    connection = opened()
    expected = happened.StreamReset(1, ErrorCode.PROTOCOL_ERROR, by_peer=False)
    assert told(connection, headers(1, fields=fields)) == [expected]
    assert isinstance(told(connection, headers(3))[0], happened.HeadersReceived)


@pytest.mark.parametrize("sent", [b"x", b"xyz"])
def test_content_length_must_be_what_came(sent: bytes) -> None:
    """Neither less nor more."""
    seen = told(opened(), headers(1, ("content-length", "2")), data(1, sent, wire.END_STREAM))
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
FLOODS = {
    "ping": wire.frame(Kind.PING, 0, 0, bytes(8)),
    "settings": wire.settings_frame({}),
    "unknown": wire.frame(99, 0, 0),
    "priority": wire.frame(Kind.PRIORITY, 0, 1, bytes(5)),
    "empty data": data(1, b""),
    "window update": wire.window_update(1, 1),
}


@pytest.mark.parametrize(("sent", "code"), BROKEN.values(), ids=BROKEN)
def test_a_broken_rule_ends_the_connection(sent: bytes, code: ErrorCode) -> None:
    """With a GOAWAY that says why, and nothing is read after it."""
    connection = opened()
    last = told(connection, sent)[-1]
    assert isinstance(last, happened.ConnectionFailed)
    assert last.code == code
    assert any(bytes(one)[3] == Kind.GOAWAY for one in connection.data_to_send())
    assert told(connection, headers(7)) == []


@pytest.mark.parametrize("sent", FLOODS.values(), ids=FLOODS)
def test_a_flood_is_cut_off(sent: bytes) -> None:
    """Though one such frame a second is fine for ever."""
    limits, clock = Limits(control_burst=10, control_per_s=1), Clock()
    connection = opened(limits, clock)
    told(connection, headers(1))
    for _ in range(50):
        clock.now_s += 1
        assert not isinstance(told(connection, sent)[-1], happened.ConnectionFailed)
    last = told(connection, sent * 20)[-1]
    assert isinstance(last, happened.ConnectionFailed)
    assert last.code == ErrorCode.ENHANCE_YOUR_CALM


@pytest.mark.parametrize("by_peer", [True, False])
def test_rapid_resets_are_cut_off(by_peer: bool) -> None:
    """By the peer (CVE-2023-44487), and by this side since the peer broke a rule (CVE-2025-8671)."""
    connection = opened(Limits(resets_burst=10, resets_per_s=1))
    closing = wire.rst_stream if by_peer else wire.window_update
    seen = told(connection, *[headers(n) + closing(n, 0) for n in range(1, 41, 2)])
    assert isinstance(seen[-1], happened.ConnectionFailed)
    assert seen[-1].code == ErrorCode.ENHANCE_YOUR_CALM
    assert sum(isinstance(one, happened.StreamReset) for one in seen) == 10


def test_a_header_block_is_bounded_before_it_ends() -> None:
    """In frames, in bytes, and in bytes unpacked."""
    start, more = wire.frame(Kind.HEADERS, 0, 1), wire.frame(Kind.CONTINUATION, 0, 1)
    for sent in (
        start + more * 20,
        start + wire.frame(Kind.CONTINUATION, 0, 1, b"x" * 16_384) * 2,
        headers(1, *[("a", "")] * 600),
    ):
        last = told(opened(), sent)[-1]
        assert isinstance(last, happened.ConnectionFailed)
        assert last.code == ErrorCode.ENHANCE_YOUR_CALM


def joined(seen: list[happened.Event]) -> list[object]:
    """Events with runs of DATA as one, wherever they were cut."""
    result: list[object] = []
    for one in seen:
        last = result[-1] if result else None
        if isinstance(one, happened.DataReceived) and isinstance(last, happened.DataReceived) and not last.ended:
            result[-1] = last._replace(
                payloads=[*last.payloads, *one.payloads], size=last.size + one.size, ended=one.ended
            )
        else:
            result.append(one)
    return result


PIECES = st.one_of(
    st.sampled_from([*FLOODS.values(), *(sent for sent, _ in BROKEN.values()), headers(1), headers(3, ended=True)]),
    st.builds(data, st.sampled_from([1, 3]), st.binary(max_size=30), st.sampled_from([0, 1, 8])),
    st.builds(wire.frame, st.integers(0, 12), st.integers(0, 255), st.integers(0, 5), st.binary(max_size=20)),
)


@given(st.lists(PIECES, max_size=20), st.lists(st.integers(0, 500), max_size=20))
def test_the_same_bytes_cut_differently_bring_the_same(pieces: list[bytes], cuts: list[int]) -> None:
    """Whatever they are, and no exception leaves the connection."""
    sent = GREETING + headers(1) + b"".join(pieces)
    whole, cut = Connection(Limits(), Clock()), Connection(Limits(), Clock())
    expected = told(whole, sent)
    places = [0, *sorted(min(one, len(sent)) for one in cuts), len(sent)]
    seen = [event for at, end in pairwise(places) for event in told(cut, sent[at:end])]
    assert joined(seen) == joined(expected)
    assert b"".join(cut.data_to_send()) == b"".join(whole.data_to_send())
