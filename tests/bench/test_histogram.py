"""Percentiles are near the true ones, whoever counted."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from bcast_grpc.bench.histogram import Histogram

VALUES = st.lists(st.integers(0, 2**50), min_size=1, max_size=200)
PERCENTS = st.sampled_from([0.1, 50.0, 90.0, 99.0, 99.9, 100.0])


def counted(values: list[int]) -> Histogram:
    """A histogram of them."""
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


@given(VALUES, PERCENTS)
def test_a_percentile_is_the_true_one_or_a_little_more(values: list[int], percent: float) -> None:
    """By its relative error at most; and never more than the largest value."""
    rank = max(math.ceil(len(values) * percent / 100 - 1e-9), 1)
    true = sorted(values)[rank - 1]
    found = counted(values).percentile(percent)
    assert true <= found <= true * (1 + Histogram.RELATIVE_ERROR)
    assert counted(values).percentile(100) == max(values)


@given(st.lists(VALUES, min_size=1, max_size=5), PERCENTS)
def test_what_several_counted_is_what_one_would_have(parts: list[list[int]], percent: float) -> None:
    """Merged, or all at once."""
    merged = Histogram().merge(map(counted, parts))
    whole = counted([value for part in parts for value in part])
    assert merged.percentile(percent) == whole.percentile(percent)
    assert (merged.count, merged.max) == (whole.count, whole.max)


@given(st.integers(-5, 2**50), st.integers(1, 1000))
def test_a_value_may_be_counted_many_times_at_once(value: int, times: int) -> None:
    """A time before the clock's is none."""
    histogram = Histogram()
    histogram.record(value, times)
    assert histogram.count == times
    assert histogram.percentile(50) == max(value, 0)


def test_nothing_has_no_percentiles() -> None:
    """But it has a number to show."""
    assert Histogram().percentile(50) == 0
