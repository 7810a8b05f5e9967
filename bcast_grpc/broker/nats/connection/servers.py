"""Which NATS server is tried next."""

from __future__ import annotations

from collections.abc import Collection
from random import shuffle

from nats.aio.client import Srv

_MOST_GONE = 8
"""So many addresses are known that NATS tells of no more: of servers that are parted from the one in use, or gone."""


class Servers:
    """What is known of the NATS servers beyond the life of a client of nats-py, which would choose by chance.

    What NATS tells may be of no use here: addresses that can only be reached from elsewhere, or that nobody has any
    more. An attempt to reach such a one may take as long as a client has, so the next client begins with another one.
    """

    def __init__(self) -> None:
        self._discovered: dict[str, Srv] = {}  # who was told of last comes last
        self._told: set[str] = set()
        self._vain: list[str] = []  # where the last attempt was of no use, the latest last

    def tried(self, address: str) -> None:
        """Note that a server is of no use, as far as is known: it is tried after all others."""
        self.found(address)
        self._vain.append(address)

    def found(self, *addresses: str) -> None:
        """Note that servers are of use."""
        self._vain = [address for address in self._vain if address not in addresses]

    def told(self, pool: list[Srv], addresses: Collection[str]) -> None:
        """Note what the server in use says of others.

        Args:
            pool: what its client knows now.
            addresses: all that it tells of: not those of servers that it is parted from.
        """
        here = {server.uri.netloc: server for server in pool if server.discovered and server.uri.netloc in addresses}
        gone = [address for address in self._discovered if address not in here]
        self._discovered = {address: self._discovered[address] for address in gone[-_MOST_GONE:]} | here
        self._vain[:0] = [address for address in gone if address not in self._vain]
        self.found(*(set(addresses) - self._told))
        self._told = set(addresses)

    def arrange(self, pool: list[Srv], used: Srv | None) -> None:
        """Put the servers in the order in which they are to be tried.

        Args:
            pool: those that a client knows; others that are known are added, and what is known no more is dropped.
            used: the one that is used now. Only such as were discovered, but are of no use, come after it.
        """
        known = {server.uri.netloc for server in pool}
        for address, server in self._discovered.items():
            if address not in known:
                pool.append(Srv(server.uri, discovered=True, tls_name=server.tls_name))
        pool[:] = [one for one in pool if one is used or not one.discovered or one.uri.netloc in self._discovered]
        known = {server.uri.netloc for server in pool}
        self._vain = [address for address in self._vain if address in known]
        shuffle(pool)
        pool.sort(key=lambda server: self._rank(server, used))

    def _rank(self, server: Srv, used: Srv | None) -> tuple[bool, bool, int, bool]:
        address, is_used = server.uri.netloc, server is used
        vain = self._vain.index(address) + 1 if address in self._vain else 0
        return bool(used and vain and server.discovered and not is_used), is_used, vain, server.discovered
