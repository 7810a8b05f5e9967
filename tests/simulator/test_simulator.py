"""The log of many servers holds its promises in every schedule, and the simulator would notice if it did not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulator import bugs_apart  # noqa: F401  # it adds its own to the others
from tests.simulator.bugs import BUGS, RARE
from tests.simulator.checker import Violation
from tests.simulator.plan import KINDS, Fault, Plan, random_plan
from tests.simulator.world import World

_FOUND_WITHIN = 1500

faults = st.builds(
    Fault,
    kind=st.sampled_from(KINDS),
    at_ms=st.integers(0, 2000),
    length_ms=st.integers(1, 4000),
    server=st.integers(0, 2),
)
plans = st.builds(
    Plan,
    seed=st.integers(0, 1000),
    servers=st.integers(2, 3),
    replicas=st.sampled_from([1, 3]),
    messages=st.integers(1, 12),
    spread_ms=st.just(1500),
    keep=st.sampled_from([0, 0, 12]),
    max_bytes=st.sampled_from([0, 0, 4000]),
    alone=st.booleans(),
    faults=st.lists(faults, max_size=5).map(tuple),
)


@pytest.mark.parametrize("first", range(0, 300, 100))
def test_every_schedule_keeps_the_promises(first: int) -> None:
    """With faults of all kinds. A failure names the seed: run it with ``python -m tests.simulator --seed``."""
    for seed in range(first, first + 100):
        try:
            World(random_plan(seed)).run()
        except Violation as violation:
            pytest.fail(f"seed {seed}: {violation}")


@pytest.mark.parametrize("first", range(0, 100, 50))
def test_no_place_is_given_twice_where_the_log_went_back_and_all_can_be_reached(first: int) -> None:
    """Whoever comes back first asks the others what they have told, and begins a new epoch."""
    for seed in range(first, first + 50):
        plan = BUGS["others_are_not_asked"].plan(seed)
        try:
            World(plan).run()
        except Violation as violation:
            pytest.fail(f"seed {seed}: {violation}")


@settings(max_examples=60)
@given(plan=plans)
def test_every_choice_of_faults_keeps_the_promises(plan: Plan) -> None:
    """The faults that break a promise are made few."""
    World(plan).run()


def test_a_schedule_is_the_same_each_time() -> None:
    """Its seed says it all."""
    first, second = World(random_plan(7)), World(random_plan(7))
    first.run()
    second.run()
    assert first.records == second.records > 0


@pytest.mark.parametrize("name", [name for name in BUGS if name not in RARE])
def test_every_trap_is_found(name: str) -> None:
    """The log is made wrong in one way, and a schedule shows it that passes otherwise."""
    bug = BUGS[name]
    with bug.put_back():
        seed = next((seed for seed in range(_FOUND_WITHIN) if not _passes(bug.plan(seed))), None)
    assert seed is not None, f"not found within {_FOUND_WITHIN} schedules"
    World(bug.plan(seed)).run()


@pytest.mark.parametrize("name", RARE)
def test_every_rare_trap_is_found_by_a_test_of_its_own(name: str) -> None:
    """That fails where the trap is put back."""
    with BUGS[name].put_back(), pytest.raises((AssertionError, ValueError)):
        RARE[name]()


def _passes(plan: Plan) -> bool:
    try:
        World(plan).run()
    except AssertionError:
        return False
    return True
