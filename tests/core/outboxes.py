"""Outboxes for tests."""

from __future__ import annotations

from collections.abc import Sequence

from bcast_grpc.core.batch import Encoder, Piece
from bcast_grpc.core.outbox import Outbox

FRAME_BYTES = 10


def nothing(_: object) -> Sequence[Piece]:
    """Encode nothing: what is offered here is bytes already."""
    return []


def outbox_of(
    max_messages: int = 100, max_bytes: int = 1000, frame_bytes: int = FRAME_BYTES
) -> tuple[Outbox, list[int]]:
    """An empty outbox, and a list that grows with every wake."""
    wakes: list[int] = []
    encoder = Encoder(nothing, frame_bytes)
    return Outbox(encoder, max_messages=max_messages, max_bytes=max_bytes, wake=lambda: wakes.append(1)), wakes


def taken(outbox: Outbox) -> list[bytes]:
    """All that can be taken."""
    frames = []
    while (frame := outbox.take()) is not None:
        frames.append(frame)
    return frames
