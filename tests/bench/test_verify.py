"""Whatever is not as promised is found, and nothing else."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcast_grpc.bench.payload import HEADER, MAX_SIZE, MIN_SIZE, Frames
from bcast_grpc.bench.summary import Sample, Summaries, summarise
from bcast_grpc.bench.verify import Checker, Due, Faults
from bcast_grpc.v1 import chat_pb2 as pb
from bcast_grpc.wire.protobuf import MAX_REQUEST_BYTES, MalformedFrame, decode_requests

RUN = 7
ME = 0
OTHERS = (1, 2)

Message = tuple[int, int]
"""A sender, and its message's number."""


def event(message: Message, run: int = RUN, sent_ns: int = 0) -> pb.ConnectResponse:
    """The message as a server relays it."""
    return pb.ConnectResponse(kind=pb.EVENT_KIND_MESSAGE, data=HEADER.pack(run, *message, sent_ns))


def framed(messages: list[Message]) -> bytes:
    """They as one frame."""
    return pb.ConnectResponse(batch=map(event, messages)).SerializeToString()


def cut(messages: list[Message], seed: int) -> list[bytes]:
    """They as frames of any sizes."""
    chance, frames = random.Random(seed), []
    while messages:
        size = chance.randint(1, 8)
        frames.append(framed(messages[:size]))
        messages = messages[size:]
    return frames


def found(messages: list[Message], sent: dict[int, int], seed: int) -> Faults:
    """What is wrong with these messages, if so many were sent."""
    checker, summaries = Checker(ME, (ME, *OTHERS)), Summaries(RUN)
    for frame in cut(messages, seed):
        checker.take(summaries.of(frame))
    missing = checker.missing({ME: Due(9), **{sender: Due(count) for sender, count in sent.items()}})
    checker.faults.lost = sum(missing.values())
    return checker.faults


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Message], dict[int, int]]:
    """Messages of all others in any order between senders, and how many of each."""
    sent = {sender: draw(st.integers(2, 20)) for sender in OTHERS}
    turns = draw(st.permutations([sender for sender, count in sent.items() for _ in range(count)]))
    numbers = dict.fromkeys(OTHERS, -1)
    messages = []
    for sender in turns:
        numbers[sender] += 1
        messages.append((sender, numbers[sender]))
    return messages, sent


STREAMS = streams()
SEEDS = st.integers(0, 2**32)


@given(STREAMS, SEEDS)
def test_nothing_is_wrong_with_what_is_as_promised(stream: tuple[list[Message], dict[int, int]], seed: int) -> None:
    """However it is cut into frames."""
    assert not found(*stream, seed)


@given(STREAMS, SEEDS, st.data())
def test_a_message_left_out_is_lost(
    stream: tuple[list[Message], dict[int, int]], seed: int, data: st.DataObject
) -> None:
    """The first, the last, or any other."""
    messages, sent = stream
    del messages[data.draw(st.integers(0, len(messages) - 1))]
    assert found(messages, sent, seed) == Faults(lost=1)


@given(STREAMS, SEEDS, st.data())
def test_a_message_that_comes_again_is_a_repeat(
    stream: tuple[list[Message], dict[int, int]], seed: int, data: st.DataObject
) -> None:
    """At once, or later."""
    messages, sent = stream
    at = data.draw(st.integers(0, len(messages) - 1))
    messages.insert(data.draw(st.integers(at + 1, len(messages))), messages[at])
    assert found(messages, sent, seed) == Faults(repeated=1)


@given(STREAMS, SEEDS, st.data())
def test_a_message_after_a_later_one_is_out_of_order(
    stream: tuple[list[Message], dict[int, int]], seed: int, data: st.DataObject
) -> None:
    """Two neighbours of one sender change places."""
    messages, sent = stream
    number = data.draw(st.integers(1, sent[1] - 1))
    a, b = messages.index((1, number - 1)), messages.index((1, number))
    messages[a], messages[b] = messages[b], messages[a]
    assert found(messages, sent, seed) == Faults(out_of_order=1)


@given(STREAMS, SEEDS, st.data())
def test_what_one_is_not_to_get_is_told(
    stream: tuple[list[Message], dict[int, int]], seed: int, data: st.DataObject
) -> None:
    """One's own messages, and those of senders in other rooms."""
    messages, sent = stream
    messages.insert(data.draw(st.integers(0, len(messages))), (ME, 0))
    messages.insert(data.draw(st.integers(0, len(messages))), (99, 0))
    assert found(messages, sent, seed) == Faults(own=1, foreign=1)


@given(st.lists(st.sampled_from([(1, number) for number in range(6)]), max_size=30), SEEDS)
def test_any_deliveries_are_counted_as_what_they_are(messages: list[Message], seed: int) -> None:
    """As a plain count of them all says."""
    highest, seen, expected = -1, set(), Faults()
    for _, number in messages:
        if number in seen:
            expected.repeated += 1
        elif number < highest:
            expected.out_of_order += 1
        highest = max(highest, number)
        seen.add(number)
    expected.lost = 6 - len(seen)
    assert found(messages, {1: 6, 2: 0}, seed) == expected


def test_refused_messages_are_not_lost() -> None:
    """Nor those that nobody acknowledged before the sender was gone."""
    checker = Checker(ME, (1,))
    checker.take(summarise(framed([(1, 0), (1, 3)]), RUN))
    assert checker.missing({1: Due(4)}) == {1: 2}
    assert checker.missing({1: Due(4, refused=2)}) == {}
    assert checker.missing({1: Due(1)}) == {}
    assert checker.missing({1: Due(6, refused=2)}) == {1: 2}


def test_what_is_not_of_this_run_is_foreign() -> None:
    """Another run's messages, a person's text, and what is too short for a header."""
    strange = [
        event((1, 0), run=RUN + 1),
        pb.ConnectResponse(kind=pb.EVENT_KIND_MESSAGE, message="ana: hola"),
        pb.ConnectResponse(kind=pb.EVENT_KIND_MESSAGE, data=b"short"),
    ]
    frame = pb.ConnectResponse(batch=[*strange, event((1, 0))]).SerializeToString()
    summary = summarise(frame, RUN)
    assert (summary.foreign, summary.messages, summary.spans) == (3, 1, ((1, 0, 1),))


def test_answers_are_told_apart_from_messages() -> None:
    """In a batch, and alone."""
    ack = pb.ConnectResponse(kind=pb.EVENT_KIND_ACK, id="5", ack=pb.Ack(seq=9))
    summary = summarise(pb.ConnectResponse(batch=[event((1, 0)), ack]).SerializeToString(), RUN)
    assert (summary.answers, summary.messages, summary.foreign) == ((ack,), 1, 0)
    assert summarise(ack.SerializeToString(), RUN).answers == (ack,)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=30))
def test_latency_is_that_of_the_oldest_messages(times_ns: list[int]) -> None:
    """Each part of a frame counts as its oldest; none is forgotten."""
    events = [event((1, number), sent_ns=sent_ns) for number, sent_ns in enumerate(times_ns)]
    samples = summarise(pb.ConnectResponse(batch=events).SerializeToString(), RUN).samples
    assert samples[0].sent_ns == min(times_ns)
    assert sum(sample.messages for sample in samples) == len(times_ns)
    assert list(samples) == sorted(samples, key=lambda sample: sample.sent_ns)
    assert len(times_ns) > 4 or samples == tuple(Sample(sent_ns, 1) for sent_ns in sorted(times_ns))


def test_a_frame_that_does_not_parse_is_refused() -> None:
    """As what it is."""
    with pytest.raises(MalformedFrame):
        summarise(b"\xff\xff", RUN)


def test_the_same_bytes_are_decoded_once() -> None:
    """As long as they are remembered, within a bound; and like beginnings are not taken for the same."""
    summaries = Summaries(RUN, max_bytes=10_000)
    frame = framed([(1, number) for number in range(20)])
    other = frame[:-1] + b"\x01"
    first = summaries.of(frame)
    assert summaries.of(bytes(bytearray(frame))) is first
    assert summaries.of(other) is not first
    for number in range(100):
        summaries.of(framed([(2, number + place) for place in range(20)]))
    assert summaries.of(frame) is not first
    assert summaries.of(frame) == first


@given(st.integers(0, 2**40), st.lists(st.integers(0, 2**62), min_size=1, max_size=5), st.integers(MIN_SIZE, 300))
def test_a_frame_holds_what_is_sent(first: int, times_ns: list[int], size: int) -> None:
    """Each message once, of the size asked for; the last asks for an ack."""
    requests = decode_requests(Frames(RUN, 3, size).frame(first, times_ns))
    headers = [HEADER.unpack_from(request.data) for request in requests]
    assert headers == [(RUN, 3, first + place, sent_ns) for place, sent_ns in enumerate(times_ns)]
    assert {len(request.data) for request in requests} == {size}
    assert [request.id for request in requests] == [*[""] * (len(times_ns) - 1), str(first + len(times_ns) - 1)]


def test_the_largest_message_fits_into_a_frame() -> None:
    """With the longest id."""
    assert len(Frames(RUN, 1, MAX_SIZE).frame(2**63, [0])) <= MAX_REQUEST_BYTES
