"""The gRPC door: what it makes of metadata, frames, endings and faults."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from bcast_grpc.broker.base import Refused
from bcast_grpc.broker.memory import MemoryOrder
from bcast_grpc.core.batch import Encoder
from bcast_grpc.core.hello import Hello
from bcast_grpc.core.identity import Caller
from bcast_grpc.core.limits import Limits
from bcast_grpc.core.member import slow_consumer
from bcast_grpc.core.session import Session
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Ack, Closing, Entry, Error, Event, Kind, Request
from bcast_grpc.transport.lingering import LINGER_S
from bcast_grpc.transport.percent import percent_decode
from bcast_grpc.transport.rpc import SERVICE, status
from bcast_grpc.v1 import chat_pb2 as pb
from bcast_grpc.wire import protobuf

from .virtual import Call, Door, in_virtual_time, messages, pass_time

# --- the service


@in_virtual_time
async def test_the_calls_are_those_of_the_contract() -> None:
    """Each method of the ``.proto``, in its shape, with frames passed as bytes."""
    handler = Door().service.handler()
    methods = pb.DESCRIPTOR.services_by_name["Chat"].methods
    assert pb.DESCRIPTOR.services_by_name["Chat"].full_name == SERVICE
    for method in methods:
        details = type("Details", (), {"method": f"/{SERVICE}/{method.name}", "invocation_metadata": ()})()
        found = handler.service(details)
        assert found is not None
        assert (found.request_streaming, found.response_streaming) == (method.client_streaming, method.server_streaming)
        assert (found.request_deserializer, found.response_serializer) == (None, None)


# --- metadata


@given(st.text(max_size=30))
@settings(deadline=None)
def test_any_text_passes_percent_encoded(text: str) -> None:
    """What a client encodes as UTF-8 in percents is read as it was meant."""
    encoded = "".join(f"%{byte:02x}" for byte in text.encode())
    assert percent_decode("bcast-name", encoded) == text
    assert percent_decode("bcast-name", encoded.upper()) == text


def test_plain_ascii_is_itself() -> None:
    """Nothing but a percent sign has a meaning; a plus is a plus."""
    assert percent_decode("bcast-name", "a+b c&d=e~") == "a+b c&d=e~"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("100%", "'100%' is not percent-encoded; write % as %25"),
        ("%zz", "'%zz' is not percent-encoded; write % as %25"),
        ("%4", "'%4' is not percent-encoded; write % as %25"),
        ("Jos%E9", "'Jos%E9' is not percent-encoded UTF-8, such as 'Jos%C3%A9'"),
        ("%ED%A0%80", "'%ED%A0%80' is not percent-encoded UTF-8, such as 'Jos%C3%A9'"),
        ("José", "must be ASCII, with other characters percent-encoded, such as 'Jos%C3%A9'"),
        (b"ana", "must be ASCII, with other characters percent-encoded, such as 'Jos%C3%A9'"),
    ],
)
def test_a_value_that_is_no_percent_encoding_is_refused(value: str | bytes, says: str) -> None:
    """METADATA_INVALID names the key and what would be right."""
    with pytest.raises(CallError) as caught:
        percent_decode("bcast-name", value)
    assert (caught.value.code, caught.value.reason) == (ErrorCode.METADATA_INVALID, f"bcast-name: {says}")


@in_virtual_time
async def test_the_server_answers_at_once_in_metadata() -> None:
    """Before it is sent anything, a client knows its session, its room in percents, and the room's epoch."""
    door = Door()
    call = await door.connect(room="sala ñ/1", events="welcome", batch="1")
    (welcome,) = call.events
    assert welcome.detail is not None
    assert call.metadata == {
        "bcast-session": welcome.session,
        "bcast-room": "sala%20%C3%B1%2F1",
        "bcast-epoch": getattr(welcome.detail, "epoch", None),
    }
    assert door.hub.clients == 1


@in_virtual_time
async def test_metadata_of_others_is_none_of_our_business() -> None:
    """Only keys that begin with ``bcast-`` are read, by all three calls."""
    door = Door()
    raw = {"authorization": "Bearer x", "traceparent": "100%", "x-bcast-name": "%"}
    call = await door.connect(raw=raw)
    assert not call.ended
    for other in (await door.connect(raw={"bcast-nmae": "ana"}), await door.subscribe(nmae="ana")):
        assert other.ended
        assert other.reason == "METADATA_INVALID"
    refused, answer = await door.publish(b"", nmae="ana")
    assert (refused.reason, answer) == ("METADATA_INVALID", None)
    assert refused.status is not None
    assert refused.status.message.startswith("bcast-nmae: is not a known key")


# --- Connect


@in_virtual_time
async def test_a_call_without_any_metadata_is_in() -> None:
    """It counts as connected before it has sent anything, and is in the lobby, without a name."""
    door = Door()
    ana, bob = await door.connect(), await door.connect(batch="1", name="bob")
    bob.ask(Request(msg="hola"), Request("who"))
    await pass_time()
    assert ana.texts == ["bob: hola"]
    assert bob.texts == ["2 here: bob and one without a name"]
    assert list(door.hub.rooms) == ["lobby"]


@in_virtual_time
async def test_batches_are_for_those_who_ask() -> None:
    """With ``bcast-batch`` a frame holds a batch and nothing else, without it one event and no batch."""
    door = Door()
    batching, single, ana = await door.connect(batch="1"), await door.connect(), await door.connect(name="ana")
    ana.ask(*(Request(msg=str(number)) for number in range(5)))
    await pass_time()
    assert [len(pb.ConnectResponse.FromString(frame).batch) for frame in batching.frames] == [5]
    assert [len(pb.ConnectResponse.FromString(frame).batch) for frame in single.frames] == [0] * 5
    assert batching.events == single.events


@in_virtual_time
async def test_a_frame_may_hold_more_requests_than_a_slice() -> None:
    """All are carried out, in order, with others having their turn in between."""
    door = Door()
    ana, bob, eva = await door.connect(), await door.connect(batch="1"), await door.connect()
    ana.ask(*(Request(msg=f"ana {number}") for number in range(5000)))
    eva.ask(Request(msg="eva"))
    await pass_time()
    assert [text for text in bob.texts if text != "eva"] == [f"ana {number}" for number in range(5000)]
    assert "eva" in bob.texts[:4000]


@in_virtual_time
async def test_intake_waits_while_much_is_pending() -> None:
    """However fast one sends, who reads is never over its bounds."""
    door = Door(Limits(queue_messages=40))
    ana, bob = await door.connect(), await door.connect(batch="1")
    ana.ask(*(Request(msg=str(number)) for number in range(2000)))
    await pass_time(60)
    assert bob.texts == [str(number) for number in range(2000)]
    assert not bob.ended


@in_virtual_time
async def test_half_closing_ends_well() -> None:
    """What is queued goes out, then the stream ends with OK, and the others are told."""
    door = Door()
    ana, bob = await door.connect(name="ana"), await door.connect()
    bob.ask(Request(msg="hola"))
    ana.ask(Request(msg="adios", id="x"))
    ana.half_close()
    await pass_time()
    assert ana.ended
    assert ana.status is None
    assert sorted(ana.texts) == ["hola", "sent to 1"]
    assert bob.texts == ["ana: adios", "ana left"]


@in_virtual_time
async def test_leave_ends_well() -> None:
    """With an id it is acknowledged by the last event; without one nothing is sent, not even an empty frame."""
    for batch in ("0", "1"):
        door = Door()
        asking, silent = await door.connect(batch=batch), await door.connect(batch=batch)
        asking.ask(Request("leave", id="x"))
        silent.ask(Request("leave"))
        await pass_time()
        assert (asking.ended, asking.status, asking.texts) == (True, None, ["goodbye"])
        assert (silent.ended, silent.status, silent.frames) == (True, None, [])
        assert door.hub.clients == 0


@in_virtual_time
async def test_a_client_that_is_gone_is_let_out() -> None:
    """When gRPC cancels a handler, whatever it waits for, the client leaves the room and the others are told."""
    door = Door()
    idle, writing = await door.connect(name="idle"), await door.connect(name="writing")
    bob = await door.connect()
    writing.reading.clear()
    bob.ask(Request(msg="hola"))
    await pass_time()
    await idle.cancel()
    await writing.cancel()
    await pass_time()
    assert bob.texts == ["idle left", "writing left"]
    assert door.hub.clients == 1


@in_virtual_time
async def test_a_client_that_leaves_and_is_gone_at_once_harms_nobody() -> None:
    """A leave that was still to come, or a drain, does not trip over a call that is over: the room goes on."""
    door = Door()
    gone, stuck = await door.connect(name="gone"), await door.connect()
    bob, eva = await door.connect(), await door.connect()
    stuck.reading.clear()
    eva.ask(Request(msg="this round takes long"))
    await pass_time(0.001)
    gone.half_close()
    await pass_time(0.001)
    assert not gone.ended
    await gone.cancel()
    await pass_time()
    eva.ask(Request(msg="still here"))
    await pass_time()
    assert bob.texts == ["this round takes long", "gone left", "still here"]


@in_virtual_time
async def test_a_frame_that_does_not_parse_ends_the_call() -> None:
    """With INVALID_ARGUMENT and MALFORMED, after what is queued; the others are told of the departure."""
    door = Door()
    ana, bob = await door.connect(name="ana"), await door.connect()
    bob.ask(Request(msg="hola"))
    ana.send(b"\xff")
    await pass_time()
    assert ana.texts == ["hola"]
    assert ana.reason == "MALFORMED"
    assert ana.status is not None
    assert ana.status.code == code_pb2.INVALID_ARGUMENT
    assert "not a valid ConnectRequest" in ana.status.message
    assert bob.texts == ["ana left"]


@in_virtual_time
async def test_a_fault_while_reading_ends_that_call_alone(caplog: pytest.LogCaptureFixture) -> None:
    """INTERNAL, without its insides; the log has them; the others go on."""
    door = Door()
    ana, bob = await door.connect(), await door.connect()
    ana.send(ZeroDivisionError("secret"))
    await pass_time()
    assert ana.reason == "INTERNAL"
    assert ana.status is not None
    assert "secret" not in ana.status.message
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "secret" in caplog.text
    assert not bob.ended


@in_virtual_time
async def test_a_fault_while_serving_ends_that_call_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also one in the writer's own task: INTERNAL, and the client is let out."""
    door = Door()
    ana = await door.connect()

    def fail(_: Session) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(Session, "take", fail)
    ana.ask(Request("who"))
    await pass_time()
    assert ana.reason == "INTERNAL"
    assert "secret" in caplog.text
    assert door.hub.clients == 0


# --- clients that do not read


@in_virtual_time
async def test_a_slow_client_is_told_so() -> None:
    """SLOW_CONSUMER, at once, though a write to it is still out; the others get everything."""
    door = Door(Limits(queue_messages=8))
    slow, bob, ana = await door.connect(name="slow"), await door.connect(), await door.connect()
    slow.reading.clear()
    for number in range(20):
        ana.ask(Request(msg=str(number)))
        await pass_time()
    assert slow.ended
    assert slow.reason == "SLOW_CONSUMER"
    assert slow.status is not None
    assert slow.status.code == code_pb2.RESOURCE_EXHAUSTED
    assert bob.ended is False
    assert messages(bob.events) == [str(number) for number in range(20)]
    assert bob.texts.count("slow left") == 1


@in_virtual_time
async def test_a_client_that_leaves_gets_time_to_read() -> None:
    """Nearly ten seconds later it may still take what is queued, and ends well."""
    door = Door()
    ana, bob = await door.connect(), await door.connect()
    ana.reading.clear()
    bob.ask(Request(msg="hola"))
    await pass_time()
    ana.half_close()
    await pass_time(LINGER_S - 2)
    assert not ana.ended
    ana.reading.set()
    await pass_time()
    assert (ana.ended, ana.status, ana.texts) == (True, None, ["hola"])


@in_virtual_time
async def test_a_client_that_leaves_and_does_not_read_is_told_so() -> None:
    """It does not stay for ever, and is not told that all is well: what was queued for it is lost."""
    door = Door()
    ana, bob = await door.connect(name="ana"), await door.connect()
    ana.reading.clear()
    bob.ask(Request(msg="hola"))
    await pass_time()
    ana.half_close()
    await pass_time(LINGER_S + 2)
    assert ana.ended
    assert bob.texts == ["ana left"]
    assert ana.reason == "SLOW_CONSUMER"


@in_virtual_time
async def test_a_client_with_a_fault_of_its_own_does_not_linger() -> None:
    """Who sent a broken frame and does not read is let go in the same time, with the status of its fault."""
    door = Door()
    ana, bob = await door.connect(), await door.connect()
    ana.reading.clear()
    bob.ask(Request(msg="hola"))
    await pass_time()
    ana.send(b"\xff")
    await pass_time(LINGER_S + 2)
    assert ana.ended
    assert ana.reason == "MALFORMED"
    assert door.hub.clients == 1


@in_virtual_time
async def test_a_replaced_call_ends_at_once() -> None:
    """ABORTED and REPLACED, though a write to it is still out; to the others nobody left or joined."""
    door = Door()
    first, bob = await door.connect(client="c", name="ana"), await door.connect(events="joined,left")
    first.reading.clear()
    bob.ask(Request(msg="hola"))
    await pass_time()
    second = await door.connect(client="c", name="ana")
    assert first.ended
    assert first.reason == "REPLACED"
    assert first.status is not None
    assert first.status.code == code_pb2.ABORTED
    assert not second.ended
    assert bob.texts == []
    assert door.hub.clients == 2


@in_virtual_time
async def test_a_call_that_is_replaced_while_it_is_let_in_is_told_so() -> None:
    """Its status comes after the initial metadata, however long that took."""
    door = Door()
    first = door.call(door.service.connect, None, {"client": "c"})
    first.coming.clear()
    await pass_time()
    second = await door.connect(client="c")
    assert not first.ended
    first.coming.set()
    await pass_time()
    assert first.reason == "REPLACED"
    assert not second.ended
    assert door.hub.clients == 1


@in_virtual_time
async def test_a_call_that_is_to_end_while_it_is_let_in_does_not_stay() -> None:
    """A client that is let in during a drain, and does not read, gets no more time than others."""
    door = Door()
    call = door.call(door.service.connect, None, {})
    call.coming.clear()
    call.reading.clear()
    await pass_time()
    door.hub.close("going down", lambda: 1.5, lambda: None)
    await pass_time()
    call.coming.set()
    await pass_time(LINGER_S + 2)
    assert call.ended
    assert call.reason == "SHUTTING_DOWN"


@in_virtual_time
async def test_who_asks_faster_than_it_reads_is_served_at_its_pace() -> None:
    """A frame of more questions than its queue holds answers to is answered in full, though it reads slowly."""
    for batch in ("0", "1"):
        door = Door(Limits(queue_messages=40, queue_bytes=6000, max_message_bytes=1000))
        others = [await door.connect(name=f"client {number}") for number in range(20)]
        ana = await door.connect(batch=batch)
        ana.ask(*(Request("?" if number % 2 else "who", id=str(number)) for number in range(300)))
        for _ in range(30):
            ana.reading.clear()
            await pass_time(0.001)
            ana.reading.set()
            await pass_time(0.001)
        await pass_time()
        assert ana.status is None
        assert [event.id for event in ana.events] == [str(number) for number in range(300)]
        assert not any(other.ended for other in others)


@in_virtual_time
async def test_a_call_that_is_gone_ends_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    """Where gRPC says so before it cancels the handler, that is no fault, and the others are told."""
    door = Door()
    ana, bob = await door.connect(name="ana"), await door.connect()
    ana.fault = grpc.aio.InternalError("the call is over")
    bob.ask(Request(msg="hola"))
    await pass_time()
    assert ana.ended
    assert bob.texts == ["ana left"]
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


@in_virtual_time
async def test_a_slow_client_may_be_replaced_in_the_same_moment() -> None:
    """Who comes back while its old call is being ended is let in, and counted once."""
    door = Door()
    slow = await door.connect(client="c")
    (member,) = door.hub._rooms["lobby"].members.values()
    slow.reading.clear()
    slow.ask(Request("who"))
    await pass_time()
    arrived: list[Session] = []

    admission = await door.hub.admit(Hello(client="c"), Caller("peer"))

    def arrive() -> None:
        arrived.append(Session(admission, Encoder(protobuf.encode_singly, 0), wake=lambda: None))

    member.outbox.close(slow_consumer(member.outbox), discard=True)
    asyncio.get_running_loop().call_soon(arrive)  # comes between the end of the time and the end of the handler
    await pass_time()
    assert slow.reason == "SLOW_CONSUMER"
    assert len(arrived) == 1
    assert door.hub.clients == 1
    arrived[0].close()
    assert door.hub.clients == 0


@in_virtual_time
async def test_a_drain_ends_every_call() -> None:
    """CLOSING, then UNAVAILABLE and SHUTTING_DOWN with the same time to come back; new calls are refused."""
    door = Door()
    call, reader = await door.connect(), await door.subscribe(batch="1")
    emptied = asyncio.Event()
    door.hub.close("going down", lambda: 1.5, emptied.set)
    await pass_time()
    for ended in (call, reader):
        (closing,) = ended.events
        assert closing.detail == Closing("going down", 1.5)
        assert ended.reason == "SHUTTING_DOWN"
        assert ended.status is not None
        assert ended.status.code == code_pb2.UNAVAILABLE
        assert ended.detail(error_details_pb2.RetryInfo()).retry_delay == Duration(seconds=1, nanos=500_000_000)
    assert emptied.is_set()
    late = await door.connect()
    assert late.reason == "SHUTTING_DOWN"
    refused, _ = await door.publish(pb.PublishRequest(msg="x").SerializeToString())
    assert refused.reason == "SHUTTING_DOWN"


@in_virtual_time
async def test_who_does_not_read_is_discarded_at_the_end_of_a_drain() -> None:
    """It ends with SHUTTING_DOWN like the others, without what was queued for it."""
    door = Door()
    stuck, bob = await door.connect(), await door.connect()
    stuck.reading.clear()
    bob.ask(Request(msg="hola"))
    await pass_time()
    door.hub.close("going down", lambda: 1.5, lambda: None)
    await pass_time()
    assert not stuck.ended
    going = CallError(ErrorCode.SHUTTING_DOWN, "going down")
    door.hub.for_each_room(lambda room: room.disconnect(going))
    await pass_time(0)
    await pass_time(0.1)
    assert stuck.ended
    assert stuck.reason == "SHUTTING_DOWN"
    assert door.hub.clients == 0


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
