"""Stamps are later than all that was heard of."""

from __future__ import annotations

from bcast_grpc.presence.stamps import Stamps


def test_a_stamp_is_later_than_all_before_it_whatever_the_clock_says() -> None:
    """Here, and at other servers, whose clocks may be ahead."""
    wall = [5_000_000]
    stamps = Stamps(lambda: wall[0])
    assert [stamps.next(), stamps.next()] == [5000, 5001]
    wall[0] = 0
    assert stamps.next() == 5002
    stamps.hear(9000)
    stamps.hear(7)
    assert stamps.next() == 9001
    wall[0] = 20_000_000
    assert stamps.next() == 20_000


def test_a_clock_that_is_years_wrong_is_followed() -> None:
    """As that of a machine that has forgotten the date: it would lose each client to whoever had it before."""
    wrong, right = Stamps(lambda: 0), Stamps(lambda: 2**60)
    wrong.hear(right.next())
    assert wrong.next() == right.last + 1
    beyond = Stamps(lambda: 2**63)
    right.hear(beyond.next())
    assert right.last == beyond.last
    right.hear(beyond.next() + 1)
    beyond.hear(right.next())
    assert beyond.next() > right.last


def test_stamps_do_not_run_out() -> None:
    """However large a number another server claims to have given."""
    stamps = Stamps(lambda: 0)
    for stamp in (2**64 - 1, 2**62, 2**53):
        assert not stamps.believes(stamp)
        stamps.hear(stamp)
    assert stamps.next() == 1
