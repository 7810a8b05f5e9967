"""How often each client may send."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcast_grpc.core import rate
from bcast_grpc.core.rate import RateLimits


class Time:
    """A clock that is moved by hand."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time that it was moved to."""
        return self.now


def test_a_burst_may_go_at_once() -> None:
    """A client that was silent may send ``burst`` messages at once, and not one more."""
    rates = RateLimits(10, 3, Time(1000))
    assert [rates.take("ana") for _ in range(4)] == [0, 0, 0, pytest.approx(0.1)]


@pytest.mark.parametrize("now", [0.0, 0.05, 1e6])
def test_a_burst_may_go_whatever_the_clock_says(now: float) -> None:
    """A clock that began just now is as good as one that has run for days."""
    rates = RateLimits(1, 3, Time(now))
    assert [rates.take("ana") for _ in range(3)] == [0, 0, 0]


def test_a_bucket_is_refilled_with_time() -> None:
    """After the wait that it was told, a client may send one more."""
    time = Time(1000)
    rates = RateLimits(10, 1, time)
    assert rates.take("ana") == 0
    wait_s = rates.take("ana")
    time.now += wait_s * 0.99
    assert rates.take("ana") > 0
    time.now += wait_s * 0.02
    assert rates.take("ana") == 0


def test_refused_messages_come_back_one_after_the_other() -> None:
    """Each is given a token of its own, so all of them are accepted at their times, in their order."""
    time = Time(1000)
    rates = RateLimits(10, 2, time)
    waits = [rates.take("ana") for _ in range(7)]
    assert waits == [0, 0, *(pytest.approx(0.1 * n) for n in range(1, 6))]
    for wait_s in waits[2:]:
        time.now = 1000 + wait_s
        assert rates.take("ana") == 0


def test_a_refused_message_costs_nothing() -> None:
    """However many were refused and never came again, the next one goes as soon as there is a token."""
    time = Time(1000)
    rates = RateLimits(10, 1, time)
    for _ in range(1000):
        rates.take("ana")
    time.now += 0.1
    assert rates.take("ana") == 0


def test_promises_are_bounded_and_expire() -> None:
    """Nobody is sent away for more than a minute, unless a token takes longer; what nobody came for is forgotten."""
    time = Time(1000)
    rates = RateLimits(10, 1, time)
    assert max(rates.take("ana") for _ in range(10_000)) == pytest.approx(60)
    time.now += 61
    assert [rates.take("ana") for _ in range(3)] == [0, pytest.approx(0.1), pytest.approx(0.2)]
    slow = RateLimits(0.01, 1, time)
    assert [slow.take("ana") for _ in range(3)] == [0, pytest.approx(100), pytest.approx(100)]


def test_clients_have_a_bucket_each() -> None:
    """One client's messages are no concern of another's."""
    rates = RateLimits(10, 1, Time(1000))
    assert (rates.take("ana"), rates.take("bob")) == (0, 0)


@given(
    st.floats(0.1, 1000),
    st.integers(1, 20),
    st.floats(0, 1e5),
    st.lists(st.floats(0, 0.5) | st.just(0.0), min_size=1, max_size=60),
)
@settings(deadline=None)
def test_no_window_holds_more_than_burst_and_rate_allow(
    rate: float, burst: int, start: float, steps: list[float]
) -> None:
    """In any time ``t`` at most ``burst + rate * t`` messages are let through."""
    time = Time(start)
    rates = RateLimits(rate, burst, time)
    let_through = []
    for step in steps:
        time.now += step
        if not rates.take("ana"):
            let_through.append(time.now)
    for first, began in enumerate(let_through):
        for last, ended in enumerate(let_through[first:], first):
            assert last - first + 1 <= burst + rate * (ended - began) + 1e-4


@given(st.floats(0.1, 1000), st.integers(1, 20), st.floats(0, 1e5), st.lists(st.floats(0, 0.5), max_size=40))
@settings(deadline=None)
def test_nobody_waits_without_need(rate: float, burst: int, start: float, steps: list[float]) -> None:
    """A message is refused only where a bucket of ``burst`` tokens, refilled at ``rate``, is empty."""
    time = Time(start)
    rates = RateLimits(rate, burst, time)
    tokens = float(burst)
    for step in steps:
        time.now += step
        tokens = min(burst, tokens + rate * step)
        wait_s = rates.take("ana")
        if wait_s:
            assert tokens < 1 + 1e-4
            assert (1 - tokens) / rate - 1e-4 <= wait_s <= max((1 - tokens) / rate, 60) + 1e-4
        else:
            tokens -= 1


def test_thirds_of_a_second_add_up() -> None:
    """A client that sends at exactly its rate is never refused."""
    time = Time(1000)
    rates = RateLimits(3, 1, time)
    for message in range(10_000):
        time.now = 1000 + message / 3
        assert rates.take("ana") == 0


# --- forgetting


def test_full_buckets_are_forgotten() -> None:
    """Clients that came, sent and went take no memory for ever."""
    time = Time(1000)
    rates = RateLimits(10, 1, time)
    for number in range(10_000):
        time.now += 0.01
        rates.take(f"client {number}")
    assert len(rates._empty_at) <= 1025


def test_buckets_that_are_not_full_are_kept() -> None:
    """However many clients there are, none of them gets more than its rate."""
    rates = RateLimits(10, 1, Time(1000))
    clients = [f"client {number}" for number in range(3000)]
    assert all(rates.take(client) == 0 for client in clients)
    assert all(rates.take(client) > 0 for client in clients)


def test_what_is_kept_of_clients_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many keys clients make up; those that have sent most are not forgotten for that."""
    monkeypatch.setattr(rate, "_MAX_KEYS", 2000)
    time = Time(1000)
    rates = RateLimits(0.001, 5, time)
    assert [rates.take("ana") for _ in range(5)] == [0] * 5
    for number in range(10_000):
        assert rates.take(f"nobody {number}") == 0
        time.now += 1e-6
        rates.take("ana")
    assert len(rates._empty_at) <= 2001
    assert len(rates._promised) <= 2001
    assert rates.take("ana") > 0


def test_what_was_sent_at_another_server_counts_here() -> None:
    """Each server tells what subjects, and clients with an id of their own, have sent since it was asked last."""
    now = [0.0]
    here, there = [RateLimits(1, 4, lambda: now[0]) for _ in range(2)]
    assert here.used() == []
    for key in ("@ana", "@ana", ":bob's", "session"):
        assert here.take(key) == 0
    assert here.used() == [("@ana", 2), (":bob's", 1)]
    assert here.used() == []
    there.charge("@ana", 2)
    assert [there.take("@ana") for _ in range(3)] == [0, 0, 1]
    there.charge("@ana", 1_000_000)
    assert there.take("@ana") == pytest.approx(61)
    now[0] = 61.0
    assert there.take("@ana") == 0
