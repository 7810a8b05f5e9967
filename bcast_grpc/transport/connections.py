"""How many connections each address has, and which carry a call: idle ones are closed when descriptors run out."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path
from typing import Any

from bcast_grpc.core.peers import PeerCounts, host_of, network_of
from bcast_grpc.transport.proxies import TrustedProxies
from bcast_grpc.transport.unfinished import Unfinished

_IDLE_S = 1.0
"""How long a connection may be idle before it is closed."""

_SWEEP_S, _SHORT_SWEEP_S = 0.25, 0.05
"""How often to check whether there is too little of something and, while there is, which connections are idle."""

_KEPT_OPEN: list[int] = []
"""Files that got a socket's descriptor while it was being looked at. Closing one would release the process's locks on
it, on which SQLite relies."""

_LAST_WORDS_S = 0.05
"""How long a connection stays open after its last call has ended, so that the status can be sent."""


class Connections:
    """The connections of all doors, by the port of the client.

    Two with the same port on different hosts count as one, so an idle one of them may stay open.

    Args:
        crowded: says whether the system has no room for another connection.
        counts: those of each address.
        proxies: whose connections are those of many clients: they are not bounded, and not closed while they are idle.
        unfinished: see below.

    Attributes:
        ports: the doors listen on them.
        proxies: see above.
        unfinished: bounds what the socket doors keep of unfinished messages.
    """

    def __init__(
        self,
        crowded: Callable[[], bool] = lambda: False,
        counts: PeerCounts | None = None,
        proxies: TrustedProxies | None = None,
        unfinished: Unfinished | None = None,
    ) -> None:
        self.crowded = crowded
        self.ports: set[int] = set()
        self.proxies = proxies or TrustedProxies()
        self.unfinished = unfinished or Unfinished()
        self._counts = PeerCounts(0, spares_loopback=True) if counts is None else counts
        self._busy: Counter[int] = Counter()
        self._ended: dict[int, float] = {}
        self._idle_since: dict[int, float] = {}

    def arrived(self, peer: str) -> bool:
        """Count a connection until ``gone()``; return False, and count nothing, where its address has too many."""
        if self.is_proxy(peer):
            return True
        network = network_of(peer)
        if self._counts.full(network):
            return False
        self._counts.add(network)
        return True

    def gone(self, peer: str) -> None:
        """Count a connection no more; it gets the address that ``arrived()`` got."""
        if not self.is_proxy(peer):
            self._counts.remove(network_of(peer))

    def is_proxy(self, peer: str) -> bool:
        """Whether a connection is one of a trusted proxy."""
        return bool(self.proxies) and self.proxies.trusts(host_of(peer))

    @contextmanager
    def carrying(self, port: int) -> Iterator[None]:
        """Count a call of a connection while it lasts."""
        self.begin_call(port)
        try:
            yield
        finally:
            self.end_call(port)

    def begin_call(self, port: int) -> None:
        """Count a call until ``end_call()``."""
        self._busy[port] += 1

    def end_call(self, port: int) -> None:
        """Stop counting a call."""
        self._busy[port] -= 1
        if not self._busy[port]:
            del self._busy[port]
            self._ended[port] = time.monotonic()

    async def keep_some_free(self, short: Callable[[], bool]) -> None:
        """Close idle connections whenever descriptors or memory are short, until this is cancelled."""
        while True:
            if is_short := short():
                self.hang_up_idle()
            else:
                self.forget()
            await asyncio.sleep(_SHORT_SWEEP_S if is_short else _SWEEP_S)

    def forget(self) -> None:
        """Forget which connections are idle: there is room for them."""
        self._ended.clear()
        self._idle_since.clear()

    def hang_up_idle(self) -> int:
        """Close the connections to our ports that carry no call; return how many.

        To be called again and again while descriptors or memory are short. Cost: O(open descriptors).
        """
        now = time.monotonic()
        before, self._idle_since = self._idle_since, {}
        count = 0
        for connection, (host, port, *_) in _connected_to(self.ports):
            with connection:
                if port in self._busy or self.proxies.trusts(host):
                    continue
                since = self._idle_since[port] = before.get(port, now)
                if now >= min(since + _IDLE_S, self._ended.get(port, inf) + _LAST_WORDS_S):
                    with suppress(OSError):  # it was closed meanwhile
                        connection.shutdown(socket.SHUT_RDWR)
                    count += 1
        self._ended = {port: ended for port, ended in self._ended.items() if port in self._idle_since}
        return count


def port_of(peer: str) -> int:
    """Return the port of a peer's address; 0 if there is none."""
    port = peer.rpartition(":")[2]
    return int(port) if port.isdecimal() else 0


def listening_on(port: int) -> Iterator[socket.socket]:
    """Find the sockets with which this process listens on a port, also those of libraries, to set their options."""
    for found in _sockets():
        with found, suppress(OSError, IndexError, TypeError):
            if found.getsockname()[1] == port and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                yield found


def _connected_to(ports: Collection[int]) -> Iterator[tuple[socket.socket, Any]]:
    """Find this process's connections, whoever made them, each as a socket of its own that is to be closed.

    The other end's address comes with it, of at least a host and a port.
    """
    for connection in _sockets():
        try:
            if connection.getsockname()[1] in ports:
                yield connection, connection.getpeername()
        except (OSError, IndexError, TypeError):  # it listens, or is of another kind
            pass
        finally:
            connection.close()


def _sockets() -> Iterator[socket.socket]:
    """Find this process's sockets, each as one that is to be closed."""
    for file in list(Path("/dev/fd").iterdir()):
        number = int(file.name)
        try:
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            own = os.dup(number)  # its owner may close it in this moment, and another get its number
        except OSError:
            continue
        if stat.S_ISSOCK(os.fstat(own).st_mode):
            yield socket.socket(fileno=own)
        else:
            _KEPT_OPEN.append(own)
