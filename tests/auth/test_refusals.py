"""Addresses that keep presenting wrong tokens."""

from __future__ import annotations

import pytest

from bcast_grpc.auth import refusals
from bcast_grpc.auth.refusals import Refusals
from bcast_grpc.core.peers import network_of


def test_ten_within_a_minute_are_too_many() -> None:
    """For a minute; then it is counted anew. Others are not affected."""
    now = 0.0
    counted = Refusals(lambda: now)
    assert [counted.add("a") for _ in range(10)] == [False] * 9 + [True]
    assert (counted.wait_s("a"), counted.wait_s("b")) == (60, 0)
    now = 60.0
    assert counted.wait_s("a") == 0
    assert not counted.add("a")


def test_ten_in_more_than_a_minute_are_not() -> None:
    """A client with an old token tries now and then."""
    now = 0.0
    counted = Refusals(lambda: now)
    for _ in range(50):
        assert not counted.add("a")
        now += 7


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many addresses there are."""
    monkeypatch.setattr(refusals, "MAX_NETWORKS", 100)
    counted = Refusals(lambda: 0.0)
    for number in range(1000):
        for _ in range(1 + number % 2 * 9):
            counted.add(str(number))
    assert len(counted._refused) <= 100
    assert len(counted._banned) <= 100
    assert counted.wait_s("999") == 60


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("192.0.2.1:5", "192.0.2.1"),
        ("ipv4:192.0.2.1:5", "192.0.2.1"),
        ("2001:db8:1:2:3::4:5", "2001:db8:1:2::/64"),
        ("ipv6:%5B2001:db8:1:2::9%5D:5", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1:5", "192.0.2.1"),
        ("fe80::1%eth0:5", "fe80::/64"),
        ("unix:", "unix"),
        ("", ""),
    ],
)
def test_what_one_machine_owns_counts_together(peer: str, network: str) -> None:
    """An IPv4 address, however it is written, and the /64 of an IPv6 one."""
    assert network_of(peer) == network
