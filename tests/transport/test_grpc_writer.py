"""The writing half of a gRPC connection: what is written at once, and what waits for its turn."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from bcast_grpc.http2 import Connection as Http2
from bcast_grpc.http2.frames import window_update
from bcast_grpc.http2.limits import DEFAULT_WINDOW
from bcast_grpc.transport import turns as sharing
from bcast_grpc.transport.grpc import writer as writing
from bcast_grpc.transport.grpc.call import Call
from bcast_grpc.transport.grpc.writer import RECHECK_S, Writer
from bcast_grpc.transport.turns import Turns
from tests.http2.peer import feed, headers, opened


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes) -> None:  # type: ignore[override]
        """Write."""
        self.written += data

    def writelines(self, pieces: Sequence[bytes]) -> None:  # type: ignore[override]
        """Write."""
        self.written += b"".join(pieces)

    def is_closing(self) -> bool:
        """It is open."""
        return False


class Caller:
    """A call as its connection sees it."""

    stream_id = 1
    sent = 0
    queued = blocked = False

    def write(self) -> bool:
        """Have nothing more to say."""
        return False


def opened_writer(*streams: int, turns: Turns | None = None, peer: str = "") -> tuple[Writer, Wire, Http2]:
    """A writer of a connection with these streams, and what it writes to."""
    h2, wire = opened(), Wire()
    feed(h2, *(headers(stream) for stream in streams))
    h2.data_to_send()
    return Writer(h2, wire, turns or long_writes(), peer), wire, h2


def long_writes() -> Turns:
    """The turns of those who have much to write."""
    return Turns(asyncio.get_running_loop(), several=lambda: True)


async def test_what_the_only_call_has_to_say_is_written_at_once() -> None:
    """It is counted, and nothing is left for later."""
    writer, wire, _ = opened_writer(1)
    call = cast("Call", Caller())
    assert writer.send_now(call, b"hola")
    assert wire.written.endswith(b"hola")
    assert call.sent == 4


async def test_what_there_is_no_room_for_waits() -> None:
    """Neither the system's nor the client's."""
    writer, wire, _ = opened_writer(1)
    call = cast("Call", Caller())
    assert not writer.send_now(call, bytes(70_000))
    writer.paused = True
    assert not writer.send_now(call, b"hola")
    assert (wire.written, call.sent) == (b"", 0)


async def test_what_many_calls_have_to_say_is_collected() -> None:
    """A write for each of them would cost more, and one that waits for its turn has it first."""
    writer, wire, _ = opened_writer(1, 3)
    call = cast("Call", Caller())
    assert not writer.send_now(call, b"hola")
    alone, wire, _ = opened_writer(1)
    alone.add(call)
    assert not alone.send_now(call, b"hola")
    assert wire.written == b""


class Clock:
    """A clock that only writing moves."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        patch.setattr(writing, "perf_counter", lambda: self.now)
        patch.setattr(sharing, "BUDGET_S", 1.0)


class Talker(Caller):
    """A call that has so many pieces to write, each of which takes a quarter of what a pass has time for."""

    def __init__(self, clock: Clock, left: int = 1000) -> None:
        self.clock, self.left = clock, left

    def write(self) -> bool:
        """Write a piece."""
        self.clock.now += 0.25
        self.left -= 1
        return self.left > 0


async def test_a_call_with_much_to_say_takes_turns_with_all_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it is the only one, and its client reads as fast as it writes."""
    clock = Clock(monkeypatch)
    writer, _, _ = opened_writer(1)
    writer.add(cast("Call", Talker(clock)))
    writer.pump()
    for passes in range(1, 10):
        assert clock.now == passes
        await asyncio.sleep(0)


async def test_many_calls_with_little_to_say_take_turns_with_all_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of one connection."""
    clock = Clock(monkeypatch)
    streams = range(1, 80, 2)
    writer, _, _ = opened_writer(*streams)
    for _ in streams:
        writer.add(cast("Call", Talker(clock, 1)))
    writer.pump()
    for passes in range(1, 11):
        assert clock.now == passes
        await asyncio.sleep(0)
    assert clock.now == 10


async def test_connections_with_much_to_say_share_what_a_pass_has_time_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, and all get on alike, also one that had no room when it was its turn."""
    clock, turns = Clock(monkeypatch), long_writes()
    talkers = [Talker(clock) for _ in range(10)]
    writers = []
    for number, talker in enumerate(talkers):
        writer, _, _ = opened_writer(1, turns=turns, peer=f"192.0.2.{number}:1")
        writer.add(cast("Call", talker))
        writer.pump()
        writers.append(writer)
    for _ in range(10):
        writers[0].pause()
        before, lefts = clock.now, [talker.left for talker in talkers]
        await asyncio.sleep(0)
        writers[0].paused = False
        for writer in writers:  # their clients have read, or have opened their windows
            writer.pump()
        assert clock.now == before + 1.0
        assert max(left - talker.left for left, talker in zip(lefts, talkers, strict=True)) == 1
    lefts = [talker.left for talker in talkers]
    for _ in range(10):
        await asyncio.sleep(0)
    assert {left - talker.left for left, talker in zip(lefts, talkers, strict=True)} == {4}


async def test_what_is_short_does_not_wait_behind_what_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """As messages that are said now, beside histories."""
    clock, turns = Clock(monkeypatch), long_writes()
    for number in range(10):
        long, _, _ = opened_writer(1, turns=turns, peer=f"192.0.2.{number}:1")
        long.add(cast("Call", Talker(clock)))
        long.pump()
    assert turns.scarce
    short, _, _ = opened_writer(1, turns=turns, peer="192.0.2.99:1")
    for _ in range(3):
        talker = Talker(clock, 1)
        short.add(cast("Call", talker))
        short.pump()
        assert not talker.left


async def test_who_has_filled_its_window_has_much_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for its turn though its client has made room."""
    clock, turns = Clock(monkeypatch), long_writes()
    writer, _, h2 = opened_writer(1, turns=turns)
    feed(h2, window_update(0, DEFAULT_WINDOW))
    talker = Talker(clock, 1)
    writer.send_data(cast("Call", talker), bytes(DEFAULT_WINDOW + 1))
    feed(h2, window_update(1, DEFAULT_WINDOW))
    turns.worked(1.0)
    writer.add(cast("Call", talker))
    writer.pump()
    assert talker.left
    await asyncio.sleep(0)
    assert not talker.left


async def test_nothing_is_written_once_it_has_ended() -> None:
    """A half-closed transport would raise, in the middle of somebody's turn."""
    writer, wire, h2 = opened_writer(1)
    h2.ping(b"earlier!")
    writer.paused = True
    writer.end()
    said = bytes(wire.written)
    assert b"earlier!" in said
    h2.ping(b"too late")
    writer.pump()
    assert not writer.send_now(cast("Call", Caller()), b"hola")
    assert wire.written == said


async def test_all_are_checked_again_only_where_one_was_blocked() -> None:
    """Many clients open the connection's window after each message."""
    writer, _, h2 = opened_writer(1)
    timers: list[float] = []
    writer._loop = cast("asyncio.AbstractEventLoop", Timers(timers))
    call = cast("Call", Caller())
    writer.recheck([call])
    assert timers == []
    feed(h2, window_update(0, 100_000))
    writer.send_data(call, bytes(70_000))
    assert call.blocked
    writer.recheck([call])
    assert timers == [RECHECK_S]


class Timers:
    """An event loop that notes for when something is due."""

    def __init__(self, timers: list[float]) -> None:
        self._timers = timers

    def call_later(self, delay_s: float, *_: object) -> None:
        """Note it."""
        self._timers.append(delay_s)
