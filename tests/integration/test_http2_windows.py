"""What a client's windows of HTTP/2 hold up, and what not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bcast_grpc.http2 import encode
from bcast_grpc.http2 import frames as wire
from bcast_grpc.http2.limits import DEFAULT_WINDOW
from bcast_grpc.transport.grpc import refusal, service_call
from bcast_grpc.v1 import chat_pb2 as pb
from benchmarks.attacker import ACKNOWLEDGEMENT, CONNECT, PUBLISH, Attacker, block, data, message, request

from .conftest import LocalDoor, Serve
from .peers import within

pytestmark = pytest.mark.grpc_engine("native", reason="grpcio's core writes by itself")


@pytest.fixture
async def attacker(door: LocalDoor) -> AsyncIterator[Attacker]:
    """A client whose first call has taken all of the connection's window; the second has got nothing yet."""
    attacker = await Attacker.connect(door.address)
    for stream in (1, 3):
        await attacker.send(request(stream, block(CONNECT, ("bcast-room", str(stream)))))
    await within(attacker.until(lambda: {1, 3} <= attacker.answered))
    sender = await door.connect(room="1")
    for _ in range(3):
        await sender.say("x" * 50_000)
    await within(attacker.until(lambda: attacker.taken == DEFAULT_WINDOW))
    yield attacker
    attacker.close()


async def test_an_end_needs_no_window(attacker: Attacker) -> None:
    """A call that has nothing else to write ends at once, though there is no room on the connection."""
    await attacker.send(data(3, b"", wire.END_STREAM))
    await within(attacker.until(lambda: 3 in attacker.ended))
    assert attacker.statuses == {3: 0}


async def test_an_end_waits_for_what_is_before_it(attacker: Attacker) -> None:
    """The first call is ended after its data."""
    await attacker.send(data(1, b"", wire.END_STREAM))
    await attacker.is_heard()
    assert not attacker.ended
    for _ in range(2):
        await attacker.send(wire.window_update(0, 100_000) + wire.window_update(1, 100_000))
    await within(attacker.until(lambda: 1 in attacker.ended))
    assert attacker.taken > 150_000
    assert attacker.statuses == {1: 0}


async def test_calls_that_do_not_read_leave_room_for_others_on_the_connection(serve: Serve) -> None:
    """A proxy may have calls of many clients on it: those who send on, and read no answer, hold up nobody else."""
    door = await serve(queue_messages=100)
    proxy = await Attacker.connect(door.address, wire.PREFACE + wire.settings_frame({4: 0}) + ACKNOWLEDGEMENT)
    unread, other = range(1, 81, 2), 81

    async def say(stream: int, count: int, msg: str) -> None:
        asked = pb.ConnectRequest(batch=[pb.ConnectRequest(msg=msg, id=f"{number}") for number in range(count)])
        await within(proxy.send_message(stream, message(asked.SerializeToString())))

    for stream in (*unread, other):
        await proxy.send(request(stream, block(CONNECT, ("bcast-room", str(stream)))))
    for stream in unread:
        await say(stream, 100, "x" * 100)
        await say(stream, 1, "x" * 40_000)
    await proxy.send(wire.window_update(other, 1000))
    await say(other, 1, "hola")
    await within(proxy.until(lambda: proxy.taken > 0))
    assert not proxy.ended
    assert not proxy.over
    proxy.close()


async def test_calls_whose_answers_nobody_reads_end(door: LocalDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are in no count of clients, so there could be a million of them, on connections that are not idle."""
    monkeypatch.setattr(refusal, "PATIENCE_S", 0.0)
    monkeypatch.setattr(service_call, "LINGER_S", 0.0)
    attacker = await Attacker.connect(door.address, wire.PREFACE + wire.settings_frame({4: 0}) + ACKNOWLEDGEMENT)
    no_call = encode([(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "here")])
    said = message(pb.PublishRequest(msg="hola").SerializeToString())
    await attacker.send(request(1, no_call, ended=True) + request(3, no_call))
    await attacker.send(request(5, block(PUBLISH)) + data(5, said, wire.END_STREAM))
    await within(attacker.until(lambda: {1, 3, 5} <= attacker.ended))
    assert attacker.taken == 0
    assert attacker.statuses[5] == 8
    attacker.close()
