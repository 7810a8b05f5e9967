"""The lines that tests are done on."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests import network
from tests.network import Line


async def test_a_line_connects_this_process_with_sockets_of_its_namespace(cable: Line) -> None:
    """A server that listens in the namespace hears a client of this process, until the cable is cut, and after."""
    with cable.inside():
        listener = socket.create_server((cable.server_host, 0))
    with listener, socket.create_connection(listener.getsockname(), timeout=10) as client:
        served, (host, _) = listener.accept()
        with served:
            assert host == cable.client_host
            client.sendall(b"hola")
            assert served.recv(10) == b"hola"
            cable.cut()
            client.sendall(b"adios")
            served.settimeout(0.3)
            with pytest.raises(TimeoutError):
                served.recv(10)
            cable.mend()
            served.settimeout(10)
            assert served.recv(10) == b"adios"


async def test_no_more_passes_a_slow_line_than_its_rate(cable: Line) -> None:
    """Sixteen thousand bytes at four thousand a second are under way for a while."""
    cable.set_rate(4000)
    with cable.inside():
        listener = socket.create_server((cable.server_host, 0))
    with listener, socket.create_connection(listener.getsockname(), timeout=10) as client:
        served, _ = listener.accept()
        with served:
            client.sendall(bytes(16_000))
            loop = asyncio.get_running_loop()
            began = loop.time()
            came = 0
            while came < 16_000:
                came += len(await asyncio.to_thread(served.recv, 65_536))
            assert loop.time() - began > 1


def test_nobody_else_takes_a_subnet_that_was_found_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes that lay a line at the same time choose the same one now and then: the second looks on."""
    taken, changing = {7}, False

    @contextmanager
    def changes() -> Iterator[None]:
        nonlocal changing
        taken.add(8)  # by whoever had its turn just before
        changing = True
        yield
        changing = False

    def run(*command: str) -> str:
        assert changing
        return "".join(f"198.18.{net}.0/30 dev bcast{net}\n" for net in taken) if command == ("ip", "route") else ""

    chosen = iter([7, 8, 9])
    monkeypatch.setattr(network, "network_changes", changes)
    monkeypatch.setattr(network, "_run", run)
    monkeypatch.setattr(random, "randrange", lambda _: next(chosen))
    assert network._lay().client_host == "198.18.9.1"
