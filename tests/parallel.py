"""How the tests of ``tests`` and ``interop`` share several processes: ``pytest --numprocesses``."""

from __future__ import annotations

import os
from zlib import crc32

import pytest

GROUPS = {"waiting": 2, "heavy": 1, "page": 2, "room": 1}
"""In this order tests begin that run one after the other, and into how many groups those of a kind are divided."""

WAITING = (
    "client/test_slow_line.py",
    "integration/test_relays.py",
    "integration/test_slow_lines.py",
    "interop/test_slow_lines.py",
    "test_network.py",
)
"""Tests that take minutes and hardly any CPU. They begin first, and two workers are there for them."""

HEAVY = (
    "broker/test_upkeep.py",
    "integration/test_compression.py",
    "integration/test_crowds.py",
    "integration/test_descriptors.py",
    "integration/test_flood_memory.py",
    "integration/test_floods.py",
    "integration/test_full_speed.py",
    "integration/test_http2_floods.py",
    "promises/test_storm.py",
)
"""Tests that take all the CPU or memory there is: no two run at the same time."""

ROOM = "interop/test_room.py"
"""Its tests share a room, and go on where the one before it ended."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In parallel, the groups begin first."""
    if hasattr(config, "workerinput"):
        order = [*GROUPS, ""]
        items.sort(key=lambda item: order.index(_kind_of(item.nodeid)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One for each core, and those for the tests that wait."""
    return (os.cpu_count() or 1) + GROUPS["waiting"]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Say which tests run one after the other in one worker.

    xdist has marks for that, which pytest 9.2 makes it ignore: https://github.com/pytest-dev/pytest-xdist/issues/1386.
    """
    from xdist.scheduler import LoadScopeScheduling

    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = _group_of
    return scheduler


def _group_of(nodeid: str) -> str:
    kind = _kind_of(nodeid)
    return f"{kind} {crc32(nodeid.encode()) % GROUPS[kind]}" if kind else nodeid


def _kind_of(nodeid: str) -> str:
    name = nodeid.partition("::")[0].removeprefix("tests/")
    if name in WAITING:
        return "waiting"
    if name in HEAVY:
        return "heavy"
    if name == ROOM:
        return "room"
    return "page" if name.startswith("page/") else ""
