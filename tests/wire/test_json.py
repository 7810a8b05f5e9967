"""The proto3 JSON mapping: what a shell script or a browser reads."""

from __future__ import annotations

import json

from google.protobuf.json_format import Parse
from hypothesis import given, settings

from bcast_grpc.errors import ErrorCode
from bcast_grpc.events import Ack, Author, Error, Event, Kind, Member, Members
from bcast_grpc.v1 import chat_pb2 as pb
from bcast_grpc.wire.json import encode_event
from bcast_grpc.wire.protobuf import decode_events, to_message

from .values import EVENTS


@given(EVENTS)
@settings(deadline=None)
def test_json_is_the_proto3_mapping(event: Event) -> None:
    """Any protobuf library reads it back as the same message."""
    message = Parse(encode_event(event), pb.ConnectResponse())
    assert message == to_message(event)
    assert decode_events(message.SerializeToString()) == [event]


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
    assert "señal" in encode_event(event)


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
