"""Budgets: a peer that makes work for nothing is cut off, and no honest client is, whatever it does at once."""

from __future__ import annotations

import pytest

from bcast_grpc.http2 import Connection, ErrorCode, Limits, encode
from bcast_grpc.http2 import events as happened
from bcast_grpc.http2 import frames as wire
from bcast_grpc.http2.states import Kind
from tests.http2.peer import Clock, data, feed, headers, opened

MANY = Limits(max_concurrent_streams=10_000)
PING = wire.frame(Kind.PING, 0, 0, bytes(8))
CALMED = ErrorCode.ENHANCE_YOUR_CALM
FLOODS = {
    "ping": PING,
    "settings": wire.settings_frame({}),
    "acknowledgements": wire.frame(Kind.SETTINGS, wire.ACK, 0),
    "unknown": wire.frame(99, 0, 0),
    "priority": wire.frame(Kind.PRIORITY, 0, 1, bytes(5)),
    "goaway": wire.go_away(0, 0, b""),
    "empty data": data(1, b""),
    "nothing but padding": data(1, b"\x05" + bytes(5), wire.PADDED),
    "window update": wire.window_update(1, 1),
    "data of a stream that was reset": data(3, b"x"),
    "empty data of a stream that was reset": data(3, b""),
    "long data of a stream that was reset": data(3, bytes(1000)),
    "resets of a stream that was reset": wire.rst_stream(3, 0),
}


def cut_off(seen: list[happened.Event]) -> bool:
    """Whether the peer was cut off, with the code for those that ask too much."""
    last = seen[-1]
    return isinstance(last, happened.ConnectionFailed) and last.code == CALMED


@pytest.mark.parametrize("sent", FLOODS.values(), ids=FLOODS)
def test_a_flood_is_cut_off(sent: bytes) -> None:
    """Though one such frame a second is fine for ever."""
    limits, clock = Limits(control_burst=10, control_per_s=1, control_per_stream=0), Clock()
    connection = opened(limits, clock)
    feed(connection, headers(1), headers(3))
    connection.reset(3, ErrorCode.CANCEL)
    for _ in range(50):
        clock.now_s += 1
        assert not cut_off(feed(connection, sent))
    for _ in range(20):
        last = feed(connection, sent, data(1, b"x"))  # else a run of them would be one
        if cut_off(last):
            break
    assert cut_off(last)


def test_empty_continuations_are_cut_off() -> None:
    """However many blocks they belong to."""
    connection = opened(Limits(control_burst=10, control_per_s=1, control_per_stream=1))
    block = encode([(":method", "POST"), (":scheme", "http"), (":path", "/chat")])
    seen: list[happened.Event] = []
    for stream in range(1, 100, 2):
        seen += feed(
            connection,
            wire.frame(Kind.HEADERS, wire.END_STREAM, stream, block),
            wire.frame(Kind.CONTINUATION, 0, stream) * 3,
            wire.frame(Kind.CONTINUATION, wire.END_HEADERS, stream),
        )
        if cut_off(seen):
            break
    assert cut_off(seen)


@pytest.mark.parametrize("by_peer", [True, False])
def test_rapid_resets_are_cut_off(by_peer: bool) -> None:
    """By the peer (CVE-2023-44487), and by this side since the peer broke a rule (CVE-2025-8671)."""
    connection = opened(Limits(resets_burst=10, resets_per_s=1, resets_per_stream=0))
    closing = wire.rst_stream if by_peer else wire.window_update
    seen = feed(connection, *[headers(n) + closing(n, 0) for n in range(1, 41, 2)])
    assert cut_off(seen)
    assert sum(isinstance(one, happened.StreamReset) for one in seen) == 10


def test_rapid_resets_are_cut_off_however_many_streams_are_allowed() -> None:
    """What counts is how many were open at once."""
    connection = opened(MANY)
    seen = feed(connection, *[headers(n) + wire.rst_stream(n, ErrorCode.CANCEL) for n in range(1, 2401, 2)])
    assert cut_off(seen)


def open_all(connection: Connection, first: int, count: int) -> range:
    """Open streams, and return their numbers."""
    numbers = range(first, first + 2 * count, 2)
    seen = feed(connection, *map(headers, numbers))
    assert [type(one) for one in seen] == [happened.HeadersReceived] * count
    return numbers


def test_a_client_may_cancel_all_its_calls_at_once() -> None:
    """Thousands of them, and again and again."""
    clock = Clock()
    connection = opened(MANY, clock)
    first = 1
    for _ in range(4):
        numbers = open_all(connection, first, 5000)
        for number in numbers:
            connection.send_headers(number, encode([(":status", "200")]))
        seen = feed(connection, *[wire.rst_stream(number, ErrorCode.CANCEL) for number in numbers])
        assert [type(one) for one in seen] == [happened.StreamReset] * 5000
        connection.data_to_send()
        first = numbers[-1] + 2
        clock.now_s += 5


def test_one_call_in_two_may_be_cancelled() -> None:
    """However many there are in a second: those that ended well make up for it."""
    connection = opened()
    for first in range(1, 20_000, 4):
        done, cancelled = open_all(connection, first, 2)
        feed(connection, data(done, b"", wire.END_STREAM), wire.rst_stream(cancelled, ErrorCode.CANCEL))
        connection.send_headers(done, encode([(":status", "200")]), ended=True)
    connection.data_to_send()
    assert connection.streams == 0


def test_what_is_under_way_when_this_side_resets_streams_harms_nobody() -> None:
    """Each of them may still bring a window of DATA, a few frames in each segment."""
    connection = opened(MANY)
    numbers = open_all(connection, 1, 1000)
    for number in numbers:
        connection.reset(number, ErrorCode.CANCEL)
    connection.data_to_send()
    for number in numbers:
        for _ in range(45):
            assert feed(connection, data(number, bytes(71)) * 20) == [happened.FRAME_IGNORED]
    connection.data_to_send()


def test_a_client_may_open_the_window_with_each_frame() -> None:
    """Of the stream and of the connection, and measure the line with a PING; late, and all at once."""
    connection = opened()
    feed(connection, headers(1), wire.window_update(0, 2**30), wire.window_update(1, 2**30))
    assert connection.send_data(1, bytes(64 << 20)) == 64 << 20
    connection.data_to_send()
    opening = wire.window_update(0, 16_384) + wire.window_update(1, 16_384) + PING
    for _ in range((64 << 20) // 16_384):
        assert not cut_off(feed(connection, opening))
        connection.data_to_send()


def test_what_is_earned_is_not_saved_without_bound() -> None:
    """A long life does not allow a flood."""
    connection = opened(Limits(control_burst=10, control_per_s=1, control_per_stream=100_000))
    feed(connection, headers(1))
    for _ in range(1000):
        assert not cut_off(feed(connection, PING))
        connection.data_to_send()
    for _ in range(20):
        last = feed(connection, PING)
        connection.data_to_send()
        if cut_off(last):
            break
    assert cut_off(last)


def test_a_client_that_pings_each_second_is_never_cut_off() -> None:
    """In a silent room, for a day."""
    clock = Clock()
    connection = opened(clock=clock)
    feed(connection, headers(1))
    for _ in range(86_400):
        clock.now_s += 1
        assert feed(connection, PING) == [happened.PING_RECEIVED]
        connection.data_to_send()
