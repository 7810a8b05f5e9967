"""Frames that go out: whole, in order, and neither copied nor made anew for each of many."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bcast_grpc.http2 import frames as wire
from bcast_grpc.http2.reader import Reader

SIZES = st.sampled_from([1, 71, 2048, 2049, 16_384, 16_385, 65_536, 65_537, 200_000])


def payload_of(pieces: list[bytes | memoryview], stream_id: int) -> bytes:
    """What DATA frames carry."""
    reader = Reader()
    reader.add(wire.PREFACE + b"".join(pieces))
    payload = b""
    while (frames := reader.next()) is not None:
        kind, flags, number, parts, _ = frames
        assert (kind, flags, number) == (0, 0, stream_id)
        payload += b"".join(parts)
    return payload


@given(st.lists(SIZES, min_size=1, max_size=5), st.integers(1, 4), st.booleans())
def test_data_is_whole_however_often_it_is_sent(sizes: list[int], times: int, view: bool) -> None:
    """Whatever its size is, and whether or not it is shared."""
    payloads = [bytes([n]) * size for n, size in enumerate(sizes)]
    for _ in range(times):
        for data in payloads:
            for stream_id in (1, 3):
                pieces = wire.data_frames(memoryview(data) if view else data, stream_id, wire.SMALLEST_MAX_FRAME)
                assert payload_of(list(pieces), stream_id) == data


def test_what_goes_to_many_is_made_into_frames_once() -> None:
    """One piece, the same for all; for the first it was not copied."""
    data = bytes(60_000)
    first, second, third = (wire.data_frames(data, 1, wire.SMALLEST_MAX_FRAME) for _ in range(3))
    assert all(isinstance(piece, memoryview) and piece.obj is data for piece in first[1::2])
    assert len(second) == 1
    assert third[0] is second[0]


def test_equal_payloads_are_not_mixed_up_when_their_number_is_used_again() -> None:
    """Thousands come and go, and each is sent as it is."""
    for n in range(1000):
        data = n.to_bytes(4, "big") * 1000
        assert payload_of(list(wire.data_frames(data, 1, wire.SMALLEST_MAX_FRAME)), 1) == data
