"""What is kept of unfinished messages is bounded, and the oldest of them goes first."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcast_grpc.broker.budget import Budget
from bcast_grpc.transport import unfinished
from bcast_grpc.transport.unfinished import Unfinished

SMALL, MOST = 10, 100


class Transport(asyncio.Transport):
    """A connection that may be closed."""

    def __init__(self) -> None:
        super().__init__()
        self.is_closed = False

    def abort(self) -> None:
        """Be closed."""
        self.is_closed = True


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unfinished, "MAX_BYTES", MOST)
        patch.setattr(unfinished, "_LEAST_BYTES", MOST)
        patch.setattr(unfinished, "_SMALL_BYTES", SMALL)
        yield


def test_the_oldest_is_closed() -> None:
    """Others stay, and whoever has finished in between is no longer old."""
    bound, (first, second, third) = Unfinished(Budget()), (Transport() for _ in range(3))
    for transport in (first, second):
        bound.keep(transport, 40)
    bound.keep(first, 0)
    bound.keep(first, 40)
    bound.keep(third, 30)
    assert [one.is_closed for one in (first, second, third)] == [False, True, False]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2 * MOST)), max_size=60))
def test_no_more_is_kept_than_the_bound(steps: list[tuple[int, int]]) -> None:
    """However it comes and goes; nothing is left of those who keep nothing."""
    bound, transports = Unfinished(budget := Budget()), [Transport() for _ in range(10)]
    kept = dict.fromkeys(transports, 0)
    for number, size in steps:
        transport = transports[number]
        if not transport.is_closed:
            kept[transport] = size
            bound.keep(transport, size)
        counted = [size for one, size in kept.items() if size > SMALL and not one.is_closed]
        assert budget.used == bound._total == sum(counted) <= MOST
    for transport in transports:
        bound.forget(transport)
    assert (bound._sizes, bound._total) == ({}, 0)


def test_where_the_process_has_little_memory_less_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or it would be full of them for ever, and new clients would be refused, whatever max-memory is."""
    monkeypatch.setattr(unfinished, "_LEAST_BYTES", 0)
    bound, (first, second) = Unfinished(budget := Budget(4 * MOST)), (Transport() for _ in range(2))
    bound.keep(first, MOST - 20)
    budget.fit(MOST, "")
    bound.keep(second, 20)
    assert first.is_closed
    assert budget.unfinished == 20
