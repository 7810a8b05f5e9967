"""Requests as the contract's protobuf messages: what goes in comes out, and bytes of others are read with care."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcast_grpc.events import Request
from bcast_grpc.v1 import chat_pb2 as pb
from bcast_grpc.wire import protobuf

from .values import REQUESTS

NO_UTF8 = b"\x12\x02\xff\xff"  # field 2


@given(REQUESTS)
@settings(deadline=None)
def test_requests_survive_the_wire(request: Request) -> None:
    """A request is decoded as it was encoded."""
    assert protobuf.decode_requests(protobuf.encode_request(request)) == [request]


@given(st.lists(REQUESTS, min_size=1, max_size=5))
@settings(deadline=None)
def test_joined_requests_are_one_frame(requests: list[Request]) -> None:
    """Encoded requests joined end to end are a frame of all of them, in order."""
    assert protobuf.decode_requests(b"".join(map(protobuf.encode_request, requests))) == requests


@pytest.mark.parametrize("tag", [b"z", b"\xfa\x00", b"\xfa\x80\x80\x00"])
@pytest.mark.parametrize("text", [b"", b"\x12\x01z", b"\x12\x1e" + b"x" * 30])
@pytest.mark.parametrize("count", [1, 100, 129, 5000])
def test_a_frame_is_read_in_slices_however_it_is_written(tag: bytes, text: bytes, count: int) -> None:
    """A tag may be longer than it needs to be."""
    frame = (tag + bytes([len(text)]) + text) * count
    slices = list(protobuf.read_requests(frame))
    assert [request.msg for requests in slices for request in requests] == [text[2:].decode()] * count
    assert len(frame) <= protobuf.SMALL_BYTES or max(map(len, slices)) <= 128


@given(REQUESTS)
@settings(deadline=None)
def test_a_request_may_come_without_a_batch(request: Request) -> None:
    """A client that never heard of batches sends one request a frame."""
    frame = pb.ConnectRequest(operacion=request.operacion, msg=request.msg, data=request.data, id=request.id)
    assert protobuf.decode_requests(frame.SerializeToString()) == [request]


def test_an_empty_frame_is_an_empty_request() -> None:
    """All fields have defaults, so no bytes at all are a broadcast of nothing."""
    assert protobuf.decode_requests(b"") == [Request()]


def test_fields_beside_a_batch_are_ignored() -> None:
    """A frame is either a request or a batch."""
    frame = pb.ConnectRequest(msg="ignored", batch=[pb.ConnectRequest(msg="one"), pb.ConnectRequest()])
    assert protobuf.decode_requests(frame.SerializeToString()) == [Request(msg="one"), Request()]


def test_a_batch_within_a_batch_is_a_fault_of_that_request() -> None:
    """It is told under the id of the request that held it; its neighbours are read."""
    inner = pb.ConnectRequest(id="x", msg="outer", batch=[pb.ConnectRequest(msg="inner")])
    frame = pb.ConnectRequest(batch=[pb.ConnectRequest(msg="one"), inner])
    one, nested = protobuf.decode_requests(frame.SerializeToString())
    assert one == Request(msg="one")
    assert nested.id == "x"
    assert "batch within a batch" in nested.fault


FRAMES = st.one_of(
    st.text(max_size=150).map(lambda text: pb.ConnectRequest(msg=text).SerializeToString()),
    st.builds(pb.ConnectRequest, operacion=st.text(max_size=3), msg=st.text()).map(pb.ConnectRequest.SerializeToString),
    st.lists(REQUESTS, max_size=3).map(lambda some: b"".join(map(protobuf.encode_request, some))),
)


@given(st.lists(FRAMES, max_size=6))
@settings(deadline=None)
def test_small_frames_together_are_read_as_each_alone(frames: list[bytes]) -> None:
    """Whatever a small frame holds, a short text alone or more, it is read as the parser reads it."""
    together = [request for requests in protobuf.read_small(frames) for request in requests]
    assert together == [request for frame in frames for request in protobuf.decode_requests(frame)]


@given(st.binary(min_size=1, max_size=127), st.binary(max_size=2))
@settings(deadline=None)
def test_small_frames_are_refused_as_each_alone(text: bytes, rest: bytes) -> None:
    """What does not parse is malformed, a short text that is not UTF-8, too; what came before is read."""
    frame = bytes((0x12, len(text))) + text + rest
    before = pb.ConnectRequest(msg="before").SerializeToString()
    slices = protobuf.read_small([before, frame])
    try:
        alone = protobuf.decode_requests(frame)
    except protobuf.MalformedFrame:
        assert next(slices) == [Request(msg="before")]
        with pytest.raises(protobuf.MalformedFrame, match="the frame is not a valid ConnectRequest"):
            next(slices)
    else:
        assert list(slices) == [[Request(msg="before"), *alone]]


def test_unknown_fields_are_ignored() -> None:
    """A newer client may say more than this server knows."""
    unknown = b"\xfa\x3f\x03new"  # field 1023
    assert protobuf.decode_requests(pb.ConnectRequest(msg="x").SerializeToString() + unknown) == [Request(msg="x")]


@pytest.mark.parametrize("frame", [b"\xff", b"\x0a\x05abc", NO_UTF8, b"\x0b", b"\x7a\x04" + NO_UTF8])
def test_a_frame_that_does_not_parse_is_malformed(frame: bytes) -> None:
    """Broken bytes and text that is no UTF-8 are refused, at the top and within a batch, and named."""
    with pytest.raises(protobuf.MalformedFrame, match="the frame is not a valid ConnectRequest"):
        protobuf.decode_requests(frame)


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes_are_requests_or_malformed(frame: bytes) -> None:
    """Nothing that a client sends makes the server stumble."""
    for decode in (
        protobuf.decode_requests,
        protobuf.decode_publish,
        protobuf.decode_events,
        protobuf.check_subscribe,
    ):
        with suppress(protobuf.MalformedFrame):
            decode(frame)


@given(REQUESTS)
@settings(deadline=None)
def test_a_publish_is_a_broadcast(request: Request) -> None:
    """The fields of a ``PublishRequest`` are those of a ``ConnectRequest``."""
    frame = pb.PublishRequest(msg=request.msg, data=request.data, id=request.id).SerializeToString()
    assert protobuf.decode_publish(frame) == request._replace(operacion="")


def test_a_publish_that_does_not_parse_is_malformed() -> None:
    """It is named for what it is not."""
    with pytest.raises(protobuf.MalformedFrame, match="the frame is not a valid PublishRequest"):
        protobuf.decode_publish(b"\x0a\x02\xff\xff")


def test_a_subscribe_says_nothing() -> None:
    """Fields of a newer client are let be; bytes that do not parse are malformed, and named."""
    protobuf.check_subscribe(b"")
    protobuf.check_subscribe(b"\xfa\x3f\x03new")
    with pytest.raises(protobuf.MalformedFrame, match="the frame is not a valid SubscribeRequest"):
        protobuf.check_subscribe(b"\xff")
