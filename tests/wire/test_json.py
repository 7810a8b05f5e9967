"""Events as JSON: the proto3 mapping, for one and for many."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest
from google.protobuf.json_format import MessageToDict, Parse
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bcast_grpc.errors import BcastError, ErrorCode
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
    Welcome,
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
from bcast_grpc.wire.protobuf import to_message

from .values import EVENTS


def mapping(event: Event) -> object:
    """What protobuf's own library makes of an event."""
    return MessageToDict(to_message(event), preserving_proto_field_name=True)


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
