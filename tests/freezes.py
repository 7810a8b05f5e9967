"""``pytest --freeze``: processes stand still at random, as on a busy machine.

That finds tests, and code, that take an order in time for granted: a program that has come before its watcher looks, a
state that is over before it is looked at. Who freezes holds the interpreter's lock and uses no CPU, so nothing in
Python goes on in that process, and all others are as fast as ever.
"""

from __future__ import annotations

import ctypes
import os
import random
import threading
from time import sleep
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

_TESTS, _PROGRAMS = "TESTS_FREEZE", "TESTS_FREEZE_PROGRAMS"
_APART_S = 0.15  # on average
_LONGEST_S = 0.3
_LONGEST_START_S = 1.0


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption(
        "--freeze",
        choices=["tests", "programs", "both"],
        help="let processes stand still at random: those that run the tests, or those that tests fork",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin, and tell those that tests start."""
    what = config.getoption("--freeze")
    if what in ("programs", "both"):
        os.environ[_PROGRAMS] = "1"
    if what in ("tests", "both"):
        os.environ[_TESTS] = "1"
        _begin()


def prepare_forks() -> None:
    """Let the programs that this process forks stand still at random, if that was asked for."""
    if os.environ.get(_PROGRAMS):
        os.register_at_fork(after_in_child=_begin_program)


def after_start() -> None:
    """Perhaps give a program that was started a lead, if that was asked for."""
    if os.environ.get(_TESTS):
        _perhaps()


def freeze(seconds: float) -> None:
    """Let nothing go on in this process."""
    ctypes.PyDLL(None).usleep(round(1e6 * seconds))


def _perhaps() -> None:
    if random.random() < 0.5:
        freeze(random.uniform(0, _LONGEST_START_S))


def _begin() -> None:
    threading.Thread(target=_freeze_now_and_then, daemon=True).start()


def _begin_program() -> None:
    _perhaps()
    _begin()


def _freeze_now_and_then() -> None:
    chance = random.Random()
    while True:
        sleep(chance.expovariate(1 / _APART_S))
        freeze(_LONGEST_S * chance.random() ** 2)
