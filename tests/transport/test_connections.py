"""Connections that carry no call are hung up on where descriptors are short, and no others."""

from __future__ import annotations

import fcntl
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bcast_grpc.transport import connections
from bcast_grpc.transport.connections import Connections, listening_on, port_of


class Clock:
    """Time that is moved by hand."""

    now = 100.0

    def monotonic(self) -> float:
        """Return it."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that connections are timed by."""
    clock = Clock()
    monkeypatch.setattr(connections, "time", clock)
    return clock


class Pair:
    """A connection of ours, and who is at its other end."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.far = socket.create_connection(server.getsockname()[:2])
            self.near, (_, self.port) = server.accept()
        self.door: int = self.near.getsockname()[1]
        self.far.setblocking(False)

    @property
    def is_open(self) -> bool:
        """Whether the other end has not been hung up on."""
        try:
            return self.far.recv(1) != b""
        except BlockingIOError:
            return True


@pytest.fixture
def pair() -> Iterator[Pair]:
    """One connection."""
    pair = Pair()
    yield pair
    pair.near.close()
    pair.far.close()


def test_an_idle_connection_is_given_a_second(pair: Pair, clock: Clock) -> None:
    """Its call may be on its way."""
    known = Connections()
    known.ports.add(pair.door)
    assert known.hang_up_idle() == 0
    clock.now += 0.9
    assert known.hang_up_idle() == 0
    assert pair.is_open
    clock.now += 0.2
    assert known.hang_up_idle() == 1
    assert not pair.is_open


def test_a_call_keeps_its_connection(pair: Pair, clock: Clock) -> None:
    """However long it lasts, and until the last of several has ended; then there is little to wait for."""
    known = Connections()
    known.ports.add(pair.door)
    with known.carrying(pair.port):
        with known.carrying(pair.port):
            pass
        for _ in range(5):
            assert known.hang_up_idle() == 0
            clock.now += 100
    assert known.hang_up_idle() == 0  # its last words are on their way
    clock.now += 0.1
    assert known.hang_up_idle() == 1
    assert not pair.is_open


def test_connections_of_other_ports_are_not_ours_to_end(pair: Pair, clock: Clock) -> None:
    """Such as that to a database."""
    known = Connections()
    known.ports = {pair.door + 1, 0}
    for _ in range(5):
        assert known.hang_up_idle() == 0
        clock.now += 100
    assert pair.is_open


def test_who_was_idle_begins_anew_when_there_was_room(pair: Pair, clock: Clock) -> None:
    """Only while descriptors are short does it matter."""
    known = Connections()
    known.ports.add(pair.door)
    known.hang_up_idle()
    clock.now += 100
    known.forget()
    assert known.hang_up_idle() == 0
    assert pair.is_open


def test_locks_on_files_are_kept(pair: Pair, tmp_path: Path) -> None:
    """A process that closes a file loses its locks on it, also those that SQLite holds by another descriptor."""
    known = Connections()
    known.ports.add(pair.door)
    with (tmp_path / "file").open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        known.hang_up_idle()
        assert not list(listening_on(pair.door))
        try_lock = f"import fcntl; fcntl.lockf(open({file.name!r}, 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        other = subprocess.run([sys.executable, "-c", try_lock], stderr=subprocess.PIPE, text=True, check=False)
    assert "BlockingIOError" in other.stderr


@pytest.mark.parametrize(
    ("peer", "port"),
    [("ipv4:127.0.0.1:4242", 4242), ("ipv6:%5B::1%5D:4242", 4242), ("unix:/tmp/x", 0), ("unix:", 0), ("", 0)],
)
def test_the_port_of_what_grpc_calls_a_peer(peer: str, port: int) -> None:
    """In all the forms that it has."""
    assert port_of(peer) == port
