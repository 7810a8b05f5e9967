"""The bounds fit together."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from bcast_grpc.core.limits import Limits


@given(st.integers(1, 100_000), st.integers(1, 1 << 30), st.integers(1, 100_000))
@settings(deadline=None)
def test_what_is_pushed_at_once_is_far_less_than_a_queue_holds(messages: int, size: int, members: int) -> None:
    """A flush takes at most a quarter of a queue, but never nothing."""
    limits = Limits(queue_messages=messages, queue_bytes=size)
    assert 1 <= limits.batch_messages <= max(1, messages // 4)
    assert limits.batch_messages <= 4096
    assert limits.batch_bytes(members) <= size // 4


@given(st.integers(1, 99_999))
@settings(deadline=None)
def test_the_more_members_the_less_is_pushed_to_each(members: int) -> None:
    """A flush of a large room is bounded as a whole, but pushes enough to each to be worth the write."""
    limits = Limits()
    size = limits.batch_bytes(members)
    assert 32_768 <= limits.batch_bytes(members + 1) <= size
    assert size * members <= 256 * 1024 * 1024 or size == 32_768


def test_defaults_are_those_of_the_contract() -> None:
    """Text and data 64 KiB, name 64 and room 128 characters, ids 128 bytes."""
    limits = Limits()
    assert (limits.max_message_bytes, limits.max_name, limits.max_room, limits.max_id_bytes) == (65_536, 64, 128, 128)
