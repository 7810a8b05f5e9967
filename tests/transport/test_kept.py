"""What calls keep of messages is bounded, and those go first that wait for their own client."""

from __future__ import annotations

from typing import cast

import pytest

from bcast_grpc.broker.budget import Budget
from bcast_grpc.transport import unfinished
from bcast_grpc.transport.grpc import kept
from bcast_grpc.transport.grpc.call import Call
from bcast_grpc.transport.grpc.kept import Kept


class Keeper:
    """A call that keeps something."""

    def __init__(self, carrier: object, *, is_waited_for: bool) -> None:
        self.carrier = carrier
        self.is_waited_for = is_waited_for


def keeper(carrier: object = "", *, is_waited_for: bool = True) -> Call:
    """A call of that connection."""
    return cast("Call", Keeper(carrier or object(), is_waited_for=is_waited_for))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfinished, "MAX_BYTES", 100)
    monkeypatch.setattr(unfinished, "_LEAST_BYTES", 100)
    monkeypatch.setattr(kept, "MAX_WAITING_BYTES", 200)
    monkeypatch.setattr(kept, "MAX_CONNECTION_BYTES", 60)
    monkeypatch.setattr(kept, "_STEP_BYTES", 10)


def test_a_connection_ends_its_oldest_call_if_it_goes_too_far() -> None:
    """One client of a proxy that finishes nothing is not in the way of another; other connections are none of it."""
    bounded = Kept(Budget(2**30))
    first, second = keeper("shared"), keeper("shared")
    assert bounded.keep(first, 30) is None
    assert bounded.keep(second, 30) is None
    assert bounded.keep(first, 31) is first
    assert bounded.keep(second, 31) is first
    assert bounded.keep(first, 0) is None
    assert bounded.keep(second, 60) is None


def test_the_oldest_that_waits_for_its_client_ends() -> None:
    """And nobody else, as long as there is one."""
    bounded = Kept(Budget(2**30))
    honest, slow, newer = keeper(is_waited_for=False), keeper(), keeper()
    assert bounded.keep(honest, 50) is None
    assert bounded.keep(slow, 50) is None
    assert bounded.keep(newer, 10) is slow
    assert bounded.keep(slow, 0) is None
    assert bounded.keep(honest, 51) is None


def test_those_who_wait_for_the_server_may_keep_more() -> None:
    """Past the higher bound the oldest ends."""
    bounded = Kept(Budget(2**30))
    calls = [keeper(is_waited_for=False) for _ in range(6)]
    assert [bounded.keep(call, 40) for call in calls] == [None] * 5 + [calls[0]]


def test_little_memory_bounds_what_waits_for_the_server() -> None:
    """To a quarter of it, or to what may wait for clients."""
    for max_memory, fit in ((10, 2), (600, 3), (2**30, 5)):
        bounded = Kept(Budget(max_memory))
        calls = [keeper(is_waited_for=False) for _ in range(fit + 1)]
        assert [bounded.keep(call, 40) for call in calls] == [None] * fit + [calls[0]]


def test_nothing_is_left_of_those_who_keep_nothing() -> None:
    """However they came to it."""
    bounded = Kept(budget := Budget(2**30))
    calls = [keeper("shared") for _ in range(3)]
    for call in calls:
        bounded.keep(call, 10)
        bounded.keep(call, 20)
    for call in calls:
        bounded.keep(call, 0)
    assert (bounded._sizes, bounded._connections, bounded._total) == ({}, {}, 0)
    assert budget.used == 0


def test_where_the_process_has_little_memory_less_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or it would be full of them for ever, and new clients would be refused, whatever max-memory is."""
    monkeypatch.setattr(unfinished, "_LEAST_BYTES", 0)
    bounded = Kept(budget := Budget(400))
    first, second = keeper(), keeper()
    assert bounded.keep(first, 50) is None
    budget.fit(100, "")
    assert bounded.keep(second, 20) is first
