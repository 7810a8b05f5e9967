"""What settings become; servers that run are in ``tests/integration``."""

from __future__ import annotations

import pytest

from bcast_grpc.core.limits import Limits
from bcast_grpc.server.descriptors import Descriptors
from bcast_grpc.server.parts import limits
from bcast_grpc.settings import Settings


def test_limits_are_the_settings() -> None:
    """Every bound that can be set reaches the core."""
    settings = Settings(max_clients=1, max_message_bytes=2, queue_messages=3, queue_bytes=5000, rate=4.5, burst=6)
    assert limits(settings) == Limits(
        max_clients=1, max_message_bytes=2, queue_messages=3, queue_bytes=5000, rate=4.5, burst=6
    )


def test_default_limits_are_the_default_settings() -> None:
    """The core's defaults and the settings' do not drift apart."""
    assert limits(Settings()) == Limits()


def test_a_burst_follows_its_rate() -> None:
    """Where only a rate is given, a second's worth may go at once."""
    found = limits(Settings(rate=2.5))
    assert (found.rate, found.burst) == (2.5, 3)


def test_descriptors_are_counted_by_trying(monkeypatch: pytest.MonkeyPatch) -> None:
    """Near the limit newcomers are refused, unless there are few clients: then connections without calls are to go."""
    descriptors = Descriptors()
    free = True
    monkeypatch.setattr("bcast_grpc.server.descriptors._are_free", lambda _: free)
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
