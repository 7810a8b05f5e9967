"""Requests as JSON, those that do not fit, and what is no JSON."""

from __future__ import annotations

import base64
import json

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st

from bcast_grpc.events import (
    Request,
)
from bcast_grpc.v1 import chat_pb2 as pb
from bcast_grpc.wire.json_requests import MalformedFrame, decode_requests

from .values import REQUESTS


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
