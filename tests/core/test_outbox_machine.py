"""An outbox does what a plain queue of bytes would, whatever happens to it in whatever order."""

from __future__ import annotations

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bcast_grpc.core.batch import Frame

from .outboxes import FRAME_BYTES, outbox_of, taken

PIECES = st.lists(st.builds(Frame, st.binary(min_size=1, max_size=14), st.integers(1, 3)), min_size=1, max_size=4)


class OutboxMachine(RuleBasedStateMachine):
    """An outbox beside a plain deque."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox, self.wakes = outbox_of(max_messages=9, max_bytes=30)
        self.model: deque[Frame] = deque()
        self.idle = False
        self.deferred = False

    @property
    def messages(self) -> int:
        """How many messages are queued."""
        return sum(count for _, count, *_ in self.model)

    @property
    def size(self) -> int:
        """How many bytes are queued."""
        return sum(len(data) for data, *_ in self.model)

    @rule(pieces=PIECES)
    def offer(self, pieces: list[Frame]) -> None:
        """An offer is taken whole where it fits, refused where not; an idle writer is woken for it."""
        fits = (
            self.messages + sum(count for _, count, *_ in pieces) <= 9
            and self.size + sum(len(data) for data, *_ in pieces) <= 30
        )
        before = len(self.wakes)
        assert self.outbox.offer(pieces) is fits
        assert len(self.wakes) - before == (fits and self.idle)
        if fits:
            self.model.extend(pieces)
            self.idle = False
        self.deferred = False

    @rule(piece=st.builds(Frame, st.binary(min_size=1, max_size=14), st.integers(1, 10)))
    def defer(self, piece: Frame) -> None:
        """A piece is deferred where nothing is before it, and nobody is woken."""
        before = len(self.wakes)
        deferred = self.idle and piece.events <= 9
        assert self.outbox.defer(piece) is deferred
        assert len(self.wakes) == before
        if deferred:
            self.model.append(piece)
            self.idle, self.deferred = False, True

    @rule(room=st.booleans())
    def send(self, room: bool) -> None:
        """A piece that was deferred is written if there is room, and nothing came behind it; else a writer is woken."""
        before = len(self.wakes)
        lines: list[bytes] = []

        def write_now(data: bytes) -> bool:
            lines.append(data)
            return room

        self.outbox.write_now = write_now
        written = self.deferred and room
        assert self.outbox.send() is written
        assert len(self.wakes) - before == (not written)
        if written:
            assert lines == [self.model.popleft()[0]]
            self.idle = True
        self.deferred = False

    @rule()
    def take(self) -> None:
        """What is taken is the longest run of pieces from the front that makes a frame."""
        expected = b""
        while self.model and (not expected or len(expected) + len(self.model[0][0]) <= FRAME_BYTES):
            expected += self.model.popleft()[0]
        assert self.outbox.take() == (expected or None)
        self.idle, self.deferred = not expected, False

    @precondition(lambda self: not self.model)
    @rule()
    def find_empty(self) -> None:
        """Nothing is there when nothing was offered."""
        assert self.outbox.take() is None
        self.idle = True

    @invariant()
    def bounds_are_kept(self) -> None:
        """What is queued is what was offered and not taken, and never more than the bounds."""
        assert (self.outbox.queued_messages, self.outbox.queued_bytes) == (self.messages, self.size)
        assert self.messages <= 9
        assert self.size <= 30
        assert self.outbox.idle is self.idle
        assert self.outbox.half_full is (self.messages > 4 or self.size > 15)


OutboxMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestOutbox = OutboxMachine.TestCase


@given(st.lists(PIECES, max_size=10), st.integers(0, 40))
@settings(deadline=None)
def test_frames_are_the_pieces_in_order(offers: list[list[Frame]], frame_bytes: int) -> None:
    """Joined or not, the bytes come out as they went in, and only single pieces are larger than a frame may be."""
    outbox, _ = outbox_of(max_messages=1000, max_bytes=1000, frame_bytes=frame_bytes)
    pieces = [data for offer in offers for data, *_ in offer]
    for offer in offers:
        assert outbox.offer(offer)
    frames = taken(outbox)
    assert b"".join(frames) == b"".join(pieces)
    assert all(len(frame) <= frame_bytes or frame in pieces for frame in frames)
