"""The proto3 JSON mapping: what a shell script, a browser or a bare socket reads and says."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from unittest import mock

import pytest
from google.protobuf.json_format import MessageToDict, Parse
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic_core import from_json

from bcast_grpc.errors import BcastError, CallError, ErrorCode
from bcast_grpc.events import (
    Ack,
    Author,
    Closing,
    Error,
    Event,
    Gap,
    GapReason,
    Kind,
    Member,
    Members,
    Reconnecting,
    Request,
    Welcome,
    wire_bytes,
)
from bcast_grpc.v1 import chat_pb2 as pb
from bcast_grpc.wire.json_events import (
    MAX_BATCH_BYTES,
    PIECE_BYTES,
    close_array,
    encode_arrays,
    encode_event,
    encode_lines,
    encode_singly,
)
from bcast_grpc.wire.json_requests import MAX_REQUEST_BYTES, MalformedFrame, decode_requests
from bcast_grpc.wire.json_stream import RequestReader
from bcast_grpc.wire.protobuf import to_message

from .values import EVENTS, REQUESTS

CONTROLS = st.text(st.sampled_from('\x00\x01\x1f\n"\\a'), max_size=300)


def mapping(event: Event) -> object:
    """What protobuf's own library makes of an event."""
    return MessageToDict(to_message(event), preserving_proto_field_name=True)


# --- events


@given(EVENTS)
@example(Event(Kind.UNSPECIFIED, ""))
@example(Event(Kind.MESSAGE, '"\\/\b\f\n\r\t\x00\x1f\x7f\u2028\ud7ff\U0001f600', time_ns=1))
@example(Event(Kind.PROGRESS, "at 1", seq=2**64 - 1, time_ns=253_402_300_799 * 10**9 + 999_999_999))
@example(Event(Kind.MEMBERS, "", detail=Members(())))
@example(Event(Kind.ACK, "", detail=Ack()))
@example(Event(Kind.GAP, "", detail=Gap(0, 0, GapReason.UNSPECIFIED)))
@example(Event(Kind.WELCOME, "", detail=Welcome("", "", "", False, 0)))
@example(Event(Kind.ERROR, "", detail=Error(ErrorCode.UNSPECIFIED, "", retry_after_s=1e-12)))
@example(Event(Kind.CLOSING, "", detail=Closing("", 0.0)))
@example(Event(Kind.CLOSING, "", detail=Closing("", 0.000_000_001)))
@settings(deadline=None)
def test_json_is_the_proto3_mapping(event: Event) -> None:
    """It says what protobuf's own library says, which reads it back as the same message."""
    line = encode_event(event)
    assert json.loads(line) == mapping(event)
    assert Parse(line, pb.ConnectResponse()) == to_message(event)


@given(EVENTS)
@settings(deadline=None)
def test_an_event_is_one_line(event: Event) -> None:
    """Line by line is how scripts read, whatever the text holds."""
    line = encode_event(event)
    assert line.splitlines() == [line] or "\n" not in line
    assert isinstance(json.loads(line), dict)


def test_a_message_reads_as_the_contract_shows_it() -> None:
    """Field names of the ``.proto``, names of enums, 64-bit numbers as text, bytes as base64, unset fields left out."""
    event = Event(Kind.MESSAGE, "ana: señal", Author("s1", "ana", "k"), 7, 1_500_000_000, b"\x00\xff")
    assert json.loads(encode_event(event)) == {
        "message": "ana: señal",
        "kind": "EVENT_KIND_MESSAGE",
        "sender": "ana",
        "session": "s1",
        "seq": "7",
        "time": "1970-01-01T00:00:01.500Z",
        "data": "AP8=",
    }
    assert encode_event(event).startswith('{"message":"ana: señal","kind":"EVENT_KIND_MESSAGE",')


def test_details_have_the_names_of_the_proto() -> None:
    """``retry_after``, not ``retryAfter``."""
    error = Event(Kind.ERROR, "too fast", id="x", detail=Error(ErrorCode.RATE_LIMITED, "too fast", True, 0.25))
    assert json.loads(encode_event(error)) == {
        "message": "too fast",
        "kind": "EVENT_KIND_ERROR",
        "id": "x",
        "error": {"code": "ERROR_CODE_RATE_LIMITED", "reason": "too fast", "retryable": True, "retry_after": "0.250s"},
    }
    ack = Event(Kind.ACK, "sent to 2", id="x", detail=Ack(7, "e1", False, 2))
    assert json.loads(encode_event(ack))["ack"] == {"seq": "7", "epoch": "e1", "queued": 2}
    members = Event(Kind.MEMBERS, "1 here: ana", detail=Members((Member("s1", "ana", 0),)))
    assert json.loads(encode_event(members))["members"] == {
        "members": [{"session": "s1", "name": "ana", "since": "1970-01-01T00:00:00Z"}]
    }


def test_the_librarys_own_events_are_numbers_without_details() -> None:
    """They are no part of the contract; the terminal's ``--json`` shows them as a newer server's kinds."""
    lost = BcastError(ErrorCode.UNSPECIFIED, "gone")
    event = Event(Kind.RECONNECTING, "reconnecting", detail=Reconnecting(lost, 1, 0.5))
    assert json.loads(encode_event(event)) == mapping(event) == {"message": "reconnecting", "kind": -1}


def test_the_key_of_an_author_stays_on_the_server() -> None:
    """A client's own id is nobody else's business."""
    assert "secret" not in encode_event(Event(Kind.MESSAGE, "ana: hola", Author("session", "ana", ":secret id")))


@given(st.lists(EVENTS, max_size=6))
@settings(deadline=None)
def test_singly_encoded_events_are_an_object_each(events: list[Event]) -> None:
    """For a client without batches, and without a newline."""
    frames = encode_singly(events)
    assert [json.loads(data) for data, _ in frames] == [mapping(event) for event in events]
    assert all(count == 1 and b"\n" not in data for data, count in frames)


@given(st.lists(st.lists(EVENTS, max_size=4), min_size=1, max_size=4))
@settings(deadline=None)
def test_joined_lines_are_an_object_each(runs: list[list[Event]]) -> None:
    """Pieces joined end to end are lines, each ended by a newline, in order."""
    pieces = [piece for run in runs for piece in encode_lines(run)]
    events = [event for run in runs for event in run]
    joined = b"".join(data for data, _ in pieces)
    assert [json.loads(line) for line in joined.split(b"\n")[:-1]] == [mapping(event) for event in events]
    assert joined.endswith(b"\n") or not events
    assert sum(count for _, count in pieces) == len(events)


@given(st.lists(st.lists(EVENTS, max_size=4), min_size=1, max_size=4))
@settings(deadline=None)
def test_joined_pieces_close_to_an_array(runs: list[list[Event]]) -> None:
    """All events of all pieces, in order."""
    pieces = [piece for run in runs for piece in encode_arrays(run)]
    events = [event for run in runs for event in run]
    assert sum(count for _, count in pieces) == len(events)
    if events:
        array = close_array(b"".join(data for data, _ in pieces))
        assert json.loads(array) == [mapping(event) for event in events]


def test_nothing_makes_no_piece() -> None:
    """There is nothing to write for it."""
    for encode in (encode_singly, encode_lines, encode_arrays):
        assert encode([]) == []


@pytest.mark.parametrize("encode", [encode_lines, encode_arrays])
@given(
    st.lists(
        st.integers(0, 1_500_000) | st.sampled_from([PIECE_BYTES, PIECE_BYTES // 2, PIECE_BYTES // 3]),
        min_size=1,
        max_size=6,
    )
)
@settings(deadline=None, max_examples=20)
def test_no_piece_is_larger_than_a_megabyte(
    encode: Callable[[Sequence[Event]], list[tuple[bytes, int]]], sizes: list[int]
) -> None:
    """Pieces hold whole events in order; a single larger event apart, a closed array is no larger than a megabyte."""
    events = [Event(Kind.MESSAGE, "x" * size, seq=seq) for seq, size in enumerate(sizes, 1)]
    pieces = encode(events)
    assert all(len(data) <= PIECE_BYTES or count == 1 for data, count in pieces)
    assert sum(count for _, count in pieces) == len(events)
    joined = b"".join(data for data, _ in pieces)
    array = close_array(joined) if encode is encode_arrays else b"[" + joined.replace(b"\n", b",")[:-1] + b"]"
    assert [one["seq"] for one in json.loads(array)] == [str(event.seq) for event in events]
    assert all(len(close_array(data)) <= MAX_BATCH_BYTES for data, count in pieces if count > 1)


def test_many_small_events_are_one_piece() -> None:
    """What fits into one is one."""
    events = [Event(Kind.MESSAGE, "x" * 100)] * 5000
    assert len(encode_lines(events)) == len(encode_arrays(events)) == 1


# --- requests


@given(REQUESTS)
@settings(deadline=None)
def test_requests_survive_the_wire(request: Request) -> None:
    """What any protobuf library writes is read, as bytes and as text."""
    message = pb.ConnectRequest(operacion=request.operacion, msg=request.msg, data=request.data, id=request.id)
    text = json.dumps(MessageToDict(message, preserving_proto_field_name=True), ensure_ascii=False)
    assert decode_requests(text.encode()) == decode_requests(text) == [request]


@given(st.lists(REQUESTS, min_size=1, max_size=4))
@settings(deadline=None)
def test_a_batch_is_an_array_or_the_contracts_field(requests: list[Request]) -> None:
    """Handled in order; the fields beside it are ignored."""
    objects = [
        {"operacion": one.operacion, "msg": one.msg, "data": base64.b64encode(one.data).decode(), "id": one.id}
        for one in requests
    ]
    assert decode_requests(json.dumps(objects)) == requests
    assert decode_requests(json.dumps({"msg": 7, "id": "ignored", "batch": objects})) == requests


@given(st.binary(max_size=40))
@settings(deadline=None)
def test_data_is_base64_of_either_alphabet_padded_or_not(data: bytes) -> None:
    """As the proto3 mapping has it."""
    for encoded in (base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()):
        for text in (encoded, encoded.rstrip("=")):
            assert decode_requests(json.dumps({"data": text})) == [Request(data=data)]


@pytest.mark.parametrize(
    ("frame", "requests"),
    [
        ("{}", [Request()]),
        ("[]", []),
        ('[{},{"msg":"x"}]', [Request(), Request(msg="x")]),
        ('{"operacion":null,"msg":null,"data":null,"id":null,"batch":null}', [Request()]),
        ('{"batch":[],"msg":"x"}', [Request(msg="x")]),
        ('[{"batch":[],"msg":"x"}]', [Request(msg="x")]),
        ('{"msg":"a","msg":"b"}', [Request(msg="b")]),
        ('{"msg":"a","new":{"msg":"b","deep":[1,[2.5e999,{}]]},"Msg":1}', [Request(msg="a")]),
        (' \r\n\t{"msg" : "\\u00f1\\ud83d\\ude00\\n\\u0000"} ', [Request(msg="ñ😀\n\0")]),
        ('{"data":""}', [Request()]),
    ],
)
def test_what_is_left_out_or_not_known_is_no_fault(frame: str, requests: list[Request]) -> None:
    """``null`` and an empty batch are unset, unknown keys are ignored, the last of two equal keys counts."""
    assert decode_requests(frame) == decode_requests(frame.encode()) == requests


@pytest.mark.parametrize(
    ("frame", "id_", "fault"),
    [
        ('{"msg":7,"id":"x"}', "x", "msg: must be text, not a number"),
        ('{"msg":1.5}', "", "msg: must be text, not a number"),
        ('{"operacion":true,"id":"x"}', "x", "operacion: must be text, not true"),
        ('{"operacion":["join"]}', "", "operacion: must be text, not a list"),
        ('{"msg":{},"id":7}', "", "msg: must be text, not an object"),
        ('{"msg":"x","id":7}', "", "id: must be text, not a number"),
        ('{"data":false,"id":"x"}', "x", "data: must be base64 text, not false"),
        ('{"data":[0],"id":"x"}', "x", "data: must be base64 text, not a list"),
        ('{"batch":"x","id":"x"}', "x", "batch: must be a list of requests, not text"),
        ('{"batch":{}}', "", "batch: must be a list of requests, not an object"),
        ('{"batch":false}', "", "batch: must be a list of requests, not false"),
        ('"hola"', "", 'a request is an object like {"msg":"hola"}, not text'),
        ("7", "", 'a request is an object like {"msg":"hola"}, not a number'),
        ("null", "", 'a request is an object like {"msg":"hola"}, not null'),
    ],
)
def test_a_value_of_the_wrong_type_is_a_fault_of_its_request(frame: str, id_: str, fault: str) -> None:
    """It says what was wrong and what would be right, under the request's ``id``, and the connection goes on."""
    assert decode_requests(frame) == [Request(id=id_, fault=fault)]


@pytest.mark.parametrize(
    "text", ["%", "A", "AAAAA", "AA=", "AA===", "=", "====", "A A=", "AAAA\n", "AA==AA==", "ñ", "\0"]
)
def test_data_that_is_no_base64_is_a_fault(text: str) -> None:
    """Nothing is guessed."""
    (request,) = decode_requests(json.dumps({"data": text, "id": "x"}))
    assert request == Request(id="x", fault="data: is not valid base64")


def test_faults_within_a_batch_are_those_of_their_requests() -> None:
    """The neighbours are read."""
    frame = (
        '[{"msg":"one"},7,{"batch":[{"msg":"inner"}],"id":"x"},{"batch":1},{"msg":false,"id":"y"},[],{"msg":"last"}]'
    )
    for whole in (frame, f'{{"batch":{frame}}}'):
        one, number, nested, no_batch, wrong, inner, last = decode_requests(whole)
        assert (one, last) == (Request(msg="one"), Request(msg="last"))
        assert number.fault == 'a request is an object like {"msg":"hola"}, not a number'
        assert nested == Request(id="x", fault="batch: a batch cannot contain a batch; put all requests into one list")
        assert no_batch.fault == "batch: must be a list of requests, not a number"
        assert wrong == Request(id="y", fault="msg: must be text, not false")
        assert inner.fault.endswith("not a list")


BROKEN = {
    b"": "line 1 column 0",
    b"hola": "line 1 column 1",
    b'{"msg": hola}': "line 1 column 9",
    b'{\n"msg": hola}': "line 2 column 8",
    b"{'msg': 'hola'}": "line 1 column 2",
    b'{"msg":"hola",}': "line 1 column 15",
    b'{"msg":"ho': "line 1 column 10",
    b'{"msg":"a\nb"}': "control character",
    b'{"msg":"\xff"}': "line 1 column",
    b'{"msg":"\\ud800"}': "line 1 column",
    b'{"msg":"\\x"}': "line 1 column 10",
    b'{"x":NaN}': "line 1 column 6",
    b'{"x":-Infinity}': "line 1 column",
    b"{} {}": "line 1 column 4",
    b"{]": "line 1 column 2",
    b"[" * 100_000: "recursion limit",
}


@pytest.mark.parametrize("frame", BROKEN)
def test_broken_json_is_malformed(frame: bytes) -> None:
    """It says what and where; JSON means JSON, not what some writer takes for it."""
    with pytest.raises(MalformedFrame, match="invalid JSON: ") as caught:
        decode_requests(frame)
    assert BROKEN[frame] in str(caught.value)


def test_text_that_is_none_is_malformed() -> None:
    """A ``str`` of Python can hold what no UTF-8 can."""
    with pytest.raises(MalformedFrame, match="surrogate"):
        decode_requests('{"msg":"\ud800"}')


@given(st.binary(max_size=60) | st.text('[]{}",:\\u0nt \n', max_size=60).map(str.encode))
@settings(deadline=None)
def test_any_bytes_are_requests_or_malformed(frame: bytes) -> None:
    """Nothing that a client sends makes the server stumble."""
    try:
        requests = decode_requests(frame)
    except MalformedFrame:
        return
    assert all(type(request) is Request for request in requests)


# --- a stream of requests

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
@settings(deadline=None, max_examples=300)
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
@settings(deadline=None, max_examples=500)
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
