"""An encrypted connection after the handshake: a door's transport, and the protocol of the plain transport below."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Iterable
from contextlib import suppress
from time import perf_counter
from typing import Any

from bcast_grpc.transport.tls.records import Records
from bcast_grpc.transport.turns import Turns

logger = logging.getLogger(__name__)

MAX_ANSWERS = 64
"""How many answers TLS itself sends while the peer does not read."""


class TlsTransport(asyncio.Transport, asyncio.Protocol):
    """To a door it behaves like the plain transport below.

    What the door writes is encrypted and passed on at once, so the buffer below, its limits and its pauses apply to the
    door. Either side may half-close and go on reading, which the event loops' own TLS cannot do.

    Args:
        below: the plain transport; this is its protocol.
        records: encrypts and decrypts.
        protocol: the door's protocol.
        turns: the turns that decrypting counts towards.
    """

    __slots__ = (
        "_answers",
        "_below",
        "_closing",
        "_eof",
        "_error",
        "_loop",
        "_paused",
        "_protocol",
        "_records",
        "_scheduled",
        "_told_eof",
        "_turns",
        "_write_ended",
        "_write_paused",
    )

    def __init__(self, below: asyncio.Transport, records: Records, protocol: asyncio.Protocol, turns: Turns) -> None:
        self._below = below
        self._records = records
        self._protocol: asyncio.Protocol | None = protocol
        self._turns = turns
        self._loop = asyncio.get_running_loop()
        self._answers = 0
        self._error: Exception | None = None
        self._closing = False
        self._eof = False  # the peer closed its end of the connection below
        self._told_eof = False
        self._paused = False  # by the door
        self._scheduled = False
        self._write_ended = False
        self._write_paused = False

    def begin(self) -> None:
        """Connect the door's protocol, and read what came directly after the handshake."""
        assert self._protocol
        self._protocol.connection_made(self)
        self._read_on()

    # --- called by the door

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return information about TLS, or about the plain transport."""
        match name:
            case "ssl_object":
                return self._records.ssl
            case "sslcontext":
                return self._records.ssl.context
            case "peercert":
                return self._records.ssl.getpeercert()
            case "cipher":
                return self._records.ssl.cipher()
            case _:
                return self._below.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Replace the door's protocol."""
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the door's protocol."""
        assert self._protocol
        return self._protocol

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._closing or self._below.is_closing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt data, and write them to the plain transport."""
        if self._write_ended:
            raise RuntimeError("write() after write_eof()")
        if not data or self.is_closing():
            return
        try:
            pieces = self._records.encrypt(data)
        except ssl.SSLError as error:
            self._fail(error)
            return
        if len(pieces) == 1:
            self._below.write(pieces[0])
        else:
            self._below.writelines(pieces)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Write all data in as few records as possible."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """Return True: TLS can be half-closed, as TCP can."""
        return True

    def write_eof(self) -> None:
        """Half-close, once everything has been written."""
        if not (self._write_ended or self.is_closing()):
            self._write_ended = True
            self._send(self._records.end())
            self._below.write_eof()

    def close(self) -> None:
        """Close it, once everything is written."""
        if not self.is_closing():
            self._closing = True
            if not self._write_ended:
                self._send(self._records.end())
            self._below.close()

    def abort(self) -> None:
        """Close it at once."""
        self._closing = True
        self._below.abort()

    def is_reading(self) -> bool:
        """Whether the door is reading."""
        return not (self._paused or self.is_closing())

    def pause_reading(self) -> None:
        """Pass no more data to the door, including those that have been received already."""
        if not self._paused:
            self._paused = True
            self._below.pause_reading()

    def resume_reading(self) -> None:
        """Read on, beginning with the data that have been received already."""
        if self._paused:
            self._paused = False
            if not self._scheduled:
                self._scheduled = True
                self._loop.call_soon(self._resume)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set how many encrypted bytes may wait before the door must pause writing."""
        self._below.set_write_buffer_limits(high, low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the marks at which the door resumes and pauses."""
        return self._below.get_write_buffer_limits()

    def get_write_buffer_size(self) -> int:
        """Return how many encrypted bytes the system has not taken."""
        return self._below.get_write_buffer_size()

    # --- called by the plain transport

    def data_received(self, data: bytes) -> None:
        """Decrypt data, and pass them to the door."""
        if not self._told_eof:
            self._records.receive(data)
            self._read_on()

    def eof_received(self) -> bool:
        """Tell the door, once it has read everything before. The door decides when to close."""
        self._eof = True
        self._read_on()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the door, and drop the reference to it."""
        self._closing = True
        protocol, self._protocol = self._protocol, None
        if protocol:
            protocol.connection_lost(self._error or error)

    def pause_writing(self) -> None:
        """Tell the door to pause writing."""
        self._write_paused = True
        if self._protocol:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Tell the door to write on."""
        self._write_paused = False
        self._answers = 0
        if self._protocol:
            self._protocol.resume_writing()

    # --- reading

    def _resume(self) -> None:
        self._scheduled = False
        self._read_on()
        if not (self._paused or self._scheduled or self._told_eof or self.is_closing()):
            self._below.resume_reading()

    def _read_on(self) -> None:
        """Pass received data to the door, a slice at a time, as long as it reads."""
        records, turns = self._records, self._turns
        while self._protocol and not (self._paused or self._closing or self._told_eof):
            began = perf_counter()
            data = records.decrypt()
            turns.worked(perf_counter() - began)
            self._answer(records.to_send())
            if data:
                self._protocol.data_received(data)
            elif records.fault:
                self._fail(records.fault)
            elif records.ended or self._eof:
                self._end_reading()
            else:
                break

    def _end_reading(self) -> None:
        self._told_eof = True
        self._below.pause_reading()
        if self._protocol and not self._protocol.eof_received():
            self.close()

    def _answer(self, said: bytes) -> None:
        """Send an answer of TLS itself, such as to a renegotiation; a peer that does not read them is disconnected."""
        if said and self._write_paused:
            self._answers += 1
        if self._answers > MAX_ANSWERS:
            self._fail(ConnectionAbortedError("it sends TLS requests and does not read the answers"))
        else:
            self._send(said)

    def _send(self, said: bytes) -> None:
        if said and not self._below.is_closing():
            self._below.write(said)

    def _fail(self, error: Exception) -> None:
        logger.debug("%s broke TLS: %s", self._below.get_extra_info("peername"), error)
        self._error = ConnectionAbortedError(f"TLS: {error}")
        with suppress(RuntimeError):
            self.abort()
