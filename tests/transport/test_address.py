"""Which addresses can be listened on, and what is said of those that can not."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from bcast_grpc.transport.address import CannotStart, is_loopback, join_host_port, listen


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port on 127.0.0.1 that somebody listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def look(host: str, port: int) -> list[tuple[Any, ...]]:
    """Listen, and let go at once; return which addresses that were."""
    listening = listen(host, port, "port")
    names = [one.getsockname() for one in listening]
    for one in listening:
        one.close()
    return names


@pytest.mark.parametrize(
    ("host", "text"), [("127.0.0.1", "127.0.0.1:1"), ("::1", "[::1]:1"), ("localhost", "localhost:1"), ("::", "[::]:1")]
)
def test_addresses_are_written_as_clients_take_them(host: str, text: str) -> None:
    """``HOST:PORT``, with brackets around what has colons of its own."""
    assert join_host_port(host, 1) == text


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_is_for_this_machine_only(host: str) -> None:
    """Nobody else reaches it."""
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org"])
def test_anything_else_may_be_reached(host: str) -> None:
    """So that the warning at start is given."""
    assert not is_loopback(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_free_address_can_be_listened_on(host: str) -> None:
    """Looking leaves it free."""
    look(host, 0)
    look(host, 0)


def test_a_port_in_use_is_said_clearly(taken_port: int) -> None:
    """Which address, why, and what to do."""
    with pytest.raises(CannotStart) as caught:
        look("127.0.0.1", taken_port)
    text = str(caught.value)
    assert text.startswith(f"cannot listen on 127.0.0.1:{taken_port}: ")
    assert "in use" in text
    assert text.endswith("; choose another --port or --host")
    assert caught.value.__cause__ is None


def test_a_port_in_use_counts_for_all_addresses(taken_port: int) -> None:
    """Listening everywhere needs the port everywhere."""
    with pytest.raises(CannotStart, match="in use"):
        look("0.0.0.0", taken_port)


def test_a_port_that_was_in_use_just_now_is_free() -> None:
    """A server may be started again at once, though old connections still linger."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), listening.accept()[0] as accepted:
            accepted.shutdown(socket.SHUT_RDWR)  # this end closes first, so it is this end that lingers
    look("127.0.0.1", port)


def resolves_to(*addresses: str) -> Any:
    """A resolver that finds these addresses for any host."""

    def resolve(_: str, port: int, **__: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    return resolve


def test_an_address_of_another_machine_is_refused() -> None:
    """Said with the address, not by silence."""
    with pytest.raises(CannotStart, match=r"cannot listen on 192\.0\.2\.1:0: "):
        look("192.0.2.1", 0)


def test_a_host_that_nobody_knows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver's reason is told."""

    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(CannotStart, match="cannot listen on nowhere:1: Name or service not known"):
        look("nowhere", 1)


def test_one_address_of_several_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``localhost`` that is also ``::1`` where IPv6 is switched off, as in many containers, can be listened on."""
    monkeypatch.setattr(socket, "getaddrinfo", resolves_to("192.0.2.1", "127.0.0.1"))
    look("localhost", 0)


def test_a_port_in_use_on_one_of_several_is_refused(monkeypatch: pytest.MonkeyPatch, taken_port: int) -> None:
    """Half of the addresses would be another server's."""
    monkeypatch.setattr(socket, "getaddrinfo", resolves_to("192.0.2.1", "127.0.0.1"))
    with pytest.raises(CannotStart, match="in use"):
        look("localhost", taken_port)


def test_all_addresses_of_a_name_have_the_same_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """A free port is chosen once, as clients are told a single one."""
    monkeypatch.setattr(socket, "getaddrinfo", resolves_to("127.0.0.1", "127.0.0.2"))
    (first, port), (second, same) = look("localhost", 0)
    assert (first, second) == ("127.0.0.1", "127.0.0.2")
    assert port == same != 0


def test_the_setting_to_change_is_named(taken_port: int) -> None:
    """There are several ports: the one that is in use is said."""
    with pytest.raises(CannotStart, match="choose another --http-port or --host"):
        listen("127.0.0.1", taken_port, "http-port")
