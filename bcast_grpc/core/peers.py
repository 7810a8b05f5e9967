"""Addresses of clients, as far as limits are concerned."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import unquote

_PREFIX_BITS = 64


def network_of(peer: str) -> str:
    """Return what is limited together: an IPv4 address, or the /64 of an IPv6 address, which one machine owns.

    Args:
        peer: ``HOST:PORT``, also as gRPC writes it: ``ipv6:%5B::1%5D:50051``.
    """
    host = unquote(peer).removeprefix("ipv4:").removeprefix("ipv6:").rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if isinstance(address, IPv4Address):
        return str(address)
    shift = address.max_prefixlen - _PREFIX_BITS
    return f"{IPv6Address(int(address) >> shift << shift)}/{_PREFIX_BITS}"
