"""What holds for all tests."""

import os
from itertools import cycle
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

HERE = Path(__file__).parent

GROUPS = {"waiting": 2, "heavy": 1, "page": 2}
"""How many groups of each kind there are; those of the page have a browser each."""

WAITING = ("client/test_slow_line.py", "integration/test_relays.py", "integration/test_slow_lines.py")
"""Tests that take minutes and hardly any CPU. They begin first, and two workers are there for them."""

HEAVY = (
    "broker/test_upkeep.py",
    "integration/test_compression.py",
    "integration/test_crowds.py",
    "integration/test_descriptors.py",
    "integration/test_flood_memory.py",
    "integration/test_floods.py",
    "integration/test_full_speed.py",
    "promises/test_storm.py",
)
"""Tests that take all the CPU or memory there is: no two run at the same time."""


@pytest.hookimpl(tryfirst=True)  # before xdist, which reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Say which tests run one after the other in one worker, and which of these groups begin first."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    groups = {name: cycle(f"{name} {n}" for n in range(count)) for name, count in GROUPS.items()}
    grouped: dict[str, list[pytest.Item]] = {name: [] for name in (*groups, "")}
    for item in items:
        name = _group_of(item.path)
        grouped[name].append(item)
        if name:
            item.add_marker(pytest.mark.xdist_group(next(groups[name])))
    items[:] = [item for group in grouped.values() for item in group]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One for each core, and those for the tests that wait."""
    return (os.cpu_count() or 1) + GROUPS["waiting"]


def _group_of(path: Path) -> str:
    if not path.is_relative_to(HERE):
        return ""
    name = path.relative_to(HERE).as_posix()
    if name in WAITING:
        return "waiting"
    if name in HEAVY:
        return "heavy"
    return "page" if path.parent.name == "page" else ""
