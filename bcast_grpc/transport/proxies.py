"""The proxies that the server trusts to report a client's address."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from ipaddress import ip_network

from bcast_grpc.core.peers import address_of, host_of, peer_at

_MAX_HOPS = 32

_PARAMETER = re.compile(
    r"""
    \s* ([\w!#$%&'*+.^`|~-]+) = ("(?:[^"\\]|\\.)*" | [^",;\s]*)   # the quotes are not needed for 1.2.3.4:5 or [::1]
    \s* ([,;]|$)
    """,
    re.ASCII | re.VERBOSE,
)
"""One of ``Forwarded`` (RFC 7239), and what follows it: the next hop, a parameter of the same one, or nothing."""

_HOST_AND_PORT = re.compile(r"(?:\[([^]]+)\]|([^:]+))(?::(\d{1,5}))?", re.ASCII)


class TrustedProxies:
    """Knows which addresses are those of proxies; none: ``False``.

    Args:
        networks: addresses and networks of the proxies.
    """

    def __init__(self, networks: Sequence[str] = ()) -> None:
        self._networks = [ip_network(one) for one in networks]

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._networks)

    def trusts(self, host: str) -> bool:
        """Whether an address is one of a proxy's."""
        address = address_of(host)
        return address is not None and any(address in network for network in self._networks)

    def client(self, peer: str, forwarded: Sequence[str], x_forwarded_for: Sequence[str]) -> str:
        """Return a client's address: what the headers say, as far as trusted proxies wrote it, or else ``peer``.

        Each proxy appends the address that it was called from, so the addresses are read from the end, up to the first
        that is not a proxy's; anyone may have written those before it. A proxy that writes one of the two headers may
        pass on the other unchanged, so if both are present, they count only if they agree.

        Args:
            peer: the address at the other end of the connection, as ``host_of()`` takes it.
            forwarded: the values of ``Forwarded``.
            x_forwarded_for: the values of ``X-Forwarded-For``.
        """
        if not (self._networks and (forwarded or x_forwarded_for) and self.trusts(host_of(peer))):
            return peer
        found = set()
        if forwarded:
            found.add(self._first_beyond([hop for value in forwarded for hop in _hops(value)]))
        if x_forwarded_for:
            found.add(self._first_beyond([hop.strip() for value in x_forwarded_for for hop in value.split(",")]))
        client = found.pop()
        return peer if found else client or peer

    def _first_beyond(self, hops: Sequence[str]) -> str:
        """Return the last hop that is not a proxy's; empty if it is not an address, or if there is none."""
        for hop in reversed(hops[-_MAX_HOPS:]):
            peer = _read(hop)
            if not self.trusts(host_of(peer)):
                return peer
        return ""


def _hops(forwarded: str) -> Iterator[str]:
    """Yield ``for`` of each hop: empty where it has none, and for all of a value that is malformed."""
    hops, client, position, more = [], "", 0, True
    while more:
        found = _PARAMETER.match(forwarded, position)
        if not found or (found[1].lower() == "for" and client):
            yield ""
            return
        if found[1].lower() == "for":
            client = found[2].strip('"')
        if found[3] != ";":
            hops.append(client)
            client = ""
        position, more = found.end(), bool(found[3])
    yield from hops


def _read(hop: str) -> str:
    """Return ``1.2.3.4``, ``1.2.3.4:5``, ``::1``, ``[::1]`` or ``[::1]:5`` as ``HOST:PORT``; nothing if it is none."""
    found = _HOST_AND_PORT.fullmatch(hop)
    host, port = (found[1] or found[2], int(found[3] or 0)) if found else (hop, 0)
    address = address_of(host)
    return peer_at(str(address), port) if address else ""
