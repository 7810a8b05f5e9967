"""Which connections carry a call, so that idle ones can be closed when descriptors run out."""

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

_IDLE_S = 1.0
"""How long a connection may be idle before it is closed."""

_SWEEP_S, _SHORT_SWEEP_S = 0.25, 0.05
"""How often it is looked whether descriptors are short, and which connections are idle while they are."""

_KEPT_OPEN: list[int] = []
"""Files that took a socket's number in the moment it was looked at: to close one would release the process's locks on
it, which SQLite relies on."""

_LAST_WORDS_S = 0.05
"""The same after its last call has ended, such as a refused one: the time to send the status."""


class Connections:
    """The connections of all doors, by the port of the client.

    Two with the same port on different hosts count as one, so an idle one of them may stay open.

    Args:
        crowded: says whether the system has no room for another connection.

    Attributes:
        ports: the doors listen on them.
    """

    def __init__(self, crowded: Callable[[], bool] = lambda: False) -> None:
        self.crowded = crowded
        self.ports: set[int] = set()
        self._busy: Counter[int] = Counter()
        self._ended: dict[int, float] = {}
        self._idle_since: dict[int, float] = {}

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
        """Count it no more."""
        self._busy[port] -= 1
        if not self._busy[port]:
            del self._busy[port]
            self._ended[port] = time.monotonic()

    async def keep_some_free(self, short: Callable[[], bool]) -> None:
        """Close idle connections whenever descriptors are short, until this is cancelled."""
        while True:
            if is_short := short():
                self.hang_up_idle()
            else:
                self.forget()
            await asyncio.sleep(_SHORT_SWEEP_S if is_short else _SWEEP_S)

    def forget(self) -> None:
        """Forget which connections are idle: there are descriptors for them."""
        self._ended.clear()
        self._idle_since.clear()

    def hang_up_idle(self) -> int:
        """Close the connections to our ports that carry no call; return how many.

        To be called again and again while descriptors are short. Cost: O(open descriptors).
        """
        now = time.monotonic()
        before, self._idle_since = self._idle_since, {}
        count = 0
        for connection, port in _connected_to(self.ports):
            with connection:
                if port in self._busy:
                    continue
                since = self._idle_since[port] = before.get(port, now)
                if now >= min(since + _IDLE_S, self._ended.get(port, inf) + _LAST_WORDS_S):
                    with suppress(OSError):  # it was closed meanwhile
                        connection.shutdown(socket.SHUT_RDWR)
                    count += 1
        self._ended = {port: ended for port, ended in self._ended.items() if port in self._idle_since}
        return count


def peer_of(transport: asyncio.BaseTransport | None) -> str:
    """Return the address of the other end as ``HOST:PORT``; empty where it is gone already."""
    host, port, *_ = (transport and transport.get_extra_info("peername")) or ("", "")
    return f"{host}:{port}" if host else ""


def port_of(peer: str) -> int:
    """Return the port of a peer's address; 0 if there is none."""
    port = peer.rpartition(":")[2]
    return int(port) if port.isdecimal() else 0


def listening_on(port: int) -> Iterator[socket.socket]:
    """Find the sockets with which this process listens on a port, whoever made them, to set options of theirs."""
    for found in _sockets():
        with found, suppress(OSError, IndexError, TypeError):
            if found.getsockname()[1] == port and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                yield found


def _connected_to(ports: Collection[int]) -> Iterator[tuple[socket.socket, int]]:
    """Find this process's connections, whoever made them, each as a socket of its own that is to be closed."""
    for connection in _sockets():
        try:
            if connection.getsockname()[1] in ports:
                yield connection, connection.getpeername()[1]
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
