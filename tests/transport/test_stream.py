"""A client's stream without a line: what a door says to it, and what it says back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from bcast_grpc.core.batch import Encoder
from bcast_grpc.core.hello import Hello
from bcast_grpc.core.identity import Caller
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Request
from bcast_grpc.transport import reading
from bcast_grpc.transport.ending import ConnectionGone, StreamEnded
from bcast_grpc.transport.stream import Stream
from bcast_grpc.wire import json_events

from .virtual import Door, in_virtual_time, pass_time

LINES = Encoder(json_events.encode_lines, json_events.MAX_BATCH_BYTES, json_events.split_lines)


class Script:
    """A line that notes what it is told, and a stream on it."""

    def __init__(self) -> None:
        self.woken = 0
        self.readied = 0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.stream: Stream
        self.serving: asyncio.Task[None]

    @classmethod
    async def begin(cls, door: Door) -> Script:
        """Let a client in."""
        line = cls()
        line.stream = Stream(await door.hub.entrance.admit(Hello(), Caller("peer")), door.scheduler, LINES, line)
        line.serving = asyncio.create_task(line.stream.serve(line.over))
        await pass_time()
        return line

    def wake(self) -> None:
        """Count."""
        self.woken += 1

    def write_now(self, _: bytes) -> bool:
        """Take nothing that was not asked for."""
        return False

    def ready(self) -> None:
        """Count."""
        self.readied += 1

    def write(self) -> bytes:
        """Write all that there is."""
        written = b""
        while (piece := self.stream.take()) is not None:
            written += piece
        if self.stream.over and not self.over.done():
            self.over.set_result(None)
        return written


def say(*texts: str) -> Iterator[Sequence[Request]]:
    """Yield the requests of a frame in one slice."""
    yield [Request(msg=text) for text in texts]


@in_virtual_time
async def test_a_frame_is_carried_out_at_once_and_wakes_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing has to be waited for, the door may hand over the next one."""
    monkeypatch.setattr(reading, "perf_counter", lambda: 0.0)  # a busy machine would have it take turns
    door = Door()
    ana, bob = await Script.begin(door), await Script.begin(door)
    assert bob.write() == b""
    woken = bob.woken
    assert ana.stream.received(say("hola", "adios"))
    await pass_time()
    assert bob.woken == woken + 1
    assert (ana.readied, ana.write()) == (0, b"")
    assert bob.write().count(b"\n") == 2
    for line in (ana, bob):
        line.stream.finished()
        await pass_time()
        assert line.write() == b""
        await line.serving
    assert (door.hub.clients, list(door.hub.rooms)) == (0, [])


@in_virtual_time
async def test_a_large_frame_takes_turns_and_says_when_it_is_done() -> None:
    """Until then nothing more is handed over; what is written to the others goes on meanwhile."""
    door = Door()
    ana, bob = await Script.begin(door), await Script.begin(door)
    assert not ana.stream.received(say(*("x" for _ in range(20_000))))
    assert ana.readied == 0
    heard = 0
    while not ana.readied:
        await asyncio.sleep(0.001)  # in virtual time
        heard += bob.write().count(b"\n")
    await pass_time()
    assert heard + bob.write().count(b"\n") == 20_000
    ana.stream.close()
    bob.stream.close()
    for line in (ana, bob):
        line.serving.cancel()


@in_virtual_time
async def test_a_slice_that_cannot_be_read_ends_the_stream_after_those_before_it() -> None:
    """With the error that it raised, once what is queued has gone out."""
    door = Door()
    ana, bob = await Script.begin(door), await Script.begin(door)

    def broken() -> Iterator[Sequence[Request]]:
        yield [Request(msg="hola")]
        raise CallError(ErrorCode.MALFORMED, "broken")

    assert not ana.stream.received(broken())
    await pass_time()
    assert b"hola" in bob.write()
    ana.write()
    with pytest.raises(StreamEnded, match="broken"):
        await ana.serving
    assert ana.readied == 0
    bob.stream.failed(ConnectionGone("reset"))
    await asyncio.gather(bob.serving, return_exceptions=True)  # nobody is there to be told how it ended
    assert door.hub.clients == 0


@in_virtual_time
async def test_nothing_is_called_back_after_the_end() -> None:
    """Though turns, flushes and writes are still waited for."""
    door = Door()
    ana = await Script.begin(door)
    assert not ana.stream.received(say(*("x" for _ in range(20_000))))
    ana.stream.close()
    await pass_time()
    assert ana.readied == 0
    ana.serving.cancel()
