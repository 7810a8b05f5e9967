"""How long it waits before it tries again."""

from __future__ import annotations

import pytest

from bcast_grpc.client.backoff import Backoff


@pytest.fixture(autouse=True)
def at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chance is at its worst."""
    monkeypatch.setattr("random.uniform", lambda _, most: most)


def test_the_bound_doubles_with_each_try_up_to_the_largest() -> None:
    """So that a server that is gone for long is asked seldom."""
    backoff = Backoff(0.1, 1.0)
    assert [backoff.pause_s() for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_it_begins_anew_after_a_connection_that_lasted() -> None:
    """One that is cut at once again was no success."""
    backoff = Backoff(0.1, 1.0)
    for for_s, next_s in ((0.0, 0.1), (0.5, 0.2), (1.0, 0.4), (1.1, 0.1)):
        backoff.connected(for_s)
        assert backoff.pause_s() == next_s


@pytest.mark.parametrize(("first_s", "max_s"), [(0, 1), (-1, 1), (2, 1)])
def test_what_would_hammer_or_shrink_is_refused(first_s: float, max_s: float) -> None:
    """Before anything is tried."""
    with pytest.raises(ValueError, match="more than 0 and at most max_retry_s"):
        Backoff(first_s, max_s)
