"""However much a client has sent, a connection reads little of it at once."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from bcast_grpc.server import Server
from bcast_grpc.settings import Settings
from bcast_grpc.transport.grpc.connection import Connection as GrpcConnection
from bcast_grpc.transport.http_connection import HttpConnection
from bcast_grpc.transport.small_reads import READ_BYTES
from bcast_grpc.transport.tcp_connection import Connection as TcpConnection
from bcast_grpc.transport.tls.transport import TlsTransport
from tests.authority import Authority, shared_ca
from tests.integration.peers import eventually

SENT = 8 * READ_BYTES


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[int]]:
    """Notes how much each kind of connection reads at once."""
    sizes: dict[str, list[int]] = {}

    def watch(kind: Any, name: str) -> None:
        received = kind.data_received

        def note(self: Any, data: bytes) -> None:
            sizes.setdefault(name, []).append(len(data))
            received(self, data)

        monkeypatch.setattr(kind, "data_received", note)

    watch(GrpcConnection, "grpc")
    watch(HttpConnection, "http")
    watch(TcpConnection, "tcp")
    watch(TlsTransport, "tls")
    return sizes


def send(port: int, data: bytes) -> socket.socket:
    """Send data to a server in this process, which reads nothing meanwhile."""
    client = socket.create_connection(("127.0.0.1", port))
    client.setblocking(False)
    client.send(data)
    return client


async def test_each_door_reads_little_at_once(reads: dict[str, list[int]]) -> None:
    """What it cannot process yet, each of many connections would hold."""
    async with Server(Settings(port=0, http_port=0, tcp_port=0, grpc_engine="native")) as server:
        port = int(server.address.rpartition(":")[2])
        ports = {"grpc": port, "http": server.http_port, "tcp": server.tcp_port}
        ping = b"\0\0\x08\x06\0\0\0\0\0" + bytes(8)
        beginnings = {"grpc": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0" + 100 * ping}
        clients = [send(ports[name], beginnings.get(name, b"").ljust(SENT, b" ")) for name in ports]
        await eventually(lambda: all(max(reads.get(name, [0])) == READ_BYTES for name in ports))
        assert max(size for sizes in reads.values() for size in sizes) == READ_BYTES
        for client in clients:
            client.close()


async def test_so_does_tls(reads: dict[str, list[int]], tmp_path: Any) -> None:
    """Before it is decrypted."""
    authority = Authority(tmp_path, shared_ca())
    cert, key = authority.sign("server")
    async with Server(Settings(port=0, tcp_port=0, tls_cert=str(cert), tls_key=str(key))) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.tcp_port, ssl=authority.context())
        writer.write(b" " * SENT)
        await eventually(lambda: sum(reads.get("tls", [])) >= SENT // 2)  # the rest came with the handshake
        assert max(reads["tls"]) <= READ_BYTES
        writer.transport.abort()
