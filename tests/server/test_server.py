"""What settings become; servers that run are in ``tests/integration``."""

from __future__ import annotations

import pytest

from bcast_grpc.core.limits import Limits
from bcast_grpc.server.descriptors import Descriptors
from bcast_grpc.server.server import _limits, _options
from bcast_grpc.settings import Settings
from bcast_grpc.wire.protobuf import MAX_REQUEST_BYTES


def test_limits_are_the_settings() -> None:
    """Every bound that can be set reaches the core."""
    settings = Settings(max_clients=1, max_message_bytes=2, queue_messages=3, queue_bytes=5000, rate=4.5, burst=6)
    assert _limits(settings) == Limits(
        max_clients=1, max_message_bytes=2, queue_messages=3, queue_bytes=5000, rate=4.5, burst=6
    )


def test_default_limits_are_the_default_settings() -> None:
    """The core's defaults and the settings' do not drift apart."""
    assert _limits(Settings()) == Limits()


def test_a_burst_follows_its_rate() -> None:
    """Where only a rate is given, a second's worth may go at once."""
    limits = _limits(Settings(rate=2.5))
    assert (limits.rate, limits.burst) == (2.5, 3)


def test_a_port_is_not_shared() -> None:
    """GRPC's default would let a second server take half of the clients."""
    assert dict(_options(Settings(), Descriptors()))["grpc.so_reuseport"] == 0


def test_a_frame_of_requests_is_bounded_by_the_contract() -> None:
    """4 MiB, which the server's encoding of events does not have to keep."""
    options = dict(_options(Settings(), Descriptors()))
    assert options["grpc.max_receive_message_length"] == MAX_REQUEST_BYTES == 4 * 1024 * 1024
    assert options["grpc.max_send_message_length"] == -1


@pytest.mark.parametrize("keepalive_s", [0.0001, 0.5, 20, 2_000_000])
def test_a_frozen_peer_is_gone_within_twice_the_keepalive(keepalive_s: float) -> None:
    """All that decides it: the ping, its answer, and gRPC's own timeout; in whole milliseconds of 32 bits."""
    options = dict(_options(Settings(keepalive_s=keepalive_s), Descriptors()))
    ping, answer = options["grpc.keepalive_time_ms"], options["grpc.keepalive_timeout_ms"]
    assert options["grpc.http2.ping_timeout_ms"] == answer
    assert options["grpc.keepalive_permit_without_calls"] == 1
    assert 1 <= ping <= answer < 2**31  # a ping waits behind what was sent before it, and its answer may too
    assert ping + answer <= max(2, 2 * keepalive_s * 1000)


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
