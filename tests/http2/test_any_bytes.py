"""Whatever bytes come: how they are cut changes nothing, and no exception leaves the connection."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bcast_grpc.http2 import Connection, ErrorCode, Limits, encode
from bcast_grpc.http2 import events as happened
from bcast_grpc.http2 import frames as wire
from bcast_grpc.http2.header_blocks import SKIPPED_TIMES
from bcast_grpc.http2.reader import Reader
from bcast_grpc.http2.states import REMEMBERED
from tests.http2.peer import GREETING, Clock, data, feed, headers
from tests.http2.test_budgets import FLOODS
from tests.http2.test_connection import BROKEN


def joined(seen: list[happened.Event]) -> list[object]:
    """Events with runs of DATA as one, wherever they were cut, and without those that change nothing."""
    result: list[object] = []
    for one in seen:
        last = result[-1] if result else None
        if isinstance(one, happened.DataReceived) and isinstance(last, happened.DataReceived) and not last.ended:
            result[-1] = last._replace(
                payloads=[*last.payloads, *one.payloads], size=last.size + one.size, ended=one.ended
            )
        elif one != happened.FRAME_IGNORED:
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
    expected = feed(whole, sent)
    places = [0, *sorted(min(one, len(sent)) for one in cuts), len(sent)]
    seen = [event for at, end in pairwise(places) for event in feed(cut, sent[at:end])]
    assert joined(seen) == joined(expected)
    assert b"".join(cut.data_to_send()) == b"".join(whole.data_to_send())


SMALL = Limits(max_concurrent_streams=4, max_owed_bytes=2000, max_header_bytes=4096, control_burst=200, resets_burst=20)
LARGEST_FRAME = wire.HEADER_SIZE + wire.SMALLEST_MAX_FRAME
MOST_HELD = LARGEST_FRAME + SKIPPED_TIMES * SMALL.max_header_bytes + LARGEST_FRAME + SMALL.max_owed_bytes + 1000
"""Bytes: a frame and a header block that are not whole, a frame too many of that block, answers, and a GOAWAY."""
CHANGES = st.lists(st.tuples(st.integers(0, 1 << 14), st.integers(0, 255)), max_size=8)
CROWDS = st.tuples(PIECES, st.integers(1, 300)).map(lambda one: one[0] * one[1])
OPENINGS = st.integers(1, 40).map(lambda count: b"".join(headers(1 + 2 * n) for n in range(count)))
FIRST = st.one_of(st.just(GREETING + headers(1)), st.just(GREETING), st.just(wire.PREFACE), st.just(b""))
DEEDS = st.sampled_from(["nothing", "read", "reset", "answer", "finish", "wait"])


def changed(sent: bytes, changes: list[tuple[int, int]]) -> bytes:
    """The same with other bytes here and there."""
    result = bytearray(sent)
    for at, byte in changes:
        if at < len(result):
            result[at] = byte
    return bytes(result)


def held(connection: Connection) -> int:
    """Bytes that a connection keeps of what came, or owes for it."""
    reader: Reader = connection._reader
    block = connection._block
    answers = sum(map(len, connection._out))
    return len(reader._buffer) - reader._at + (len(block.joined() or b"") if block else 0) + answers


def act(connection: Connection, clock: Clock, deed: str, stream_id: int) -> None:
    """Do what a door might do."""
    if deed == "read":
        connection.data_to_send()
    elif deed == "wait":
        clock.now_s += 1
    elif deed == "reset":
        connection.reset(stream_id, ErrorCode.CANCEL)
    elif deed != "nothing" and connection.room(stream_id):
        connection.send_headers(stream_id, encode([(":status", "200")]), ended=deed == "finish")
        connection.data_to_send()


@given(
    FIRST,
    st.lists(st.one_of(PIECES, CROWDS, OPENINGS, st.binary(max_size=200)), max_size=12),
    CHANGES,
    st.lists(st.tuples(st.integers(1, 5000), DEEDS), min_size=1, max_size=30),
)
def test_an_adversary_gets_no_exception_no_memory_and_no_endless_loop(
    first: bytes, pieces: list[bytes], changes: list[tuple[int, int]], turns: list[tuple[int, str]]
) -> None:
    """Whatever it sends, reads or not, and whatever this side does meanwhile."""
    clock = Clock()
    connection = Connection(SMALL, clock)
    connection.start()
    sent = first + changed(b"".join(pieces), changes)
    at = 0
    for size, deed in [*turns, (len(sent), "nothing")]:
        part = sent[at : at + size]
        at += size
        connection.receive(part)
        calls = 0
        while (event := connection.next_event()) is not None:
            calls += 1
            if isinstance(event, happened.DataReceived):
                connection.consumed(event.stream_id, event.size)
            assert connection.streams <= SMALL.max_concurrent_streams
        assert calls <= (len(part) + LARGEST_FRAME) // wire.HEADER_SIZE + 1  # a frame each
        assert held(connection) <= MOST_HELD
        assert len(connection._streams._closed or ()) <= REMEMBERED
        act(connection, clock, deed, 1 + 2 * (size % 4))


def test_a_connection_that_failed_keeps_nothing() -> None:
    """What still comes is not even looked at."""
    connection = Connection(Limits(), Clock())
    connection.start()
    feed(connection, GREETING, data(1, b"x"))
    connection.data_to_send()
    for _ in range(100):
        assert feed(connection, bytes(100_000)) == []
    assert held(connection) == 0
