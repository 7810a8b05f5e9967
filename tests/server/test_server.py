"""What settings become; servers that run are in ``tests/integration``."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest

from bcast_grpc.broker.budget import Budget
from bcast_grpc.core.limits import Limits
from bcast_grpc.server.machine.descriptors import Descriptors, _are_free, _can_be_opened
from bcast_grpc.server.machine.memory import ProcessMemory
from bcast_grpc.server.parts import connections, limits, warnings
from bcast_grpc.settings import Settings


def test_limits_are_the_settings() -> None:
    """Every bound that can be set reaches the core."""
    own: dict[str, Any] = {
        "max_clients": 1,
        "max_message_bytes": 2,
        "queue_messages": 3,
        "queue_bytes": 5000,
        "rate": 4.5,
        "burst": 6,
    }
    settings = Settings.model_validate(own | {"max_clients_per_peer": 7})
    assert limits(settings) == Limits(**own, max_clients_per_peer=7, spares_loopback=False)


def test_default_limits_are_the_default_settings() -> None:
    """The core's defaults and the settings' do not drift apart."""
    assert limits(Settings()) == Limits()


@pytest.mark.parametrize(("max_clients", "most"), [(20000, 1000), (1000, 900), (10, 9), (1, 1)])
def test_one_address_leaves_places_to_others(max_clients: int, most: int) -> None:
    """Unless it is said how many it may have, be that all."""
    assert limits(Settings(max_clients=max_clients)).max_clients_per_peer == most
    assert limits(Settings(max_clients=max_clients, max_clients_per_peer=1000)).max_clients_per_peer == 1000


@pytest.mark.parametrize(("clients", "most"), [(100, 100), (1000, 910), (5000, 1100)])
def test_one_address_leaves_descriptors_to_others(monkeypatch: pytest.MonkeyPatch, clients: int, most: int) -> None:
    """However few the system allows; and a few connections more than clients, where it allows that."""
    descriptors = Descriptors()
    monkeypatch.setattr(descriptors, "_clients", clients)
    monkeypatch.setattr(descriptors, "_reserve", 16)
    counted = connections(Limits(spares_loopback=False), descriptors, ProcessMemory([]), Budget(), proxies=())
    assert [counted.arrived("203.0.113.7:1") for _ in range(most + 1)] == [True] * most + [False]
    assert counted.arrived("203.0.113.8:1")


def test_a_burst_follows_its_rate() -> None:
    """Where only a rate is given, a second's worth may go at once."""
    found = limits(Settings(rate=2.5))
    assert (found.rate, found.burst) == (2.5, 3)


@pytest.mark.parametrize("spare", [1, 7, 30])
def test_free_descriptors_are_known(spare: int) -> None:
    """As many as can be opened indeed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(file.name) for file in Path("/dev/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + spare, hard))
    try:
        for count in range(1, highest + spare + 2):
            assert _are_free(count) == _can_be_opened(count)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_newcomers_are_refused_where_descriptors_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Near the limit newcomers are refused, unless there are few clients: then connections without calls are to go."""
    descriptors = Descriptors()
    free = True
    monkeypatch.setattr("bcast_grpc.server.machine.descriptors._are_free", lambda _: free)
    monkeypatch.setattr(descriptors, "_clients", 10)
    assert (descriptors.short, descriptors.why_full(10), descriptors.why_full(5)) == (False, "", "")
    free = False
    assert descriptors.short
    assert descriptors.crowded
    assert descriptors.why_full(9) == ""
    assert "files" in descriptors.why_full(10)


def test_a_limit_that_does_not_fit_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With the lines that mend it; where it fits there is nothing to say."""
    descriptors = Descriptors()
    monkeypatch.setattr(descriptors, "limit", 1000)
    descriptors.warn(1000)
    assert caplog.messages == []
    descriptors.warn(1001)
    [line] = caplog.messages
    assert "`ulimit -n 1065`" in line
    assert "LimitNOFILE=1065" in line


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"trusted_proxy": "10.0.0.1", "max_clients_per_peer": 5}, 0),
        ({"grpc_engine": "grpcio"}, 0),
        ({"grpc_engine": "grpcio", "max_clients_per_peer": 0}, 0),
        ({"grpc_engine": "grpcio", "max_clients_per_peer": 5}, 1),
        ({"grpc_engine": "grpcio", "trusted_proxy": "10.0.0.1", "max_clients_per_peer": 5}, 2),
    ],
)
def test_what_the_library_cannot_do_is_said(settings: dict[str, Any], count: int) -> None:
    """Where it was asked for."""
    said = list(warnings(Settings(**settings)))
    assert len(said) == count
    assert all("grpc-engine native" in warning for warning in said)
