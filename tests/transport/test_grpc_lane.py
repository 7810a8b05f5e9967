"""The fast way to write to the only call of a connection: it keeps the windows, and ends when anything else happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bcast_grpc.http2 import frames
from bcast_grpc.http2.limits import DEFAULT_WINDOW
from bcast_grpc.http2.states import Kind
from bcast_grpc.transport.grpc.chat_call import ChatCall
from bcast_grpc.transport.grpc.lane import MOST_BYTES, Framings, Lane
from bcast_grpc.transport.grpc.writer import Writer
from tests.http2.peer import feed, headers, opened

from .test_grpc_writer import Wire, long_writes


class Caller:
    """A call with a lane, as its connection sees it.

    Attributes:
        slow: how many pieces went the usual way.
        faults: what was raised.
    """

    stream_id = 1
    sent = 0
    queued = blocked = False

    def __init__(self, writer: Writer) -> None:
        self.slow = 0
        self.faults: list[Exception] = []
        self._writer = writer

    def write_now(self, piece: bytes) -> bool:
        """Write a piece the usual way."""
        self.slow += 1
        return self._writer.send_now(cast("ChatCall", self), piece)

    def write(self) -> bool:
        """Have nothing more to say."""
        return False

    def fault(self, raised: Exception) -> None:
        """End with an error."""
        self.faults.append(raised)


class Line:
    """A connection with one call, and its lane."""

    def __init__(self) -> None:
        self.h2, self.wire = opened(), Wire()
        feed(self.h2, headers(1))
        self.h2.data_to_send()
        self.writer = Writer(self.h2, self.wire, long_writes(), "")
        self.call = Caller(self.writer)
        frame = Framings().of(1, prefixed=True)
        self.lane = Lane(cast("ChatCall", self.call), frame, self.wire, self.writer)

    def data(self) -> list[bytes]:
        """What was written as DATA."""
        at, found, written = 0, [], self.wire.written
        while at < len(written):
            end = at + frames.HEADER_SIZE + int.from_bytes(written[at : at + 3])
            if written[at + 3] == Kind.DATA:
                found.append(written[at + frames.HEADER_SIZE : end])
            at = end
        return found


async def test_what_follows_at_once_goes_the_fast_way() -> None:
    """The first piece shows that nothing else happens on the connection."""
    line = Line()
    pieces = [b"one", b"two", b"three", b"four"]
    assert all(line.lane.write(piece) for piece in pieces)
    assert line.data() == pieces
    assert line.call.slow == 1


@pytest.mark.parametrize(
    "happen",
    [
        lambda line: line.writer.add(line.call),
        lambda line: line.writer.pause(),
        lambda line: line.writer.send_headers(1, b"", ended=True),
        lambda line: line.writer.send_data(line.call, b"more"),
        lambda line: line.writer.end(),
        lambda line: line.writer.stop([]),
    ],
    ids=["its turn", "no room", "last fields", "more data", "half-closed", "lost"],
)
async def test_whatever_else_happens_it_ends(happen: Callable[[Line], None]) -> None:
    """What was written is counted before that, and the next piece goes the usual way."""
    line = Line()
    for piece in (b"one", b"two", b"three"):
        line.lane.write(piece)
    happen(line)
    assert line.call.sent >= len(b"onetwothree")
    assert line.h2.window == DEFAULT_WINDOW - line.call.sent
    slow = line.call.slow
    line.lane.write(b"four")
    assert line.call.slow == slow + 1


async def test_long_pieces_go_the_usual_way() -> None:
    """In their place."""
    line = Line()
    pieces = [b"one", b"two", b"three", bytes(MOST_BYTES + 1), b"five"]
    assert all(line.lane.write(piece) for piece in pieces)
    assert line.data() == pieces


async def test_nothing_is_written_to_a_connection_that_is_closing() -> None:
    """Its transport would raise."""
    line = Line()
    for piece in (b"one", b"two", b"three"):
        line.lane.write(piece)
    line.wire.is_closing = lambda: True  # type: ignore[method-assign]
    assert not line.lane.write(b"four")
    assert line.data() == [b"one", b"two", b"three"]


async def test_a_fault_ends_the_call_later() -> None:
    """Not in the middle of a flush."""

    def fail(_: bytes) -> None:
        raise ZeroDivisionError

    line = Line()
    line.lane.write(b"one")
    line.lane.write(b"two")
    line.wire.write = fail  # type: ignore[assignment]
    assert line.lane.write(b"three")
    assert not line.call.faults
    await asyncio.sleep(0)
    assert [type(raised) for raised in line.call.faults] == [ZeroDivisionError]


class Windows(RuleBasedStateMachine):
    """A line beside what its client has allowed."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.line = self.loop.run_until_complete(self._make())
        self.connection = self.stream = DEFAULT_WINDOW  # what the client has allowed in all
        self.pieces: list[bytes] = []

    async def _make(self) -> Line:
        return Line()

    def teardown(self) -> None:
        """Close the loop."""
        self.loop.close()

    @rule(sizes=st.lists(st.integers(1, MOST_BYTES + 10), min_size=1, max_size=6))
    def write(self, sizes: list[int]) -> None:
        """Pieces are written whole or not at all."""
        for size in sizes:
            piece = bytes([len(self.pieces) % 256]) * size
            if self.line.lane.write(piece):
                self.pieces.append(piece)

    @rule(on_stream=st.booleans(), by=st.integers(1, 40_000))
    def open(self, on_stream: bool, by: int) -> None:
        """The client allows more."""
        self._hear(frames.window_update(int(on_stream), by))
        self.stream += by * on_stream
        self.connection += by * (not on_stream)

    @rule(size=st.integers(0, 2 * DEFAULT_WINDOW))
    def set_initial(self, size: int) -> None:
        """The client changes what streams may have at first, and this stream with it."""
        self.stream += size - self.initial
        self.initial = size
        self._hear(frames.settings_frame({4: size}))

    initial = DEFAULT_WINDOW

    def _hear(self, data: bytes) -> None:
        self.line.writer.settle()  # as the reader does
        feed(self.line.h2, data)
        self.line.h2.data_to_send()

    @rule()
    def settle(self) -> None:
        """What was written is counted."""
        self.line.writer.settle()
        sent = sum(map(len, self.pieces))
        assert self.line.h2.window == self.connection - sent
        assert self.line.h2.room(1) == max(0, min(self.connection, self.stream) - sent)
        assert self.line.call.sent == sent

    @invariant()
    def all_is_written_in_order(self) -> None:
        """And nothing else."""
        assert b"".join(self.line.data()) == b"".join(self.pieces)

    @rule()
    def fill(self) -> None:
        """Pieces are written until there is no room; never more than the client has allowed before."""
        before = sum(map(len, self.pieces))
        self.write([1000] * 200)
        sent = sum(map(len, self.pieces))
        assert sent == before or sent <= min(self.connection, self.stream)


Windows.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestWindows = Windows.TestCase
