"""The calls Subscribe and Publish, and the statuses of all calls."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2

from bcast_grpc.broker.base import Refused
from bcast_grpc.broker.memory import MemoryOrder
from bcast_grpc.core.limits import Limits
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Ack, Entry, Error, Event, Kind, Request
from bcast_grpc.transport.rpc import status
from bcast_grpc.v1 import chat_pb2 as pb

from .virtual import Call, Door, in_virtual_time, pass_time

# --- Subscribe


@in_virtual_time
async def test_a_reader_is_a_client_like_any_other() -> None:
    """Listed, counted, and told of; it gets what all get."""
    door = Door()
    reader, ana = await door.subscribe(name="reader"), await door.connect(name="ana")
    ana.ask(Request(msg="hola", id="x"), Request("who"))
    await pass_time()
    assert reader.texts == ["ana: hola"]
    assert sorted(ana.texts) == ["2 here: reader and ana", "sent to 1"]
    await reader.cancel()
    await pass_time()
    assert ana.texts[-1] == "reader left"


@in_virtual_time
async def test_a_subscribe_that_does_not_parse_is_refused() -> None:
    """MALFORMED, and the client was never in."""
    door = Door()
    call = door.call(door.service.subscribe, b"\xff", {})
    await pass_time()
    assert call.reason == "MALFORMED"
    assert call.metadata == {}
    assert list(door.hub.rooms) == []


# --- Publish


def published(frame: bytes | None) -> Ack:
    """The ack in the answer to a ``Publish``."""
    assert frame is not None
    ack = pb.PublishResponse.FromString(frame).ack
    return Ack(ack.seq, ack.epoch, ack.duplicate, ack.queued, ack.refused)


@in_virtual_time
async def test_a_publish_is_answered_when_it_is_in_the_queues() -> None:
    """With the message's place, the epoch, and how many others have it; nothing of it stays behind."""
    door = Door()
    ana = await door.connect(room="dev", batch="1")
    call, answer = await door.publish(
        pb.PublishRequest(msg="tick", data=b"1").SerializeToString(), room="dev", name="cron"
    )
    assert published(answer) == Ack(1, ana.metadata["bcast-epoch"], False, 1, 0)
    assert call.metadata["bcast-room"] == "dev"
    assert call.metadata["bcast-epoch"] == ana.metadata["bcast-epoch"]
    assert [(event.message, event.data) for event in ana.events] == [("cron: tick", b"1")]
    await door.publish(pb.PublishRequest(msg="tick").SerializeToString(), room="other")
    assert list(door.hub.rooms) == ["dev"]


@pytest.mark.parametrize(
    ("frame", "reason", "code"),
    [
        (b"", "EMPTY_MESSAGE", code_pb2.INVALID_ARGUMENT),
        (b"\xff", "MALFORMED", code_pb2.INVALID_ARGUMENT),
        (pb.PublishRequest(msg="x" * 65_537).SerializeToString(), "MESSAGE_TOO_LARGE", code_pb2.INVALID_ARGUMENT),
        (pb.PublishRequest(msg="x", id="y" * 129).SerializeToString(), "MALFORMED", code_pb2.INVALID_ARGUMENT),
    ],
)
@in_virtual_time
async def test_a_publish_that_does_not_fit_is_refused(frame: bytes, reason: str, code: int) -> None:
    """The event's code becomes a status, and the room is let go."""
    door = Door()
    call, answer = await door.publish(frame)
    assert (call.reason, answer) == (reason, None)
    assert call.status is not None
    assert call.status.code == code
    assert list(door.hub.rooms) == []


@in_virtual_time
async def test_a_publish_over_its_rate_is_told_when_to_come_back() -> None:
    """RESOURCE_EXHAUSTED with a ``RetryInfo``; the rate is the peer's, or the stable id's where one is given."""
    door = Door(Limits(rate=0.5, burst=1))
    await pass_time(1000)
    frame = pb.PublishRequest(msg="x").SerializeToString()
    assert published((await door.publish(frame))[1]).seq == 1
    refused, _ = await door.publish(frame)
    assert refused.reason == "RATE_LIMITED"
    assert refused.status is not None
    assert refused.status.code == code_pb2.RESOURCE_EXHAUSTED
    assert 0 < refused.detail(error_details_pb2.RetryInfo()).retry_delay.ToMilliseconds() <= 2000
    assert refused.detail(error_details_pb2.ErrorInfo()).metadata["retryable"] == "true"
    _, answer = await door.publish(frame, client="c")
    assert answer is not None


@in_virtual_time
async def test_a_publish_that_gets_no_place_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the broker refuses a message after a while, the event's code becomes the status."""
    door = Door()
    fault = CallError(ErrorCode.BROKER_UNAVAILABLE, "the store is away", retry_after_s=0.5)

    def refuse(order: MemoryOrder, entries: Sequence[Entry]) -> None:
        assert order._deliver
        order._deliver([Refused(entries, fault)])

    monkeypatch.setattr(MemoryOrder, "submit", refuse)
    call, answer = await door.publish(pb.PublishRequest(msg="x").SerializeToString())
    assert (call.reason, answer) == ("BROKER_UNAVAILABLE", None)
    assert call.status is not None
    assert (call.status.code, call.status.message) == (code_pb2.UNAVAILABLE, "the store is away")
    assert call.detail(error_details_pb2.RetryInfo()).retry_delay.ToMilliseconds() == 500


@in_virtual_time
async def test_a_publish_that_is_cancelled_lets_go() -> None:
    """Who does not wait for the answer leaves nothing behind."""
    door = Door()
    call = door.call(door.service.publish, pb.PublishRequest(msg="x").SerializeToString(), {})
    await asyncio.sleep(0)
    await call.cancel()
    await pass_time()
    assert list(door.hub.rooms) == []


# --- statuses


@pytest.mark.parametrize("code", [code for code in ErrorCode if code])
def test_every_code_has_its_status(code: ErrorCode) -> None:
    """As the contract lists them, with the code without its prefix, the domain, and whether to come back."""
    expected = {
        ErrorCode.RATE_LIMITED: "RESOURCE_EXHAUSTED",
        ErrorCode.UNAUTHENTICATED: "UNAUTHENTICATED",
        ErrorCode.PERMISSION_DENIED: "PERMISSION_DENIED",
        ErrorCode.TOKEN_EXPIRED: "UNAUTHENTICATED",
        ErrorCode.SERVER_FULL: "RESOURCE_EXHAUSTED",
        ErrorCode.SLOW_CONSUMER: "RESOURCE_EXHAUSTED",
        ErrorCode.REPLACED: "ABORTED",
        ErrorCode.SHUTTING_DOWN: "UNAVAILABLE",
        ErrorCode.BROKER_UNAVAILABLE: "UNAVAILABLE",
        ErrorCode.INTERNAL: "INTERNAL",
    }.get(code, "INVALID_ARGUMENT")
    ended = status(CallError(code, "why"))
    assert grpc.StatusCode[expected].value[0] == ended.code
    assert ended.message == "why"
    (detail,) = ended.details
    info = error_details_pb2.ErrorInfo()
    assert detail.Unpack(info)
    assert (info.reason, info.domain) == (code.name, "bcast_grpc")
    assert dict(info.metadata) == {"retryable": "true" if code.retryable else "false"}


def test_a_status_says_when_to_come_back() -> None:
    """Where that matters, and only there."""
    ended = status(CallError(ErrorCode.SERVER_FULL, "full", retry_after_s=0.25))
    retry = error_details_pb2.RetryInfo()
    assert ended.details[1].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == 250


@in_virtual_time
async def test_a_full_server_refuses_with_a_status() -> None:
    """SERVER_FULL, RESOURCE_EXHAUSTED, and a time to come back."""
    door = Door(Limits(max_clients=1))
    await door.connect()
    call: Call = await door.connect()
    assert call.reason == "SERVER_FULL"
    assert call.metadata == {}
    assert call.detail(error_details_pb2.RetryInfo()).retry_delay.seconds == 5


@in_virtual_time
async def test_a_fault_of_one_request_leaves_the_stream() -> None:
    """An ERROR event under the request's id, and the next request is carried out."""
    door = Door()
    ana = await door.connect()
    nested = pb.ConnectRequest(batch=[pb.ConnectRequest(id="x", batch=[pb.ConnectRequest(msg="no")])])
    ana.send(nested.SerializeToString())
    ana.ask(Request(id="y"), Request("who", id="z"))
    await pass_time()
    found: list[Event] = ana.events
    assert [(event.kind, event.id) for event in found] == [(Kind.ERROR, "x"), (Kind.ERROR, "y"), (Kind.MEMBERS, "z")]
    assert isinstance(found[0].detail, Error)
    assert found[0].detail.code is ErrorCode.MALFORMED
    assert not ana.ended
