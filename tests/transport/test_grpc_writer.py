"""The writing half of a gRPC connection: what is written at once, and what waits for its turn."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from bcast_grpc.http2 import Connection as Http2
from bcast_grpc.http2.frames import window_update
from bcast_grpc.transport.grpc import writer as writing
from bcast_grpc.transport.grpc.call import Call
from bcast_grpc.transport.grpc.writer import PUMP_S, RECHECK_S, Writer
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


def opened_writer(*streams: int) -> tuple[Writer, Wire, Http2]:
    """A writer of a connection with these streams, and what it writes to."""
    h2, wire = opened(), Wire()
    feed(h2, *(headers(stream) for stream in streams))
    h2.data_to_send()
    return Writer(h2, wire), wire, h2


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


async def test_a_call_with_much_to_say_takes_turns_with_all_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it is the only one, and its client reads as fast as it writes."""
    now = 0.0

    class Talker(Caller):
        """A call that always has more to say."""

        def write(self) -> bool:
            """Write for a while."""
            nonlocal now
            now += PUMP_S / 4
            return True

    monkeypatch.setattr(writing, "perf_counter", lambda: now)
    writer, _, _ = opened_writer(1)
    writer.add(cast("Call", Talker()))
    writer.pump()
    assert PUMP_S <= now <= 2 * PUMP_S
    before = now
    await asyncio.sleep(0)
    assert before < now <= before + 2 * PUMP_S


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
