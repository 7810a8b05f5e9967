"""Frames are cut between events, and nowhere else."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import from_json

from bcast_grpc.events import Event
from bcast_grpc.wire import json_events, protobuf

from .values import EVENTS


@given(st.lists(EVENTS, min_size=1, max_size=20), st.integers(1, 600))
@settings(deadline=None)
def test_pieces_are_frames_of_the_same_events(events: list[Event], max_bytes: int) -> None:
    """In order, none larger than asked for unless it is a single event."""
    ((frame, _),) = protobuf.encode_batches(events)
    pieces = list(protobuf.split_batches(frame, max_bytes))
    assert b"".join(pieces) == frame
    counts = [len(protobuf.decode_events(piece)) for piece in pieces]
    assert sum(counts) == len(events)
    assert all(count == 1 or len(piece) <= max_bytes for count, piece in zip(counts, pieces, strict=True))

    ((frame, _),) = json_events.encode_lines(events)
    pieces = list(json_events.split_lines(frame, max_bytes))
    assert b"".join(pieces) == frame
    assert all(piece.endswith(b"\n") for piece in pieces)
    assert all(piece.count(b"\n") == 1 or len(piece) <= max_bytes for piece in pieces)

    ((frame, _),) = json_events.encode_arrays(events)
    pieces = list(json_events.split_arrays(frame, max_bytes))
    assert b"".join(pieces) == frame
    arrays = [from_json(json_events.close_array(piece)) for piece in pieces]
    assert [event for array in arrays for event in array] == from_json(json_events.close_array(frame))
    assert all(len(array) == 1 or len(piece) <= max_bytes for array, piece in zip(arrays, pieces, strict=True))
