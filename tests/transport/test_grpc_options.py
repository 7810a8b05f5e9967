"""What the gRPC engine is set up with."""

from __future__ import annotations

import pytest

from bcast_grpc.transport.grpcio_door import options
from bcast_grpc.wire.protobuf import MAX_REQUEST_BYTES


def test_a_port_is_not_shared() -> None:
    """GRPC's default would let a second server take half of the clients."""
    assert dict(options(20, 10, max_streams=1, max_connections=1))["grpc.so_reuseport"] == 0


def test_a_frame_of_requests_is_bounded_by_the_contract() -> None:
    """4 MiB, which the server's encoding of events does not have to keep."""
    set_up = dict(options(20, 10, max_streams=1, max_connections=1))
    assert set_up["grpc.max_receive_message_length"] == MAX_REQUEST_BYTES == 4 * 1024 * 1024
    assert set_up["grpc.max_send_message_length"] == -1


@pytest.mark.parametrize("keepalive_s", [0.0001, 0.5, 20, 2_000_000])
def test_a_frozen_peer_is_gone_within_twice_the_keepalive(keepalive_s: float) -> None:
    """All that decides it: the ping, its answer, and gRPC's own timeout; in whole milliseconds of 32 bits."""
    set_up = dict(options(keepalive_s, 10, max_streams=1, max_connections=1))
    ping, answer = set_up["grpc.keepalive_time_ms"], set_up["grpc.keepalive_timeout_ms"]
    assert set_up["grpc.http2.ping_timeout_ms"] == answer
    assert set_up["grpc.keepalive_permit_without_calls"] == 1
    assert 1 <= ping <= answer < 2**31  # a ping waits behind what was sent before it, and its answer may too
    assert ping + answer <= max(2, 2 * keepalive_s * 1000)
