"""The whole native gRPC door on the real core, against clients that send anything, cut anywhere, and go at any time."""

from __future__ import annotations

import asyncio
import gc
import gzip
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bcast_grpc.core.publisher import Publisher
from bcast_grpc.core.session import Session
from bcast_grpc.events import Kind as EventKind
from bcast_grpc.events import Request
from bcast_grpc.http2 import frames as wire
from bcast_grpc.http2.states import Kind
from bcast_grpc.server import Server
from bcast_grpc.settings import Settings
from bcast_grpc.transport.grpc.calls import Calls
from bcast_grpc.transport.grpc.chat_call import ChatCall
from bcast_grpc.transport.grpc.connection import _PING, Connection
from bcast_grpc.transport.grpc.door import GrpcDoor
from bcast_grpc.transport.grpc.kept import MAX_CONNECTION_BYTES
from bcast_grpc.transport.grpc.reader import Reader
from bcast_grpc.transport.grpc.refusal import Refusal
from bcast_grpc.transport.grpc.service_call import ServiceCall
from bcast_grpc.transport.grpc.writer import UNSENT_BYTES, Writer
from bcast_grpc.transport.stream import Stream
from bcast_grpc.wire import protobuf
from benchmarks.attacker import CONNECT, GREETING, OPEN_WINDOWS, PUBLISH, block, data, message, request

from .cable import Cable
from .virtual import VirtualLoop, pass_time

KINDS = {Calls, ChatCall, Connection, Publisher, Reader, Refusal, ServiceCall, Session, Stream, Writer}
"""What nothing may be left of."""

SUBSCRIBE = "/bcast_grpc.v1.Chat/Subscribe"
PATHS: Sequence[str] = (
    CONNECT,
    CONNECT,
    CONNECT,
    SUBSCRIBE,
    PUBLISH,
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
)
PATHS = (*PATHS, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/no.such/Method")
FIELDS = st.lists(
    st.sampled_from(
        [
            *(("bcast-batch", "1"), ("bcast-client", "a"), ("bcast-history", "100"), ("bcast-events", "all")),
            *(("bcast-name", "eve"), ("bcast-x", "1"), ("grpc-timeout", "1n"), ("grpc-timeout", "100m")),
            *(("grpc-encoding", "gzip"), ("grpc-encoding", "br"), ("content-length", "9"), ("x-bin", "%")),
        ]
    ),
    max_size=3,
    unique_by=lambda field: field[0],
)
STREAMS = st.sampled_from([1, 1, 1, 3, 3, 5, 7, 9, 0, 2, 2**31 - 1])
FLAGS = st.sampled_from([0, 0, 0, wire.END_STREAM, wire.PADDED, wire.END_HEADERS, 0xFF])


def asked(*requests: Request) -> bytes:
    """Encode requests as one message."""
    return message(b"".join(map(protobuf.encode_request, requests)))


GREETINGS = (GREETING, OPEN_WINDOWS, wire.PREFACE + wire.settings_frame({}), wire.PREFACE, b"GET / HTTP/1.1\r\n\r\n")
WHO = bytes([122, 5, 10, 3, *b"who"])
MESSAGES = st.sampled_from(
    [
        *(message(b""), asked(Request(msg="eve")), asked(Request("who", id="1")), asked(Request("leave"))),
        *(asked(Request(msg="x" * 9000)), message(WHO * 5000), asked(Request("nonsense")), message(b"\xff\xff")),
        *(message(gzip.compress(WHO * 5000), packed=True), message(b"junk", packed=True)),
        *(message(bytes(100_000))[:30_000], b"\x00\xff\xff\xff\xff", b"\x02\0\0\0\0", b"\0\0\0", b"x" * 16_384),
    ]
)
PIECES = st.one_of(
    st.builds(
        lambda stream, path, fields, ended: request(stream, block(path, *fields), ended=ended),
        *(STREAMS, st.sampled_from(PATHS), FIELDS, st.booleans()),
    ),
    st.builds(data, STREAMS, MESSAGES),
    st.builds(data, STREAMS, MESSAGES, FLAGS),
    st.builds(lambda stream, code: wire.rst_stream(stream, code), STREAMS, st.integers(0, 20)),
    st.builds(wire.window_update, STREAMS, st.sampled_from([0, 1, 1, 100, 10_000, 2**31 - 1])),
    st.builds(
        lambda name, value: wire.settings_frame({name: value}),
        *(st.integers(1, 8), st.sampled_from([0, 1, 10, 16_384, 65_535, 2**31 - 1])),
    ),
    st.builds(wire.frame, st.integers(0, 12), FLAGS, STREAMS, st.binary(max_size=20)),
    st.binary(max_size=20),
)
STEPS = st.one_of(
    PIECES,
    PIECES,
    PIECES,
    st.sampled_from(["pause", "resume", "lose", "talk", "wait", "wait long", "drain"]),
)


def greet(cable: Cable, greeting: bytes, *calls: bytes) -> Cable:
    """Begin calls on a connection."""
    cable.send(greeting)
    for number, call in enumerate(calls):
        cable.send(request(1 + 2 * number, call))
    return cable


def left() -> Counter[str]:
    """How many things there are of the kinds of which nothing may be left."""
    return Counter(type(thing).__name__ for thing in gc.get_objects() if type(thing) in KINDS)


class Adversary:
    """A client that does anything, beside two on one connection that keep all rules."""

    def __init__(self, greeting: bytes) -> None:
        self.server = Server(Settings(port=0, grpc_engine="native"))
        (door,) = self.server.doors
        assert isinstance(door, GrpcDoor)
        self.door = door
        self.honest = greet(Cable(door), OPEN_WINDOWS, block(CONNECT), block(CONNECT))
        self.cable = greet(Cable(door), greeting)
        self.said = 0

    async def do(self, step: bytes | str, size: int) -> None:
        """Do one thing; bytes are sent in segments of that size."""
        cable = self.cable
        if isinstance(step, bytes):
            for at in range(0, len(step), max(size, len(step) // 20)):
                cable.send(step[at : at + max(size, len(step) // 20)])
        elif step in ("pause", "resume", "lose"):
            getattr(cable, step)()
        elif step == "talk":
            self.honest.send(data(1, asked(Request(msg=f"ana {self.said}"))))
            self.said += 1
        elif step == "drain":
            cable.connection.announce_drain()
        elif step == "wait":
            await pass_time(0.01)
        else:
            await self.wait(20)
        self.check()

    async def wait(self, seconds: int) -> None:
        """Let time pass; who keeps all rules answers pings."""
        for _ in range(seconds):
            await pass_time()
            self.honest.send(wire.frame(Kind.PING, wire.ACK, 0, _PING))

    def check(self) -> None:
        """What it makes the server keep is bounded."""
        h2, kept = self.cable.connection._h2, self.door._kept
        assert self.cable.unsent <= 4 * UNSENT_BYTES
        of_connection = kept._connections.get(self.cable.connection._calls)
        assert not of_connection or of_connection.bytes <= MAX_CONNECTION_BYTES
        assert h2._taken <= h2._limits.connection_window
        assert len(h2._reader._buffer) - h2._reader._at <= wire.SMALLEST_MAX_FRAME + 70_000

    async def end(self) -> None:
        """Be gone; the others have heard each other to the end, and nothing is left."""
        await self.wait(1)
        self.cable.lose()
        await self.wait(20)
        heard = [event.message for event in self.honest.events(3) if event.kind is EventKind.MESSAGE]
        assert [text for text in heard if text.startswith("ana")] == [f"ana {n}" for n in range(self.said)]
        assert not any(event.message.startswith("ana") for event in self.honest.events(1))
        assert not any(kind == Kind.GOAWAY for kind, *_ in self.honest.frames())
        self.honest.lose()
        await pass_time(20)
        door = self.door
        assert (self.server.hub.clients, list(self.server.hub.rooms), door._connections) == (0, [], set())
        assert (door._kept._sizes, door._kept._total) == ({}, 0)
        assert not door._resources.unpacking._inside
        assert not door._shared.connections._busy


async def attack(greeting: bytes, steps: Sequence[tuple[bytes | str, int]]) -> None:
    """Do these things."""
    failed: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
    before = left()
    adversary = Adversary(greeting)
    await pass_time()
    for step, size in steps:
        await adversary.do(step, size)
    await adversary.end()
    del adversary
    assert failed == []
    assert left() == before


@given(st.sampled_from(GREETINGS), st.lists(st.tuples(STEPS, st.sampled_from([1, 5, 100, 70_000])), max_size=25))
@example(GREETING, [*[("wait long", 1)] * 3, ("talk", 1)])
def test_whatever_a_client_does(greeting: bytes, steps: list[tuple[bytes | str, int]]) -> None:
    """No exception reaches the loop, bounds and others' order hold, and nothing is left of it without the collector."""
    logs = pytest.MonkeyPatch()
    logged: list[str] = []
    logs.setattr(logging.Logger, "error", lambda _, text, *rest, **__: logged.append(text % rest))
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(attack(greeting, steps))
    finally:
        gc.enable()
        logs.undo()
    assert logged == []
