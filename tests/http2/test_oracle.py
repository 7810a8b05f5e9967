"""Frames at random, right and wrong: the layer judges them as python-hyper's ``h2`` does, or it is said why not."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcast_grpc.http2 import encode
from bcast_grpc.http2 import frames as wire
from bcast_grpc.http2.states import Kind
from tests.http2.differences import DIFFERENCES, Difference, Disagreement, Step
from tests.http2.oracle import Ours, Theirs
from tests.http2.peer import GREETING, REQUEST

STREAMS = st.sampled_from([1, 3, 5, 7, 9])
ANY_STREAM = st.sampled_from([0, 1, 2, 3, 5, 7, 9, 2**31 - 1])
FLAGS = st.sampled_from([0, 0, 0, wire.END_STREAM])
FIELDS = st.sampled_from(
    [
        (*REQUEST, ("content-length", "5")),
        (*REQUEST, ("content-length", "five")),
        (*REQUEST, ("content-length", "5"), ("content-length", "6")),
        (*REQUEST, ("Upper", "case")),
        (*REQUEST, ("connection", "close")),
        (*REQUEST, ("transfer-encoding", "chunked")),
        (*REQUEST, ("te", "gzip")),
        (*REQUEST, ("host", "elsewhere")),
        (*REQUEST, ("host", "here")),
        (*REQUEST, ("name", "a\nb")),
        (*REQUEST, ("name", " a ")),
        (*REQUEST, ("", "a")),
        (*REQUEST, (":late", "a")),
        (*REQUEST, (":path", "/again")),
        REQUEST[1:],
        REQUEST[:1] + REQUEST[2:],
        REQUEST[:2] + REQUEST[3:],
        REQUEST[:3] + REQUEST[4:],
        (*REQUEST[:2], (":path", ""), *REQUEST[3:]),
        ((":method", "CONNECT"), (":authority", "here")),
        (("checksum", "1"),),
        (("checksum", "1"), (":path", "/")),
        (),
    ]
)


def block_frames(stream_id: int, block: bytes, flags: int, before: bytes, parts: int) -> bytes:
    """HEADERS that begin with what their flags call for, and CONTINUATION."""
    size = max(1, -(-len(block) // parts))
    pieces = [block[at : at + size] for at in range(0, len(block), size)] or [b""]
    kinds = [Kind.HEADERS] + [Kind.CONTINUATION] * (len(pieces) - 1)
    sent = b""
    for n, (kind, piece) in enumerate(zip(kinds, pieces, strict=True)):
        last = wire.END_HEADERS if n == len(pieces) - 1 else 0
        sent += wire.frame(kind, (flags if not n else 0) | last, stream_id, (before if not n else b"") + piece)
    return sent


REQUESTS = st.builds(
    block_frames, STREAMS, st.just(encode(REQUEST)), FLAGS, st.just(b""), st.sampled_from([1, 1, 1, 2, 3])
)
STRANGE_REQUESTS = st.builds(block_frames, ANY_STREAM, FIELDS.map(encode), FLAGS, st.just(b""), st.sampled_from([1, 2]))
TRAILERS = st.builds(
    block_frames,
    STREAMS,
    st.just(encode([("checksum", "1")])),
    FLAGS.map(lambda one: one ^ 1),
    st.just(b""),
    st.just(1),
)
WITH_PRIORITY = st.builds(
    lambda stream, parent: block_frames(stream, encode(REQUEST), wire.PRIORITY, parent.to_bytes(4, "big") + b"\x10", 1),
    STREAMS,
    ANY_STREAM,
)
PADDED = st.builds(
    lambda kind, stream, padding, body, flags: wire.frame(
        kind, flags | wire.PADDED | (wire.END_HEADERS if kind else 0), stream, bytes([padding]) + body + bytes(5)
    ),
    st.sampled_from([Kind.DATA, Kind.HEADERS]),
    STREAMS,
    st.sampled_from([0, 5, 5, 5, 30, 255]),
    st.sampled_from([b"", b"hello", encode(REQUEST)]),
    FLAGS,
)
DATA = st.builds(
    lambda stream, size, flags: wire.frame(Kind.DATA, flags, stream, bytes(size)),
    st.one_of(STREAMS, STREAMS, STREAMS, ANY_STREAM),
    st.sampled_from([0, 1, 5, 5, 100, 16_384, 16_385]),
    FLAGS,
)
NUMBERS = st.sampled_from([0, 1, 5, 65_535, 2**31 - 1, 2**31, 2**32 - 1]).map(lambda one: one.to_bytes(4, "big"))
SETTINGS = st.builds(
    lambda flags, pairs, extra: wire.frame(
        Kind.SETTINGS, flags, 0, b"".join(wire.SETTING.pack(*pair) for pair in pairs) + extra
    ),
    st.sampled_from([0, 0, 0, wire.ACK]),
    st.lists(
        st.tuples(
            st.integers(0, 9),
            st.sampled_from([0, 1, 2, 100, 16_383, 16_384, 70_000, 2**24 - 1, 2**24, 2**31 - 1, 2**31]),
        ),
        max_size=3,
    ),
    st.sampled_from([b"", b"", b"", b"x"]),
)
SMALL = st.one_of(
    st.builds(wire.frame, st.just(Kind.RST_STREAM), st.just(0), STREAMS, NUMBERS),
    st.builds(wire.frame, st.just(Kind.WINDOW_UPDATE), st.just(0), ANY_STREAM, NUMBERS),
    st.builds(
        wire.frame, st.just(Kind.PING), st.sampled_from([0, wire.ACK]), st.just(0), st.binary(min_size=8, max_size=8)
    ),
    st.builds(wire.frame, st.just(Kind.GOAWAY), st.just(0), st.just(0), st.binary(min_size=8, max_size=12)),
    st.builds(wire.frame, st.just(Kind.PRIORITY), st.just(0), STREAMS, st.binary(min_size=5, max_size=5)),
)
ANYTHING = st.builds(
    wire.frame, st.integers(0, 12), st.integers(0, 255), ANY_STREAM, st.one_of(NUMBERS, st.binary(max_size=12))
)
DEEDS = st.tuples(st.sampled_from(["answer", "finish", "reset"]), STREAMS)
STEPS: st.SearchStrategy[Step] = st.one_of(
    REQUESTS,
    REQUESTS,
    REQUESTS,
    DATA,
    DATA,
    TRAILERS,
    SMALL,
    SMALL,
    DEEDS,
    DEEDS,
    STRANGE_REQUESTS,
    WITH_PRIORITY,
    PADDED,
    SETTINGS,
    ANYTHING,
)
SEQUENCES = st.lists(STEPS, min_size=1, max_size=20)


def cut(data: bytes, random: Random) -> list[bytes]:
    """A frame in pieces."""
    places = sorted(random.randrange(len(data) + 1) for _ in range(random.randrange(4)))
    return [data[at:end] for at, end in pairwise([0, *places, len(data)])]


def compare(steps: Sequence[Step], random: Random) -> Disagreement | None:
    """Give the same to both until one of them ends the connection, and return the first verdict that differs.

    Nothing is compared after a GOAWAY of the peer: ``h2`` takes that for the end.
    """
    ours, theirs = Ours(), Theirs()
    for one in (ours, theirs):
        one.feed(GREETING + wire.frame(Kind.SETTINGS, wire.ACK, 0))
    for step in steps:
        if isinstance(step, tuple):
            act(step, ours, theirs)
            continue
        verdict, other = ours.feed(*cut(step, random)), theirs.feed(*cut(step, random))
        if verdict != other:
            return Disagreement(step, verdict, other)
        if verdict.ended is not None or any(event[0] == "goaway" for event in verdict.events):
            break
    return None


def act(step: tuple[str, int], ours: Ours, theirs: Theirs) -> None:
    """Let the server do something to a stream, if it can be done."""
    deed, stream = step
    if deed == "reset":
        if ours.reset(stream):
            theirs.reset(stream)
    elif ours.answer(stream, ended=deed == "finish"):
        theirs.answer(stream, ended=deed == "finish")


@settings(max_examples=200, derandomize=True)  # a difference that nobody has named yet is no fault of a change
@given(SEQUENCES, st.randoms(use_true_random=False))
def test_both_judge_alike(steps: list[Step], random: Random) -> None:
    """Or they differ in a way that is known."""
    found = compare(steps, random)
    assert found is None or found.known, found


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda one: one.name)
def test_each_known_difference_is_there(difference: Difference) -> None:
    """Else it would hide others for nothing."""
    found = compare(difference.example, Random(1))
    assert found is not None
    assert found.known is difference
