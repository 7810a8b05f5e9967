"""What several modules here need."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from .flushes import Flushes
from .guarded import Desk
from .world import World


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads that are interrupted as often as possible."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture
def world() -> World:
    """A hub with nobody in it."""
    return World()


@pytest.fixture
def room() -> Flushes:
    """A room with nothing pending."""
    return Flushes()


@pytest.fixture
def desk() -> Desk:
    """It knows ``all``, who may do everything."""
    desk = Desk()
    desk.know("all")
    return desk
