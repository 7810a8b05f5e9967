"""Which server is tried next: spread by chance, kept while it works, none left out, none before its time."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bcast_grpc.client.choice import Choice

ABC = [("a", 0), ("b", 0), ("c", 0)]


class Clock:
    """A clock in the test's hands."""

    now = 0.0

    def __call__(self) -> float:
        """Read it."""
        return self.now


def test_clients_begin_at_random_and_go_on_at_random() -> None:
    """All servers get as many, and all others as many of those of a lost one."""
    chance = random.Random(1).random
    first: Counter[str] = Counter()
    second: Counter[tuple[str, str]] = Counter()
    for _ in range(6000):
        choice = Choice[str](chance=chance)
        (begun, *_) = choice.order(ABC)
        choice.put_last(begun)
        first[begun] += 1
        second[begun, choice.order(ABC)[0]] += 1
    assert all(1850 < count < 2150 for count in first.values())
    assert len(second) == 6
    assert all(850 < count < 1150 for count in second.values())


def test_who_leaves_a_server_that_has_served_goes_on_at_random() -> None:
    """Also after a restart of one server after the other, which all clients have seen in the same order."""
    chance = random.Random(1).random
    second: Counter[str] = Counter()
    for _ in range(3000):
        choice = Choice[str](chance=chance)
        choice.order(ABC)
        for one in "abc":
            choice.leave(one)
        second[choice.order(ABC)[0]] += 1
        assert choice.order(ABC)[-1] == "c"
    assert second.keys() == {"a", "b"}
    assert all(1400 < count < 1600 for count in second.values())


def test_the_preferred_family_comes_first_when_a_server_is_left() -> None:
    """As at the beginning."""
    known = [("v6 1", 0), ("v6 2", 0), ("v4 1", 1), ("v4 2", 1)]
    for _ in range(20):
        choice = Choice[str]()
        choice.order(known)
        choice.put_last("v6 2")
        choice.leave("v6 1")
        order = choice.order(known)
        assert (order[0], order[-1]) == ("v6 2", "v6 1")


def test_what_works_is_kept() -> None:
    """Whatever the names' server says, in whatever order."""
    choice = Choice[str]()
    order = choice.order(ABC)
    assert all(choice.order(random.sample(ABC, 3)) == order for _ in range(50))
    assert choice.order([*ABC, ("d", 0)])[0] in (order[0], "d")


def test_the_family_that_the_system_prefers_comes_first() -> None:
    """All of it, by chance."""
    known = [(f"v6 {n}", 0) for n in range(5)] + [(f"v4 {n}", 1) for n in range(5)]
    orders = [Choice[str]().order(known) for _ in range(20)]
    assert all(each.startswith("v6") for order in orders for each in order[:5])
    assert len({tuple(order) for order in orders}) > 1


def test_one_that_asked_for_time_gets_it_while_there_is_another() -> None:
    """Where all did, the first whose time comes is next."""
    clock = Clock()
    choice = Choice[str](clock)
    choice.order(ABC)
    choice.put_last("a", 5.0)
    assert sorted(choice.order(ABC)) == ["b", "c"]
    assert choice.wait_s() == 0
    choice.put_last("b", 3.0)
    choice.put_last("c", 4.0)
    assert choice.wait_s() == 3
    assert choice.order(ABC) == ["b"]
    clock.now = 3.0
    assert choice.order(ABC) == ["b"]
    clock.now = 5.0
    assert choice.order(ABC) == ["a", "b", "c"]


def test_one_that_must_be_left_alone_is_no_other() -> None:
    """So nobody leaves a server for it."""
    clock = Clock()
    choice = Choice[str](clock)
    assert not choice.has_other
    choice.order([("a", 0)])
    assert not choice.has_other
    choice.order([("a", 0), ("b", 0)])
    assert choice.has_other
    choice.put_last("b", 3.0)
    assert not choice.has_other
    clock.now = 3.0
    assert choice.has_other


STEPS = st.lists(
    st.tuples(st.sampled_from("tfl"), st.integers(0, 5), st.sampled_from([0.0, 0.5, 3.0, 60.0])), max_size=60
)


@given(STEPS, st.integers(1, 6), st.randoms(use_true_random=False))
def test_none_is_left_out_and_none_comes_before_its_time(
    steps: list[tuple[str, int, float]], count: int, chance: random.Random
) -> None:
    """Whatever fails, asks for time, or is no longer known."""
    clock = Clock()
    choice = Choice[int](clock, chance.random)
    known = list(range(count))
    held: dict[int, float] = {}
    failed: list[int] = []
    order: list[int] = choice.order((each, 0) for each in known)
    for what, which, seconds in steps:
        one = known[which % len(known)]
        if what == "t":
            clock.now += seconds
        elif what == "f":
            choice.put_last(one, seconds)
            held[one] = clock.now + seconds
            failed = [*(each for each in failed if each != one), one]
        else:
            order = choice.order((each, 0) for each in random.sample(known, len(known)))
            free = {each for each in known if held.get(each, 0.0) <= clock.now}
            assert set(order) == free if free else len(order) == 1
            places = [failed.index(each) if each in failed else -1 for each in order]
            assert all(a <= b for a, b in pairwise(places))
            if not free:
                assert held[order[0]] == min(held[each] for each in known)
        soonest = min(max(0.0, held.get(each, 0.0) - clock.now) for each in known)
        assert choice.wait_s() == soonest


def test_what_is_no_longer_known_is_forgotten() -> None:
    """So that names whose addresses change all the time cost nothing."""
    choice: Any = Choice[int]()
    for n in range(1000):
        choice.order([(n, 0), (n + 1, 0)])
        choice.put_last(n, 60.0)
    choice.order([(1000, 0)])
    assert len(choice._ranks) == 1
    assert not choice._not_before
