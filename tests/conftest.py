"""What holds for all tests."""

import os
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

HERE = Path(__file__).parent

WAITING = ("client/test_slow_line.py", "integration/test_relays.py", "integration/test_slow_lines.py")
"""Tests that take minutes and hardly any CPU: two workers are there for them."""

ALONE = {
    "page": ("page",),  # one browser
    "heavy": (
        "broker/test_upkeep.py",
        "integration/test_compression.py",
        "integration/test_crowds.py",
        "integration/test_descriptors.py",
        "integration/test_flood_memory.py",
        "integration/test_floods.py",
        "integration/test_full_speed.py",
        "promises/test_storm.py",
    ),
}
"""Tests that are not run beside others of the same group."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Say what one worker runs, one after the other."""
    if config.pluginmanager.hasplugin("xdist"):
        waiting = cycle(f"waiting {n}" for n in range(2))
        for item in items:
            if group := _group_of(item.path, waiting):
                item.add_marker(pytest.mark.xdist_group(group))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One for each core, and those for the tests that wait."""
    return (os.cpu_count() or 1) + 2


def _group_of(path: Path, waiting: Iterator[str]) -> str:
    names = {path.relative_to(HERE).as_posix(), path.parent.name} if path.is_relative_to(HERE) else set()
    if names.intersection(WAITING):
        return next(waiting)
    return next((group for group, members in ALONE.items() if names.intersection(members)), "")
