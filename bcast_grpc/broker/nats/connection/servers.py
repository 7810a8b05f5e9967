"""Which NATS server is tried next."""

from __future__ import annotations

from random import shuffle

from nats.aio.client import Srv


class Servers:
    """What is known of the NATS servers beyond the life of a client of nats-py, which would choose by chance."""

    def __init__(self) -> None:
        self._discovered: dict[str, Srv] = {}
        self._left: list[str] = []

    def leave(self, address: str) -> None:
        """Remember a server that was of no use: it is tried after all others, those that were left before it too."""
        if address in self._left:
            self._left.remove(address)
        self._left.append(address)

    def arrange(self, pool: list[Srv], used: Srv | None) -> None:
        """Put the servers in the order in which they are to be tried.

        Args:
            pool: those that a client knows; such as another one has discovered are added.
            used: the one that is used now, which comes last.
        """
        self._discovered |= {server.uri.netloc: server for server in pool if server.discovered}
        known = {server.uri.netloc for server in pool}
        for address, server in self._discovered.items():
            if address not in known:
                pool.append(Srv(server.uri, discovered=True, tls_name=server.tls_name))
        shuffle(pool)
        pool.sort(key=lambda server: (server is used, self._rank(server), server.discovered))

    def _rank(self, server: Srv) -> int:
        address = server.uri.netloc
        return self._left.index(address) + 1 if address in self._left else 0
