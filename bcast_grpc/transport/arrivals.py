"""Connections that were just accepted: finds the client's address, and whether it may have another connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import cast

from bcast_grpc.core.peers import peer_at
from bcast_grpc.transport.connections import Connections
from bcast_grpc.transport.proxy_header import BadProxyHeader, ProxyHeader, read_proxy_header
from bcast_grpc.transport.small_reads import SmallReads

logger = logging.getLogger(__name__)

Make = Callable[[str], asyncio.Protocol]
"""Makes the protocol of a connection. It gets the client's address as ``HOST:PORT``, and calls ``Connections.gone``
with it when the connection is lost."""


class Arrivals:
    """The connections that one door has accepted and does not serve yet.

    Connections of trusted proxies may begin with a header of the PROXY protocol, which is read here.

    Args:
        connections: counts the connections of each address, and knows the proxies.
        timeout_s: how long a proxy's header may take.
        make: makes the door's protocol.
    """

    def __init__(self, connections: Connections, timeout_s: float, make: Make) -> None:
        self.timeout_s = timeout_s
        self._connections = connections
        self._make = make
        self._reads = SmallReads()
        self._waiting: set[Arrival] = set()

    def begin(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        return Arrival(self)

    def close(self) -> None:
        """Disconnect the proxies whose header is awaited."""
        for arrival in list(self._waiting):
            arrival.abort()

    # --- called by arrivals

    def awaits_header(self, arrival: Arrival, peer: str) -> bool:
        """Whether a proxy is at the other end; its arrival is kept until ``forget()``."""
        if not self._connections.is_proxy(peer):
            return False
        self._waiting.add(arrival)
        return True

    def forget(self, arrival: Arrival) -> None:
        """Forget an arrival."""
        self._waiting.discard(arrival)

    def enter(self, transport: asyncio.Transport, peer: str) -> asyncio.Protocol | None:
        """Make a connection the door's and return its protocol, unless its address has too many."""
        if not self._connections.arrived(peer):
            logger.debug("%s is disconnected: its address has too many connections", peer)
            transport.abort()
            return None
        protocol = self._make(peer)
        self._reads.attach(transport, protocol)
        protocol.connection_made(transport)
        return protocol


class Arrival(asyncio.Protocol):
    """A connection until the door serves it: at once, or once a proxy has sent the client's address.

    Args:
        arrivals: the door's.
    """

    __slots__ = ("_arrivals", "_data", "_peer", "_timer", "_transport")

    _transport: asyncio.Transport
    _peer: str

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._data = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Pass the connection to the door, or wait for a proxy's header."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's class is no subclass of it
        self._peer = _peer_of(transport)
        if not self._peer:  # it was reset before it was accepted; what it has sent would count for nobody
            self._transport.abort()
        elif self._arrivals.awaits_header(self, self._peer):
            self._timer = asyncio.get_running_loop().call_later(self._arrivals.timeout_s, self._expire)
        else:
            self._arrivals.enter(self._transport, self._peer)

    def data_received(self, data: bytes) -> None:
        """Read the header."""
        self._data += data
        try:
            header = read_proxy_header(self._data)
        except BadProxyHeader as error:
            self._refuse(str(error))
            return
        if header:
            self._hand_on(header)

    def eof_received(self) -> bool | None:
        """Pass a client that only reads to the door; an incomplete header is an error."""
        if self._data:
            self._refuse("it ends in the middle")
            return None
        protocol = self._hand_on(ProxyHeader(0))
        return protocol.eof_received() if protocol else None

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection."""
        self._stop()

    def abort(self) -> None:
        """Disconnect."""
        self._stop()
        self._transport.abort()

    def _refuse(self, why: str) -> None:
        logger.info("%s sent a PROXY header that is malformed: %s", self._peer, why)
        self.abort()

    def _expire(self) -> None:
        """Pass a client that has sent nothing to the door, because it may only want to read."""
        if self._data:
            self._refuse(f"it was not complete after {self._arrivals.timeout_s:g} s")
        else:
            self._hand_on(ProxyHeader(0))

    def _hand_on(self, header: ProxyHeader) -> asyncio.Protocol | None:
        self._stop()
        protocol = self._arrivals.enter(self._transport, header.peer or self._peer)
        if protocol and (rest := self._data[header.size :]):
            protocol.data_received(rest)
        return protocol

    def _stop(self) -> None:
        self._arrivals.forget(self)
        if self._timer:
            self._timer.cancel()
            self._timer = None


def _peer_of(transport: asyncio.BaseTransport) -> str:
    host, port, *_ = transport.get_extra_info("peername") or ("", 0)
    return peer_at(host, port) if host else ""
