"""Each kind of broker, for the tests of what all promise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bcast_grpc.broker.base import Broker

from .desk import Desk
from .kinds import BROKERS, KEEPING, BrokerKind, ManualClock


@pytest.fixture(params=BROKERS)
def kind(request: pytest.FixtureRequest) -> BrokerKind:
    """Each kind of broker."""
    return BROKERS[request.param]


@pytest.fixture
def clock() -> ManualClock:
    """The brokers' time."""
    return ManualClock()


@pytest.fixture
def broker(kind: BrokerKind, tmp_path: Path, clock: ManualClock) -> Iterator[Desk[Broker]]:
    """A broker with nothing in it."""
    broker = Desk(kind.make(tmp_path, KEEPING, clock))
    yield broker
    broker.close()
