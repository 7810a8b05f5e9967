"""A stream of JSON objects is read however it is cut, at a cost that is linear."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic_core import from_json

from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import (
    Author,
    Event,
    Kind,
    Request,
    wire_bytes,
)
from bcast_grpc.wire.json_events import (
    encode_arrays,
    encode_lines,
    encode_singly,
)
from bcast_grpc.wire.json_requests import MAX_REQUEST_BYTES, decode_requests
from bcast_grpc.wire.json_stream import RequestReader

from .values import REQUESTS

CONTROLS = st.text(st.sampled_from('\x00\x01\x1f\n"\\a'), max_size=300)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8) | st.text('[]{}"\\', max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip
"""Any value, texts that look like brackets and escapes among them."""

OBJECTS = st.builds(
    lambda request, unknown: {
        "operacion": request.operacion, "msg": request.msg, "data": base64.b64encode(request.data).decode(),
        "new\\\"{[": unknown, "id": request.id,
    },
    REQUESTS, JSON,
)  # fmt: skip

SPACES = st.text(" \t\r\n", max_size=3).map(str.encode)


@st.composite
def written(draw: st.DrawFn) -> bytes:
    """A request, or a batch of them, as some client writes it."""
    value: object = draw(OBJECTS | JSON.map(lambda value: {"x": value}) | st.lists(OBJECTS, max_size=3))
    indent = draw(st.sampled_from([None, None, 1, "\t"]))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\r\n", "\t:\n")]))
    return json.dumps(value, ensure_ascii=draw(st.booleans()), indent=indent, separators=separators).encode()


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[bytes], bytes]:
    """Written values, and the stream of them."""
    values = draw(st.lists(written(), max_size=6))
    mark = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    stream = b"".join(draw(SPACES) + value for value in values) + draw(SPACES)
    return values, mark + stream


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """The stream in segments."""
    ends = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[start:end] for start, end in pairwise(ends)]


PLACES = st.lists(st.integers(0, 10_000), max_size=12)


def read(segments: list[bytes], max_bytes: int = MAX_REQUEST_BYTES) -> tuple[list[Request], CallError | None]:
    """All that a reader makes of a stream, and its fault."""
    reader = RequestReader(max_bytes)
    requests: list[Request] = []
    for segment in segments:
        requests += reader.feed(segment)
        assert len(reader._rest) <= max_bytes
    reader.close()
    return requests, reader.fault


def bytewise(stream: bytes) -> list[bytes]:
    """The worst of all cuts."""
    return [stream[at : at + 1] for at in range(len(stream))]


@given(streams(), PLACES)
@settings(deadline=None, max_examples=150)
def test_a_stream_is_read_however_it_is_cut(stream: tuple[list[bytes], bytes], places: list[int]) -> None:
    """With or without anything between the objects; each is read as it would be on its own."""
    values, data = stream
    expected = [request for value in values for request in decode_requests(value)]
    for segments in ([data], cut(data, places), bytewise(data)):
        assert read(segments) == (expected, None)


@given(streams(), PLACES)
@settings(deadline=None)
def test_requests_come_as_soon_as_they_are_complete(stream: tuple[list[bytes], bytes], places: list[int]) -> None:
    """Nothing waits for what comes after it."""
    values, _ = stream
    reader = RequestReader()
    for value in values:
        *early, last = cut(value, places)
        assert [request for segment in early for request in reader.feed(segment)] == []
        assert reader.feed(last) == decode_requests(value)
    assert reader.fault is None


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A stream in which something was replaced, left out or put in."""
    _, data = draw(streams())
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        until = at + draw(st.integers(0, 3))
        new = draw(
            st.binary(max_size=2) | st.sampled_from([b"{", b"}", b"[", b"]", b'"', b"\\", b",", b"\n", b"x", b"{}"])
        )
        data = data[:at] + new + data[until:]
    return data


@given(damaged() | st.binary(max_size=80) | st.text('[]{}",:\\u0nt \n', max_size=80).map(str.encode), PLACES)
@example(b"\xef\xbb", [1])
@example(b"\xef\xbb{}", [1])
@example(b'{"a":"\\', [])
@example(b"{}\xef\xbb\xbf{}", [])
@settings(deadline=None, max_examples=200)
def test_the_cuts_make_no_difference_to_a_broken_stream(data: bytes, places: list[int]) -> None:
    """Whatever the bytes: the same requests before the fault, and a fault or none."""
    requests, fault = read([data])
    for segments in (cut(data, places), bytewise(data)):
        others, other = read(segments)
        assert others == requests
        assert (other and other.code) == (fault and fault.code)


@pytest.mark.parametrize("before", [b"", b'{"msg":"one"}', b'{"msg":"one"}\n[{"msg":"two"},{}] '])
@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b"hola", "an object must begin with {, not with 'hola'"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", "not with 'GET / HTTP/1.1\\r\\nHost: x"),
        (b"7", "not with '7'"),
        (b'"msg"', "not with '\"msg\"'"),
        (b",{}", "not with ',{}'"),
        (b"}", "not with '}'"),
        (b"\xff\xff", "not with '\ufffd\ufffd'"),
        (b"{broken", "key must be a string at line 1 column 2 of the object"),
        (b'{"msg": hola', "expected value at line 1 column 9 of the object"),
        (b'{"msg": hola}', "expected value at line 1 column 9 of the object"),
        (b'{"msg":"hola\n{"msg":"', "control character"),
        (b'{"msg":"hola}\n', "control character"),
        (b'{"msg" "hola', "expected `:`"),
        (b'{"msg":"\\q', "invalid escape"),
        (b'{"msg":nul{', "expected ident"),
        (b"[{},,", "expected value"),
        (b"{]", "line 1 column 2"),
        (b'{"x":' * 202, "nested in more than 201 brackets"),
        (b'{"x":' * 201 + b"[]", "recursion limit"),
    ],
)
def test_broken_json_is_told_at_once(before: bytes, broken: bytes, reason: str) -> None:
    """Not when its brackets balance, and the requests before it are not lost; nothing after it is read."""
    for segments in ([before + broken], [before, broken], bytewise(before + broken)):
        reader = RequestReader()
        requests = [request for segment in segments for request in reader.feed(segment)]
        assert requests == (read([before])[0])
        assert reader.fault is not None
        assert reader.fault.code is ErrorCode.MALFORMED
        assert reader.fault.reason.startswith("invalid JSON: ")
        if segments[-1] == broken:
            assert reason in reader.fault.reason
        fault = reader.fault
        assert reader.feed(b'{"msg":"too late"}') == []
        reader.close()
        assert reader.fault is fault


def test_broken_json_in_a_large_object_is_told_when_there_is_twice_as_much() -> None:
    """An object that never ends cannot hide it for long."""
    reader = RequestReader()
    reader.feed(b'{"msg":"' + b"x" * 10_000)
    assert reader.feed(b'",hola') == []
    while reader.fault is None:
        assert len(reader._rest) < 21_000
        reader.feed(b"x" * 100)
    assert "key must be a string at line 1 column 10011" in reader.fault.reason


def test_an_end_between_objects_is_no_fault() -> None:
    """Nor is that of an empty stream."""
    for stream in (b"", b" \n", b"{}", b"\xef\xbb\xbf", b"{}\r\n"):
        assert read([stream])[1] is None


@pytest.mark.parametrize("rest", [b"{", b"[{}", b'{"msg":"hola', b'{"msg":"\xc3', b'{"msg":1', b"\xef\xbb"])
def test_an_end_in_the_middle_of_an_object_is_a_fault(rest: bytes) -> None:
    """Half a request is none."""
    fault = read([rest])[1]
    assert fault is not None
    assert (fault.code, fault.reason) == (ErrorCode.MALFORMED, "the stream ended in the middle of an object")


@given(st.integers(0, 60), PLACES)
@settings(deadline=None)
def test_an_object_may_be_as_large_as_the_bound(excess: int, places: list[int]) -> None:
    """One byte more is too much, however it comes and whether it ends or not; what stands between does not count."""
    fits = b'{"msg":"' + b"x" * 90 + b'"}'
    large = b'{"msg":"' + b"x" * (91 + excess) + b'"}'
    space = b" " * 300
    first = Request(msg="x" * 90)
    for data in (fits + space + fits + large, fits + space + fits + large[:101]):
        for segments in ([data], cut(data, places), bytewise(data)):
            requests, fault = read(segments, max_bytes=100)
            assert requests == [first, first]
            assert fault is not None
            assert fault.code is ErrorCode.MESSAGE_TOO_LARGE
            assert "100 bytes" in fault.reason


@contextmanager
def parsed_bytes() -> Iterator[list[int]]:
    """How much is given to the parser."""
    sizes: list[int] = []

    def counting(data: bytes, **options: object) -> object:
        sizes.append(len(data))
        return from_json(data, **options)  # type: ignore[arg-type]

    with mock.patch("bcast_grpc.wire.json_syntax.from_json", counting):
        yield sizes


@pytest.mark.parametrize("segment", [1, 7, 1000, 65536])
@pytest.mark.parametrize(
    "stream",
    [
        b'{"msg":"' + b"x" * 100_000 + b'"}',
        b'{"msg":"' + b"\\\\\\n" * 25_000 + b'"}',
        b'{"x":[' + b"[[[[[[]]]]]]," * 8000 + b"[]]}",
        b"[" + b"{}," * 16_000 + b"{}]",
        b'{"msg":"hola"}\n' * 7000,
        b'{"x":{"x":[{"x":[[1]]}]}}' * 4000,
    ],
)
def test_the_cost_is_linear(stream: bytes, segment: int) -> None:
    """The parser sees the stream three times at most, and small rests of segments beside that."""
    segments = [stream[at : at + segment] for at in range(0, len(stream), segment)]
    with parsed_bytes() as sizes:
        requests, fault = read(segments)
    assert requests
    assert fault is None
    assert sum(sizes) <= 3 * len(stream) + 1024 * len(segments)


@pytest.mark.parametrize("stream", [b"{" * 65536, b"[" * 65536, b'{"x":' * 13_000, b"[[]," * 20_000])
def test_brackets_that_never_close_cost_nothing(stream: bytes) -> None:
    """They are refused before they are parsed, or parsed at most twice."""
    with parsed_bytes() as sizes:
        read([stream])
    assert sum(sizes) <= len(stream)


@given(st.text(max_size=300) | CONTROLS, st.binary(max_size=200))
@settings(deadline=None)
def test_json_is_never_much_larger_than_what_a_flush_counts(text: str, data: bytes) -> None:
    """A flush is a quarter of a queue at most as the room counts, so it fits a queue in JSON too."""
    event = Event(Kind.MESSAGE, text, Author("abcdefghijkl", "ana", "key"), 2**60, 1_795_549_660_977_707_123, data)
    for encode in (encode_singly, encode_arrays, encode_lines):
        ((piece, _),) = encode([event])
        assert len(piece) <= 3 * wire_bytes(event)
