"""The lines that tests are done on."""

from __future__ import annotations

import asyncio
import socket

import pytest

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
