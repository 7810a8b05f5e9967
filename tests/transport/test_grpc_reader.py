"""The reading half of a gRPC connection: in turns, and all that has come by then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from bcast_grpc.http2.events import DataReceived
from bcast_grpc.transport.grpc.reader import MOST_KEPT_BYTES, MOST_KEPT_SEGMENTS, Reader
from bcast_grpc.transport.grpc.writer import Writer
from bcast_grpc.transport.turns import Turns
from tests.http2.peer import data, feed, headers, opened

from .test_grpc_writer import long_writes


class Wire(asyncio.Transport):
    """Knows whether it is read from."""

    def __init__(self) -> None:
        super().__init__()
        self.paused = False

    def pause_reading(self) -> None:
        """Stop."""
        self.paused = True

    def resume_reading(self) -> None:
        """Go on."""
        self.paused = False

    def is_closing(self) -> bool:
        """It is open."""
        return False


class Queue:
    """Turns that somebody else has first."""

    scarce = True
    used_up = False

    def __init__(self) -> None:
        self.waiting: list[Callable[[], bool]] = []

    def call(self, _: str, turn: Callable[[], bool]) -> None:
        """Have it wait."""
        self.waiting.append(turn)

    def worked(self, seconds: float) -> None:
        """Count nothing."""


class Reading:
    """A connection that has to wait for its turn, and what it read."""

    def __init__(self) -> None:
        self.turns, self.wire = Queue(), Wire()
        self.read: list[bytes] = []
        h2 = opened()
        feed(h2, headers(1))
        h2.data_to_send()
        writer, turns = Writer(h2, self.wire, long_writes(), ""), cast("Turns", self.turns)
        self.reader = Reader(h2, self.wire, writer, turns, "", self.take, lambda _: None)

    def take(self, event: DataReceived) -> None:
        """Note what came."""
        self.read += event.payloads


async def test_a_turn_is_for_all_that_has_come_by_then() -> None:
    """Not for the first segment alone, with which it was asked for."""
    reading = Reading()
    for text in (b"one", b"two", b"three"):
        reading.reader.receive(data(1, text))
    assert (reading.read, reading.wire.paused, len(reading.turns.waiting)) == ([], False, 1)
    assert reading.turns.waiting[0]()
    assert reading.read == [b"one", b"two", b"three"]


async def test_what_is_taken_in_before_a_turn_is_bounded() -> None:
    """In bytes and in segments; after the turn there is room again."""
    for segment, count in ((data(1, bytes(MOST_KEPT_BYTES // 4)), 4), (data(1, b"x"), MOST_KEPT_SEGMENTS)):
        reading = Reading()
        reading.reader.receive(data(1, b"first"))
        for _ in range(count):
            assert not reading.wire.paused
            reading.reader.receive(segment)
        assert reading.wire.paused
        reading.turns.waiting[0]()
        assert not reading.wire.paused
        assert len(reading.read) == 1 + count


async def test_after_a_turn_that_was_too_short_nothing_more_is_taken_in() -> None:
    """Until what is there has been read."""
    reading = Reading()
    reading.turns.used_up = True
    reading.reader.receive(data(1, b"one"))
    reading.turns.waiting[0]()
    assert (reading.wire.paused, len(reading.turns.waiting)) == (True, 2)
    reading.turns.used_up = False
    reading.turns.waiting[1]()
    assert not reading.wire.paused
