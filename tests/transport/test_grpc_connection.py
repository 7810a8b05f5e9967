"""One connection of the native gRPC door, beyond what clients see of it."""

from __future__ import annotations

import asyncio

import pytest
from google.rpc import code_pb2

from bcast_grpc.events import Kind, Request
from bcast_grpc.http2 import frames as wire
from bcast_grpc.http2.frames import PREFACE
from bcast_grpc.http2.limits import DEFAULT_WINDOW
from bcast_grpc.server import Server
from bcast_grpc.settings import Settings
from bcast_grpc.transport import turns
from bcast_grpc.transport.grpc import services
from bcast_grpc.transport.grpc.chat_call import ChatCall
from bcast_grpc.transport.grpc.door import GrpcDoor
from bcast_grpc.wire import protobuf
from benchmarks.attacker import ACKNOWLEDGEMENT, CONNECT, GREETING, OPEN_WINDOWS, PUBLISH, block, data, message, request

from .cable import Cable
from .virtual import in_virtual_time, pass_time

SUBSCRIBE = "/bcast_grpc.v1.Chat/Subscribe"
CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"


async def test_a_connection_that_the_server_has_closed_is_not_pinged() -> None:
    """Its end is sent already: nothing can be written after that, though it stays open for the client to read."""
    async with Server(Settings(port=0, grpc_engine="native")) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(PREFACE)
        await reader.readexactly(1)
        (door,) = server.doors
        assert isinstance(door, GrpcDoor)
        (connection,) = door._connections
        connection.go_away()
        connection._ping()
        await reader.read()
        writer.close()


@in_virtual_time
async def test_the_calls_of_a_lost_connection_are_dropped_in_turns() -> None:
    """In the order in which they came; and the door is not closed before that is done."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turns, "BUDGET_S", 1e-9)
        server = Server(Settings(port=0, grpc_engine="native"))
        (door,) = server.doors
        assert isinstance(door, GrpcDoor)
        observer, many = Cable(door), Cable(door)
        observer.send(OPEN_WINDOWS + request(1))
        await pass_time()
        many.send(OPEN_WINDOWS + b"".join(request(n, block(CONNECT, ("bcast-name", f"{n}"))) for n in range(1, 100, 2)))
        await pass_time()
        assert server.hub.clients == 51
        many.lose()
        assert server.hub.clients == 50
        await asyncio.sleep(0)
        assert 1 < server.hub.clients < 50
        await pass_time()
        assert server.hub.clients == 1
        left = [event.message for event in observer.events(1) if event.kind is Kind.LEFT]
        assert left == [f"{n} left" for n in range(1, 100, 2)]
        many = Cable(door)
        many.send(OPEN_WINDOWS + b"".join(map(request, range(1, 100, 2))))
        await pass_time()
        await door.stop(0)
        assert server.hub.clients == 0


@in_virtual_time
async def test_many_calls_of_a_connection_write_in_many_passes() -> None:
    """All get what is said, in order, though each pass of the loop has time for one of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turns, "BUDGET_S", 1e-9)
        (door,) = Server(Settings(port=0, grpc_engine="native")).doors
        assert isinstance(door, GrpcDoor)
        speaker, many = Cable(door), Cable(door)
        speaker.send(GREETING + request(1))
        many.send(OPEN_WINDOWS + b"".join(map(request, range(1, 100, 2))))
        await pass_time()
        texts = [f"{n}" for n in range(3)]
        for text in texts:
            speaker.send(data(1, message(protobuf.encode_request(Request(msg=text)))))
        await pass_time()
        for stream in range(1, 100, 2):
            assert [event.message for event in many.events(stream)] == texts
        for cable in (speaker, many):
            cable.lose()
        await pass_time()


def cable_to(server: Server) -> Cable:
    """A connection to a server's native door."""
    (door,) = server.doors
    assert isinstance(door, GrpcDoor)
    return Cable(door)


@in_virtual_time
async def test_a_client_that_opens_its_windows_and_pings_keeps_its_lane() -> None:
    """As gRPC's own clients do after nearly each message: the next one takes the fast way again, and all is counted."""
    server = Server(Settings(port=0, grpc_engine="native"))
    speaker, listener = cable_to(server), cable_to(server)
    speaker.send(GREETING + request(1))
    listener.send(OPEN_WINDOWS + request(1))
    await pass_time()
    listener.transport.written.clear()
    usual: list[bytes] = []
    write_now = ChatCall.write_now

    def count(call: ChatCall, piece: bytes) -> bool:
        usual.append(piece)
        return write_now(call, piece)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChatCall, "write_now", count)
        for n in range(5):
            speaker.send(data(1, message(protobuf.encode_request(Request(msg=f"{n}")))))
            await pass_time()
            listener.send(wire.frame(6, 0, 0, b"are you?") + wire.window_update(0, 1) + wire.window_update(1, 1))
            await pass_time()
    assert [event.message for event in listener.events(1)] == [f"{n}" for n in range(5)]
    assert len(usual) == 1
    sent = sum(len(payload) for kind, _, _, payload in listener.frames() if kind == 0)
    listener.send(data(1, message(protobuf.encode_request(Request(msg="me too")))))  # what is lent is given back
    assert listener.connection._h2.window == DEFAULT_WINDOW + 2**30 - sent + 5
    for cable in (speaker, listener):
        cable.lose()
    await pass_time()


@in_virtual_time
async def test_nothing_is_written_into_the_middle_of_a_message() -> None:
    """Not where history waits for room, and a notice comes just after the client has widened the windows."""
    server = Server(Settings(port=0, grpc_engine="native"))
    speaker = cable_to(server)
    speaker.send(OPEN_WINDOWS + request(1))
    await pass_time()
    texts = [str(n) * 300 for n in range(4)]
    for text in texts:
        speaker.send(data(1, message(protobuf.encode_request(Request(msg=text)))))
    await pass_time()
    reader = cable_to(server)
    fields = block(CONNECT, ("bcast-history", "9"), ("bcast-events", "joined"))
    reader.send(wire.PREFACE + wire.settings_frame({4: 1000}) + ACKNOWLEDGEMENT + request(1, fields))
    await pass_time()
    reader.send(wire.settings_frame({4: 100_000}))
    cable_to(server).send(OPEN_WINDOWS + request(1, block(CONNECT, ("bcast-name", "eva"))))
    await pass_time()
    assert [event.message for event in reader.events(1)] == [*texts, "eva joined"]


@in_virtual_time
async def test_a_call_that_brings_no_request_ends() -> None:
    """Where it needs one: it is in no count of clients. One that comes slowly has begun to come."""
    cable = cable_to(Server(Settings(port=0, grpc_engine="native", handshake_timeout_s=5)))
    cable.send(OPEN_WINDOWS)
    paths = (SUBSCRIBE, PUBLISH, CHECK, WATCH)
    for number, path in enumerate(paths * 2):
        cable.send(request(1 + 2 * number, block(path)))
    for stream in (9, 11, 13, 15):
        cable.send(data(stream, b"\0"))
    await pass_time(4)
    assert cable.statuses == {}
    await pass_time(2)
    assert cable.statuses == dict.fromkeys((1, 3, 5, 7), code_pb2.DEADLINE_EXCEEDED)
    for stream in (9, 13, 15):
        cable.send(data(stream, bytes(4)))
    await pass_time(20)
    assert cable.statuses == {**dict.fromkeys((1, 3, 5, 7), code_pb2.DEADLINE_EXCEEDED), 13: code_pb2.OK}
    cable.lose()
    await pass_time()


@in_virtual_time
async def test_streams_of_health_are_bounded_over_all_connections() -> None:
    """As many as end may begin; single checks are not counted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services, "MAX_STREAMS", 3)
        server = Server(Settings(port=0, grpc_engine="native"))
        first, second = cable_to(server), cable_to(server)
        for cable in (first, second):
            cable.send(OPEN_WINDOWS)
            for stream in (1, 3):
                cable.send(request(stream, block(WATCH)) + data(stream, message(b"")))
            await pass_time()
        assert (first.statuses, second.statuses) == ({}, {3: code_pb2.RESOURCE_EXHAUSTED})
        first.lose()
        await pass_time()
        second.send(request(5, block(WATCH)) + data(5, message(b"")))
        second.send(request(7, block(CHECK)) + data(7, message(b"")))
        await pass_time()
        assert second.statuses == {3: code_pb2.RESOURCE_EXHAUSTED, 7: code_pb2.OK}
        second.lose()
        await pass_time()
