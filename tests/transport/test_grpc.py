"""The calls over gRPC, engine by engine: who is let in, what is read, how a call ends."""

from __future__ import annotations

import logging

import pytest
from google.rpc import code_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from bcast_grpc.core.limits import Limits
from bcast_grpc.core.session import Session
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Request
from bcast_grpc.transport.percent import percent_decode
from bcast_grpc.transport.rpc import SERVICE
from bcast_grpc.v1 import chat_pb2 as pb

from .virtual import Door, in_virtual_time, pass_time

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
    await pass_time(60)
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
