"""What settings become, and which addresses can be listened on; servers that run are in ``tests/integration``."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from bcast_grpc.core.limits import Limits
from bcast_grpc.server.server import CannotStart, _check_address, _is_loopback, _join_host_port, _limits, _options
from bcast_grpc.settings import Settings
from bcast_grpc.wire.protobuf import MAX_REQUEST_BYTES


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port on 127.0.0.1 that somebody listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


# --- settings


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
    assert dict(_options(Settings()))["grpc.so_reuseport"] == 0


def test_a_frame_of_requests_is_bounded_by_the_contract() -> None:
    """4 MiB, which the server's encoding of events does not have to keep."""
    options = dict(_options(Settings()))
    assert options["grpc.max_receive_message_length"] == MAX_REQUEST_BYTES == 4 * 1024 * 1024
    assert options["grpc.max_send_message_length"] == -1


@pytest.mark.parametrize("keepalive_s", [0.0001, 0.5, 20, 2_000_000])
def test_a_frozen_peer_is_gone_within_twice_the_keepalive(keepalive_s: float) -> None:
    """All that decides it: the ping, its answer, and gRPC's own timeout; in whole milliseconds of 32 bits."""
    options = dict(_options(Settings(keepalive_s=keepalive_s)))
    ping, answer = options["grpc.keepalive_time_ms"], options["grpc.keepalive_timeout_ms"]
    assert options["grpc.http2.ping_timeout_ms"] == answer
    assert options["grpc.keepalive_permit_without_calls"] == 1
    assert 1 <= answer <= ping < 2**31
    assert ping + answer <= max(2, 2 * keepalive_s * 1000)


# --- addresses


@pytest.mark.parametrize(
    ("host", "text"), [("127.0.0.1", "127.0.0.1:1"), ("::1", "[::1]:1"), ("localhost", "localhost:1"), ("::", "[::]:1")]
)
def test_addresses_are_written_as_clients_take_them(host: str, text: str) -> None:
    """``HOST:PORT``, with brackets around what has colons of its own."""
    assert _join_host_port(host, 1) == text


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_is_for_this_machine_only(host: str) -> None:
    """Nobody else reaches it."""
    assert _is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org"])
def test_anything_else_may_be_reached(host: str) -> None:
    """So that the warning at start is given."""
    assert not _is_loopback(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_free_address_can_be_listened_on(host: str) -> None:
    """Looking leaves it free."""
    _check_address(host, 0)
    _check_address(host, 0)


def test_a_port_in_use_is_said_clearly(taken_port: int) -> None:
    """Which address, why, and what to do."""
    with pytest.raises(CannotStart) as caught:
        _check_address("127.0.0.1", taken_port)
    text = str(caught.value)
    assert text.startswith(f"cannot listen on 127.0.0.1:{taken_port}: ")
    assert "in use" in text
    assert text.endswith("; choose another --port or --host")
    assert caught.value.__cause__ is None


def test_a_port_in_use_counts_for_all_addresses(taken_port: int) -> None:
    """Listening everywhere needs the port everywhere."""
    with pytest.raises(CannotStart, match="in use"):
        _check_address("0.0.0.0", taken_port)


def test_a_port_that_was_in_use_just_now_is_free() -> None:
    """A server may be started again at once, though old connections still linger."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), listening.accept()[0] as accepted:
            accepted.shutdown(socket.SHUT_RDWR)  # this end closes first, so it is this end that lingers
    _check_address("127.0.0.1", port)


def resolves_to(*addresses: str) -> Any:
    """A resolver that finds these addresses for any host."""

    def resolve(_: str, port: int, **__: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    return resolve


def test_an_address_of_another_machine_is_refused() -> None:
    """Said with the address, not by silence."""
    with pytest.raises(CannotStart, match=r"cannot listen on 192\.0\.2\.1:0: "):
        _check_address("192.0.2.1", 0)


def test_a_host_that_nobody_knows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver's reason is told."""

    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(CannotStart, match="cannot listen on nowhere:1: Name or service not known"):
        _check_address("nowhere", 1)


def test_one_address_of_several_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``localhost`` that is also ``::1`` where IPv6 is switched off, as in many containers, can be listened on."""
    monkeypatch.setattr(socket, "getaddrinfo", resolves_to("192.0.2.1", "127.0.0.1"))
    _check_address("localhost", 0)


def test_a_port_in_use_on_one_of_several_is_refused(monkeypatch: pytest.MonkeyPatch, taken_port: int) -> None:
    """Half of the addresses would be another server's."""
    monkeypatch.setattr(socket, "getaddrinfo", resolves_to("192.0.2.1", "127.0.0.1"))
    with pytest.raises(CannotStart, match="in use"):
        _check_address("localhost", taken_port)
