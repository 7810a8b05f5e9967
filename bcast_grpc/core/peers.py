"""The addresses of clients that limits apply to."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from sys import intern
from urllib.parse import unquote

_PREFIX_BITS = 64
_LOOPBACK = ("127.", "::/64")


class PeerCounts:
    """Counts what is bounded for each address.

    Args:
        most: the bound; 0 for none.
        spares_loopback: whether addresses of this machine have none.
    """

    def __init__(self, most: int, *, spares_loopback: bool) -> None:
        self.most = most
        self._spares_loopback = spares_loopback
        self._counts: Counter[str] = Counter()
        self._total = 0

    def full(self, network: str) -> bool:
        """Whether an address has reached the bound; an empty one has none."""
        return 0 < self.most <= self._counts[network] and self.bounds(network)

    def has_part(self, network: str, places: int) -> bool:
        """Whether all of so many places are taken, and an address has its part of them, so that it gets no more.

        Others get theirs beyond that: nobody is kept out by an address that holds what it has for ever.
        """
        return self._total >= places and self._counts[network] * (len(self._counts) + 1) >= places

    def bounds(self, network: str) -> bool:
        """Whether an address has bounds: one that is known, and is not spared."""
        return bool(network) and not (self._spares_loopback and network.startswith(_LOOPBACK))

    def add(self, network: str) -> None:
        """Count one more."""
        self._counts[network] += 1
        self._total += 1

    def remove(self, network: str) -> None:
        """Count one less."""
        self._counts[network] -= 1
        self._total -= 1
        if not self._counts[network]:
            del self._counts[network]

    def count(self, network: str) -> int:
        """Return how many an address has."""
        return self._counts[network]

    def __len__(self) -> int:
        """How many addresses are counted."""
        return len(self._counts)

    @property
    def total(self) -> int:
        """How many there are, of all addresses."""
        return self._total


def peer_at(host: str, port: int) -> str:
    """Return ``HOST:PORT``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def host_of(peer: str) -> str:
    """Return the host of ``HOST:PORT``, also as gRPC writes it: ``ipv6:%5B::1%5D:50051``."""
    return unquote(peer).removeprefix("ipv4:").removeprefix("ipv6:").rpartition(":")[0].strip("[]")


def address_of(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address of a host, without a zone; IPv4 for a mapped IPv6 address; None for a name."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def network_of(peer: str) -> str:
    """Return what is limited together: an IPv4 address, or the /64 of an IPv6 address, which one machine owns.

    Args:
        peer: as ``host_of()`` takes it.
    """
    return _network(host_of(peer))


@lru_cache(maxsize=1024)
def _network(host: str) -> str:
    """Return the network of a host. It is asked for with each connection, of which many come from one address."""
    address = address_of(host)
    if address is None:
        return host
    if isinstance(address, IPv4Address):
        return intern(str(address))  # thousands of clients may refer to it
    shift = address.max_prefixlen - _PREFIX_BITS
    return intern(f"{IPv6Address(int(address) >> shift << shift)}/{_PREFIX_BITS}")
