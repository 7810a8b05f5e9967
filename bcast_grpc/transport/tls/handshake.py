"""The TLS handshake of a connection, within bounds of time and bytes, before a door serves it."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from time import perf_counter
from typing import Protocol, cast

from bcast_grpc.transport.small_reads import SmallReads
from bcast_grpc.transport.tls import plaintext
from bcast_grpc.transport.tls.peer import has_expired
from bcast_grpc.transport.tls.records import SLICE_BYTES, Records
from bcast_grpc.transport.tls.transport import TlsTransport
from bcast_grpc.transport.turns import Turns

logger = logging.getLogger(__name__)

MAX_BYTES = 128 * 1024
"""The most that a client may send before the handshake is done: room for a long chain of certificates."""

MAX_HALF_DONE = 1024
"""How many handshakes of a door may wait for the client once TLS has begun: each takes 50 KB, and most a round trip."""

LAST_WORDS_S = 1.0
"""How long a refused client has to read why."""


class Certificates(Protocol):
    """The server's certificates."""

    def context(self, alpn: str) -> ssl.SSLContext:
        """Return the context that is in force now for an ALPN name."""
        ...


class Handshakes:
    """The TLS handshakes at one door.

    Args:
        certificates: what is in force.
        alpn: the protocol's name in TLS; empty for none.
        timeout_s: how long a handshake may take.
        turns: the turns that handshakes take among themselves.
        later: the turns that connected clients take.
        gone: called with the address of a connection that was lost before it was the door's.
    """

    def __init__(
        self,
        certificates: Certificates,
        alpn: str,
        timeout_s: float,
        turns: Turns,
        later: Turns,
        gone: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.gone = gone
        self.reads = SmallReads()
        self.timeout_s = timeout_s
        self.turns = turns
        self.later = later
        self._certificates = certificates
        self._alpn = alpn
        self._buffer = memoryview(bytearray(SLICE_BYTES))
        self._open: set[Handshake] = set()
        self._half_done: dict[Handshake, None] = {}  # in the order in which they began

    def begin(self, make: Callable[[str], asyncio.Protocol], peer: str) -> asyncio.Protocol:
        """Return the protocol of a new connection, which makes the door's own when the handshake is done."""
        return Handshake(self, Records(self._certificates.context(self._alpn), self._buffer), make, peer)

    def close(self) -> None:
        """Abort all handshakes."""
        for handshake in list(self._open):
            handshake.abort()

    def opened(self, handshake: Handshake) -> None:
        """Count a handshake."""
        self._open.add(handshake)

    def closed(self, handshake: Handshake) -> None:
        """Forget a handshake."""
        self._open.discard(handshake)
        self._half_done.pop(handshake, None)

    def wait(self, handshake: Handshake) -> None:
        """Note that it is the client's turn. Where too many take their time, the one that began first is ended."""
        self._half_done[handshake] = None
        if len(self._half_done) > MAX_HALF_DONE:
            first = next(iter(self._half_done))
            del self._half_done[first]
            logger.debug("%s has not finished the TLS handshake, and %d others began one", first.peer, MAX_HALF_DONE)
            first.abort()


class Handshake(asyncio.Protocol):
    """One connection until the handshake is done.

    Args:
        handshakes: of the door.
        records: of this connection.
        make: makes the door's protocol.
        peer: the client's address.

    Attributes:
        peer: the same.
    """

    __slots__ = ("_bytes", "_handshakes", "_make", "_over", "_records", "_timer", "_transport", "_waits", "peer")

    _transport: asyncio.Transport
    _timer: asyncio.TimerHandle

    def __init__(
        self, handshakes: Handshakes, records: Records, make: Callable[[str], asyncio.Protocol], peer: str
    ) -> None:
        self._handshakes = handshakes
        self._records = records
        self._make = make
        self.peer = peer
        self._bytes = 0
        self._over = False  # it succeeded, or was refused
        self._waits = False  # for a turn

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the client to begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's class is no subclass of it
        self._timer = asyncio.get_running_loop().call_later(self._handshakes.timeout_s, self._expire)
        self._handshakes.opened(self)

    def data_received(self, data: bytes) -> None:
        """Continue the handshake, now or when it is this connection's turn."""
        if self._over:
            return
        if not self._bytes and not data.startswith(plaintext.TLS_HANDSHAKE):
            self._refuse("it does not speak TLS, which this port requires", plaintext.answer(data))
            return
        self._bytes += len(data)
        self._records.receive(data)
        if self._waits:
            return
        if self._handshakes.turns.scarce:
            self._waits = True
            self._transport.pause_reading()
            self._handshakes.turns.call(self.peer, self._take_turn)
        else:
            self._go_on()

    def eof_received(self) -> None:
        """Close: a client that sends nothing more cannot finish the handshake."""
        if not self._over:
            self._over = True
            logger.debug("%s disconnected during the TLS handshake", self.peer)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection."""
        self._over = True
        self._timer.cancel()
        self._handshakes.closed(self)
        self._handshakes.gone(self.peer)

    def abort(self) -> None:
        """Disconnect at once."""
        self._over = True
        self._transport.abort()

    def _take_turn(self) -> bool:
        self._waits = False
        if self._over or self._transport.is_closing():
            return False
        self._transport.resume_reading()
        self._go_on()
        return True

    def _go_on(self) -> None:
        began = perf_counter()
        try:
            done = self._records.handshake()
        except ssl.SSLError as error:
            self._refuse(explain(error), self._records.to_send())
            return
        finally:
            self._handshakes.turns.worked(perf_counter() - began)
        if said := self._records.to_send():
            self._transport.write(said)
        if done and has_expired(self._records.ssl):
            self._refuse("its certificate has expired")
        elif done:
            self._finish()
        elif self._bytes > MAX_BYTES:
            self._refuse(f"it sent more than {MAX_BYTES} bytes for it")
        else:
            self._handshakes.wait(self)

    def _finish(self) -> None:
        """Pass the connection to the door."""
        self._over = True
        self._timer.cancel()
        self._handshakes.closed(self)
        transport = TlsTransport(self._transport, self._records, self._make(self.peer), self._handshakes.later)
        self._handshakes.reads.attach(self._transport, transport)
        transport.begin()

    def _refuse(self, why: str, last_words: bytes = b"") -> None:
        """Send the reason and half-close. Data that still come are dropped for a while, or the reason might be lost."""
        self._over = True
        logger.info("the TLS handshake with %s failed: %s", self.peer, why)
        if not last_words:
            self._transport.abort()
        elif not self._transport.is_closing():
            self._transport.write(last_words)
            self._transport.write_eof()
            self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(LAST_WORDS_S, self._transport.abort)

    def _expire(self) -> None:
        if not self._over:
            self._over = True
            logger.debug("%s did not finish the TLS handshake within %g s", self.peer, self._handshakes.timeout_s)
            self._transport.abort()


def explain(error: ssl.SSLError) -> str:
    """Return the reason of an error of OpenSSL in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    return (error.reason or str(error)).lower().replace("_", " ")
