"""What a proxy tells before a connection: what is understood, and that nothing else is."""

from __future__ import annotations

import struct
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcast_grpc.core.peers import address_of, host_of, peer_at
from bcast_grpc.transport.proxy_header import MAX_BYTES, BadProxyHeader, ProxyHeader, read_proxy_header

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
PORTS = st.integers(0, 65535)
ADDRESSES = st.ip_addresses(v=4) | st.ip_addresses(v=6)


def v1(source: IPv4Address | IPv6Address, port: int) -> bytes:
    """A header in text."""
    return f"PROXY TCP{source.version} {source} {source} {port} 50051\r\n".encode()


def v2(source: IPv4Address | IPv6Address, port: int, more: bytes = b"", command: int = 0x21) -> bytes:
    """A header in binary, with what is added to it."""
    body = source.packed * 2 + struct.pack("!HH", port, 50051) + more
    family = 0x11 if source.version == 4 else 0x21
    return SIGNATURE + bytes([command, family]) + len(body).to_bytes(2) + body


@given(ADDRESSES, PORTS, st.binary(max_size=200), st.binary(max_size=50))
def test_what_is_written_is_read(source: IPv4Address | IPv6Address, port: int, more: bytes, after: bytes) -> None:
    """In both versions, whatever follows; and every beginning of it asks for more."""
    for header in (v1(source, port), v2(source, port, more)):
        assert read_proxy_header(header + after) == ProxyHeader(len(header), peer_at(str(source), port))
        assert all(read_proxy_header(header[:size]) is None for size in range(len(header)))


@pytest.mark.parametrize(
    "header",
    [b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ffff:: ffff:: 1 2\r\n", v2(IPv4Address(1), 2, command=0x20)]
    + [SIGNATURE + bytes([0x21, family, 0, 2]) + b"xx" for family in (0x00, 0x12, 0x31)],
)
def test_a_proxy_may_speak_for_itself(header: bytes) -> None:
    """As when it looks whether the server lives; then the connection's own address counts."""
    assert read_proxy_header(header + b"hola") == ProxyHeader(len(header))


@pytest.mark.parametrize(
    "data", [b"PRI * HTTP/2.0\r\n", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b'{"msg":"x"}', b"\r\nx"]
)
def test_what_begins_otherwise_is_no_header(data: bytes) -> None:
    """It is the client's first word."""
    assert read_proxy_header(data) == ProxyHeader(0)


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY \r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n",
        b"PROXY TCP4 1.2.3.400 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 fe80::1 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
        b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 \xff 1.2.3.4 1 2\r\n",
        b"PROXY " + b"x" * 101,
        SIGNATURE + b"\x11\x11\0\0",
        SIGNATURE + b"\x22\x11\0\0",
        SIGNATURE + b"\x21\x11\0\x0b" + bytes(11),
        SIGNATURE + b"\x21\x21\0\x23" + bytes(35),
        SIGNATURE + b"\x21\x11" + (MAX_BYTES - 15).to_bytes(2),
    ],
)
def test_what_begins_like_a_header_must_be_one(header: bytes) -> None:
    """It is not handed on, since a proxy's word would be taken for a client's."""
    with pytest.raises(BadProxyHeader):
        read_proxy_header(header)


@given(st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21"]), st.binary(max_size=300))
def test_whatever_comes_is_read_or_refused(beginning: bytes, rest: bytes) -> None:
    """Nothing else is raised, a peer is an address, and no more is taken than came."""
    data = beginning + rest
    with suppress(BadProxyHeader):
        header = read_proxy_header(data)
        assert header is not None or len(data) < MAX_BYTES
        if header:
            assert header.size <= len(data)
            if header.peer:
                assert address_of(host_of(header.peer))
                assert 0 <= int(header.peer.rpartition(":")[2]) <= 65535
