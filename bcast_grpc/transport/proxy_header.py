"""The header of the PROXY protocol (v1 and v2), with which a proxy reports the client's address.

https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from bcast_grpc.core.peers import peer_at

MAX_BYTES = 4096
"""The most that a header may have, with all that a proxy adds to the addresses."""

_V1, _V2 = b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"
_V1_BYTES = 107
_V1_LINE = re.compile(r"PROXY (?:UNKNOWN(?: .*)?|TCP(?:4|6) (\S+) (\S+) (\d{1,5}) (\d{1,5}))", re.ASCII)
_V2_HEAD_BYTES = 16
_VERSION, _LOCAL, _PROXY = 0x20, 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21


class ProxyHeader(NamedTuple):
    """The content of a header.

    Attributes:
        size: the size of the header; the client's data follow it.
        peer: the client's address as ``HOST:PORT``; empty if the header has none.
    """

    size: int
    peer: str = ""


class BadProxyHeader(Exception):
    """The data begin like a header, but are malformed."""


def read_proxy_header(data: bytes) -> ProxyHeader | None:
    """Read the header at the beginning of what a proxy sent; None if more data are needed.

    For data that do not begin like a header, it returns an empty header of no bytes.

    Raises:
        BadProxyHeader: it is malformed, or too long.
    """
    if data.startswith(_V2):
        return _read_v2(data)
    if data.startswith(_V1):
        return _read_v1(data)
    if _V1.startswith(data) or _V2.startswith(data):
        return None
    return ProxyHeader(0)


def _read_v1(data: bytes) -> ProxyHeader | None:
    line, end, _ = data[:_V1_BYTES].partition(b"\r\n")
    if not end:
        if len(data) >= _V1_BYTES:
            raise BadProxyHeader(f"its first line is longer than {_V1_BYTES} bytes")
        return None
    found = _V1_LINE.fullmatch(line.decode("latin-1"))
    if not found:
        raise BadProxyHeader("its first line is not PROXY TCP4|TCP6|UNKNOWN and addresses")
    source, target, *ports = found.groups()
    if source is None:
        return ProxyHeader(len(line) + 2)
    kind = IPv4Address if b"TCP4" in line else IPv6Address
    try:
        peer = peer_at(str(kind(source)), int(ports[0]))
        kind(target)
    except ValueError as error:
        raise BadProxyHeader(str(error)) from None
    if "%" in source or max(map(int, ports)) > 0xFFFF:
        raise BadProxyHeader("it has an address with a zone, or a port above 65535")
    return ProxyHeader(len(line) + 2, peer)


def _read_v2(data: bytes) -> ProxyHeader | None:
    if len(data) < _V2_HEAD_BYTES:
        return None
    command, family = data[12], data[13]
    size = _V2_HEAD_BYTES + int.from_bytes(data[14:16])
    if command not in (_LOCAL, _PROXY):
        raise BadProxyHeader(f"its version and command are {command:#04x}")
    if size > MAX_BYTES:
        raise BadProxyHeader(f"it is longer than {MAX_BYTES} bytes")
    if len(data) < size:
        return None
    width = {_TCP4: 4, _TCP6: 16}.get(family)
    if command == _LOCAL or width is None:
        return ProxyHeader(size)
    addresses = data[_V2_HEAD_BYTES:size]
    if len(addresses) < 2 * width + 4:
        raise BadProxyHeader("it is too short for its addresses")
    host = IPv4Address(addresses[:4]) if width == 4 else IPv6Address(addresses[:16])
    return ProxyHeader(size, peer_at(str(host), int.from_bytes(addresses[2 * width : 2 * width + 2])))
