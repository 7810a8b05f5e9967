"""Clients over gRPC that do not read, and those that are replaced or drained meanwhile."""

from __future__ import annotations

import asyncio
import logging

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2

from bcast_grpc.core.batch import Encoder
from bcast_grpc.core.hello import Hello
from bcast_grpc.core.identity import Caller
from bcast_grpc.core.limits import Limits
from bcast_grpc.core.member import slow_consumer
from bcast_grpc.core.session import Session
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Closing, Request
from bcast_grpc.transport.lingering import LINGER_S
from bcast_grpc.v1 import chat_pb2 as pb
from bcast_grpc.wire import protobuf

from .virtual import Door, in_virtual_time, messages, pass_time


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

    admission = await door.hub.entrance.admit(Hello(client="c"), Caller("peer"))

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
