"""Events as the contract's protobuf messages: what goes in comes out, whatever it is, alone and many together."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcast_grpc.core.batch import Run
from bcast_grpc.errors import ErrorCode
from bcast_grpc.events import (
    NOBODY,
    Ack,
    Author,
    Closing,
    Entry,
    Error,
    Event,
    Gap,
    GapReason,
    Kind,
    Members,
    wire_bytes,
)
from bcast_grpc.v1 import chat_pb2 as pb
from bcast_grpc.wire import protobuf

from .values import ACKS, COUNTS, DETAILS, ENTRIES, EVENTS, SEQS, TEXTS

MAX = protobuf.MAX_BATCH_BYTES
NO_UTF8 = b"\x0a\x02\xff\xff"  # field 1 of a response

ONE_OF_TWO = st.sampled_from([0, 1])
SIMILAR_ACKS = st.builds(
    lambda id_, time_ns, ack: Event(Kind.ACK, "sent", time_ns=time_ns, id=id_, detail=ack),
    st.sampled_from(["", "a", "b"]),
    ONE_OF_TWO,
    st.builds(Ack, SEQS, st.sampled_from(["", "e"]), st.booleans(), ONE_OF_TWO, ONE_OF_TWO),
)
"""Those of one run differ in ``id`` and ``seq`` alone."""


def message_of(size: int, seq: int = 1) -> Event:
    """A message with a payload of that size."""
    return Event(Kind.MESSAGE, "x", seq=seq, data=bytes(size))


# --- the enumerations of the contract


@pytest.mark.parametrize(
    ("ours", "contracts", "prefix"),
    [
        (Kind, pb.EventKind, "EVENT_KIND_"),
        (ErrorCode, pb.ErrorCode, "ERROR_CODE_"),
        (GapReason, pb.GapReason, "GAP_REASON_"),
    ],
)
def test_enumerations_are_those_of_the_contract(ours: type[IntEnum], contracts: Any, prefix: str) -> None:
    """Every name and number of the ``.proto``, and no other."""
    assert {f"{prefix}{member.name}": member.value for member in ours if member >= 0} == dict(contracts.items())


# --- events


@given(EVENTS)
@settings(deadline=None)
def test_events_survive_the_wire(event: Event) -> None:
    """An event is decoded as it was encoded, alone and in a batch, its detail with all fields."""
    ((single, count),) = protobuf.encode_singly([event])
    assert count == 1
    assert protobuf.decode_events(single) == [event]
    ((batch, count),) = protobuf.encode_batches([event])
    assert count == 1
    assert protobuf.decode_events(batch) == [event]


@given(DETAILS)
@settings(deadline=None)
def test_a_detail_is_there_even_if_it_says_nothing(detail: object) -> None:
    """An ack of nothing is still an ack, an empty list of members still a list."""
    for empty in (
        detail,
        Ack(),
        Members(()),
        Gap(0, 0, GapReason.UNSPECIFIED),
        Error(ErrorCode.UNSPECIFIED, ""),
        Closing("", 0),
    ):
        message = protobuf.to_message(Event(Kind.ACK, "x", detail=empty))  # type: ignore[arg-type]
        assert message.WhichOneof("detail") == type(empty).__name__.lower()


@given(st.lists(EVENTS, max_size=6))
@settings(deadline=None)
def test_singly_encoded_events_are_a_frame_each(events: list[Event]) -> None:
    """For a client without batches."""
    frames = protobuf.encode_singly(events)
    assert [protobuf.decode_events(data) for data, _ in frames] == [[event] for event in events]
    assert all(not pb.ConnectResponse.FromString(data).batch for data, _ in frames)


@given(st.lists(SIMILAR_ACKS | EVENTS, max_size=8))
@settings(deadline=None)
def test_similar_acks_are_encoded_as_each_alone(events: list[Event]) -> None:
    """Whatever neighbours have in common."""
    encoded = [pb.ConnectResponse.FromString(data) for data, _ in protobuf.encode_singly(events)]
    assert encoded == [protobuf.to_message(event) for event in events]


LENGTHS = st.sampled_from([0, 1, 20, 126, 127, 128, 129, 1023, 1024, 1025])
MESSAGES = st.builds(
    Event,
    st.just(Kind.MESSAGE),
    TEXTS | st.builds(lambda letter, length: letter * length, st.sampled_from("aé€😀\0"), LENGTHS),
    st.sampled_from([Author("s1", "ana", "s1"), Author("s2", "", "s2")]),
    SEQS | st.sampled_from([0, 1, 127, 128, 129, 2**14, 2**63]),
    st.sampled_from([0, 1, 1_700_000_000_123_456_789]),
    st.sampled_from([b"", b"", b"", b"data"]),
    st.just(""),
    st.none(),
)


@given(st.lists(MESSAGES | EVENTS, max_size=12), st.integers(1, 200))
@settings(max_examples=300)
def test_messages_together_are_encoded_as_each_alone(events: list[Event], begin: int) -> None:
    """Of any length, in any letters, with any place, and among others; so are those of a long run."""
    run = [Event(Kind.MESSAGE, "x", NOBODY, seq, 1) for seq in range(begin, begin + 300)]
    events = [*events, *run, *events]
    (pair,) = protobuf.encode_batches(events)
    assert pair[1] == len(events)
    assert pb.ConnectResponse.FromString(pair[0]).batch == [protobuf.to_message(event) for event in events]


@given(
    st.lists(st.sampled_from(["a", "é", "id-7", "x" * 127, "x" * 128, "€" * 1024, "x" * 1025, ""]), max_size=9),
    st.builds(Ack, SEQS, TEXTS, st.booleans(), COUNTS, COUNTS),
    st.integers(0, 200) | st.sampled_from([2**14 - 3, 2**63]),
)
@settings(max_examples=200)
def test_acks_together_are_encoded_as_each_alone(ids: list[str], other: Ack, begin: int) -> None:
    """With any ids and places, among acks of other messages."""
    acks = [
        Event(Kind.ACK, f"sent to {ack.queued}", time_ns=5, id=id_, detail=ack)
        for n in range(300)
        for id_, ack in ((f"id-{n}", Ack(begin + n, "3f2a9c1d", queued=7)),)
    ]
    others = [Event(Kind.ACK, "", time_ns=7, id=id_, detail=other._replace(seq=n)) for n, id_ in enumerate(ids)]
    events = [*others, *acks, *others, acks[0]]
    (pair,) = protobuf.encode_batches(events)
    assert pair[1] == len(events)
    assert pb.ConnectResponse.FromString(pair[0]).batch == [protobuf.to_message(event) for event in events]


@given(st.lists(st.lists(EVENTS, max_size=4), min_size=1, max_size=4))
@settings(deadline=None)
def test_joined_batches_are_the_concatenation(runs: list[list[Event]]) -> None:
    """Batches joined end to end are one frame with the events of all, in order, and nothing beside the batch."""
    frames = [frame for run in runs for frame in protobuf.encode_batches(run)]
    events = [event for run in runs for event in run]
    assert sum(count for _, count in frames) == len(events)
    joined = b"".join(data for data, _ in frames)
    assert (protobuf.decode_events(joined) if events else []) == events
    message = pb.ConnectResponse.FromString(joined)
    assert [field.name for field, _ in message.ListFields()] == (["batch"] if events else [])


def test_nothing_makes_no_frame() -> None:
    """A frame without events would be an event without a kind to whoever reads it."""
    assert protobuf.encode_batches([]) == []
    assert protobuf.encode_singly([]) == []


@given(st.lists(st.integers(0, 1_500_000) | st.sampled_from([MAX, MAX // 2, MAX // 3]), min_size=1, max_size=6))
@settings(deadline=None, max_examples=30)
def test_no_batch_is_larger_than_a_megabyte(sizes: list[int]) -> None:
    """Frames hold whole events in order and are at most ``MAX_BATCH_BYTES``, one that holds a single event apart."""
    events = [message_of(size, seq) for seq, size in enumerate(sizes, 1)]
    frames = protobuf.encode_batches(events)
    assert all(len(data) <= MAX or count == 1 for data, count in frames)
    assert [event for data, _ in frames for event in protobuf.decode_events(data)] == events
    assert [len(protobuf.decode_events(data)) for data, _ in frames] == [count for _, count in frames]


def test_many_small_events_fill_a_frame() -> None:
    """What fits into one frame is one frame."""
    assert len(protobuf.encode_batches([message_of(100)] * 5000)) == 1


def test_a_server_says_nothing_of_itself() -> None:
    """Where the server speaks there is no author, and no time where none was given."""
    message = protobuf.to_message(Event(Kind.PROGRESS, "at 0"))
    assert [field.name for field, _ in message.ListFields()] == ["message", "kind"]
    assert protobuf.decode_events(message.SerializeToString()) == [Event(Kind.PROGRESS, "at 0", NOBODY)]


def test_the_key_of_an_author_stays_on_the_server() -> None:
    """A client's own id is nobody else's business."""
    event = Event(Kind.MESSAGE, "ana: hola", Author("session", "ana", ":secret id"))
    assert b"secret" not in protobuf.to_message(event).SerializeToString()


@pytest.mark.parametrize("number", [17, 1000, 2**31 - 1, -1])
def test_numbers_of_a_newer_server_are_unspecified(number: int) -> None:
    """Kinds, codes and reasons without a name here are read as UNSPECIFIED, and the rest of the event is there."""
    error = pb.ConnectResponse(kind=number, message="new", error=pb.Error(code=number, reason="why"))  # type: ignore[arg-type]
    gap = pb.ConnectResponse(kind=number, message="new", gap=pb.Gap(first_missed=1, reason=number))  # type: ignore[arg-type]
    (read_error,) = protobuf.decode_events(error.SerializeToString())
    (read_gap,) = protobuf.decode_events(gap.SerializeToString())
    assert (read_error.kind, read_error.message) == (Kind.UNSPECIFIED, "new")
    assert read_error.detail == Error(ErrorCode.UNSPECIFIED, "why")
    assert read_gap.detail == Gap(1, 0, GapReason.UNSPECIFIED)


def test_unknown_details_are_none() -> None:
    """A newer server may send a detail that this client does not know."""
    unknown = b"\x82\x01\x02\x08\x01"  # field 16
    frame = pb.ConnectResponse(message="new", kind=pb.EVENT_KIND_PROGRESS).SerializeToString() + unknown
    assert protobuf.decode_events(frame) == [Event(Kind.PROGRESS, "new")]


@pytest.mark.parametrize("frame", [b"\xff", NO_UTF8, b"\x7a\x04" + NO_UTF8])
def test_events_that_do_not_parse_are_malformed(frame: bytes) -> None:
    """A client is told what its server sent."""
    with pytest.raises(protobuf.MalformedFrame, match="the frame is not a valid ConnectResponse"):
        protobuf.decode_events(frame)


@given(ACKS)
@settings(deadline=None)
def test_a_publish_is_answered_with_its_ack(ack: Ack) -> None:
    """Every field of it."""
    message = pb.PublishResponse.FromString(protobuf.encode_publish_response(ack)).ack
    assert Ack(message.seq, message.epoch, message.duplicate, message.queued, message.refused) == ack


# --- what the core reckons with


@given(st.lists(ENTRIES, min_size=1, max_size=4), st.integers(1, 2**63), st.integers(0, 2**62))
@settings(deadline=None)
def test_the_core_never_reckons_with_too_little(entries: list[Entry], seq: int, time_ns: int) -> None:
    """What a message is counted as is at least what goes out for it, batched or not."""
    for entry in entries:
        run = Run(Kind.MESSAGE, entry.author)
        event = Event(Kind.MESSAGE, entry.message, entry.author, seq, time_ns, entry.data)
        run.add(event, wire_bytes(event), entry)
        for encode in (protobuf.encode_batches, protobuf.encode_singly):
            ((data, _),) = encode(run.events)
            assert len(data) <= run.bytes


@given(ENTRIES, st.integers(0, 2**62))
@settings(deadline=None)
def test_nor_for_a_notice(entry: Entry, time_ns: int) -> None:
    """A notice is counted as at least what goes out for it."""
    notice = Event(Kind.JOINED, f"{entry.author.name} is now {entry.author.name}", entry.author, time_ns=time_ns)
    ((data, _),) = protobuf.encode_batches([notice])
    assert len(data) <= Run.of_notice(notice).bytes


def test_large_messages_are_counted_too() -> None:
    """Lengths of several bytes included."""
    entry = Entry(Author("x" * 12, "ñ" * 64, "x"), "y" * (1 << 22), bytes(1 << 22))
    event = Event(Kind.MESSAGE, entry.message, entry.author, 2**63, 2**62, entry.data)
    ((data, _),) = protobuf.encode_batches([event])
    assert len(data) <= wire_bytes(entry)
