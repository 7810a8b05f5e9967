"""Encryption and decryption for one TLS connection, without I/O."""

from __future__ import annotations

import ssl
from contextlib import suppress

RECORD_BYTES = 16 * 1024
"""The largest TLS record. OpenSSL's buffers never shrink, so it gets no more than this at once."""

SLICE_BYTES = 4 * RECORD_BYTES
"""The most that is decrypted at once, before others have their turn."""

_ZEROS = memoryview(bytes(SLICE_BYTES))

USELESS_BYTES = 64 * 1024
"""How many bytes without data, such as key updates, a peer may send in a row: they cost much time."""


class Records:
    """Encrypts and decrypts.

    Args:
        context: the context that is in force when the connection begins.
        buffer: ``SLICE_BYTES`` to decrypt into, which all connections of an event loop share.

    Attributes:
        ssl: OpenSSL's object for the connection.
        ended: whether the peer has announced that it sends nothing more.
        fault: the error after which nothing can be decrypted.
    """

    __slots__ = (
        "_at",
        "_buffer",
        "_decrypted",
        "_incoming",
        "_outgoing",
        "_unread",
        "_useless",
        "ended",
        "fault",
        "ssl",
    )

    def __init__(self, context: ssl.SSLContext, buffer: memoryview) -> None:
        self._buffer = buffer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._unread = b""  # from ``_at`` on
        self._at = 0
        self._decrypted = b""
        self._useless = 0
        self.ended = False
        self.fault: ssl.SSLError | None = None

    @property
    def unread(self) -> bool:
        """Whether there may be something to decrypt."""
        return bool(self._decrypted or self._unread or self._incoming.pending or self.ssl.pending())

    def receive(self, data: bytes) -> None:
        """Take data from the network."""
        if self._unread:
            self._unread = self._unread[self._at :] + data
        else:
            self._unread = data
        self._at = 0

    def handshake(self) -> bool:
        """Continue the handshake as far as the received data allow; return whether it is done.

        Raises:
            ssl.SSLError: it failed. ``to_send()`` has an alert for the peer.
        """
        while True:
            try:
                self.ssl.do_handshake()
            except ssl.SSLWantReadError:
                if not self._feed():
                    return False
            else:
                self._useless = 0
                return True

    def decrypt(self) -> bytes:
        """Return up to ``SLICE_BYTES`` of decrypted data; empty if there is no complete record.

        After an empty answer, ``ended`` and ``fault`` say whether there will ever be one.
        """
        if decrypted := self._decrypted:
            self._decrypted = b""
            return decrypted
        filled = 0
        while filled <= SLICE_BYTES - RECORD_BYTES and not (self.ended or self.fault):
            if not (self._incoming.pending or self.ssl.pending() or self._feed()):
                break
            filled += self._read(filled)
        return self._take(filled)

    def encrypt(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """Encrypt what the door writes, and return the pieces to send.

        Raises:
            ssl.SSLError: the connection is broken.
        """
        if len(data) <= RECORD_BYTES:
            self.ssl.write(data)
            return [self._outgoing.read()]
        pieces = []
        view = memoryview(data)
        for at in range(0, len(view), RECORD_BYTES):
            self.ssl.write(view[at : at + RECORD_BYTES])
            pieces.append(self._outgoing.read())
        return pieces

    def to_send(self) -> bytes:
        """Return the messages of TLS itself that are to be sent."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def end(self) -> bytes:
        """Return the message that ends this direction. What the peer sends can still be decrypted."""
        # OpenSSL expects the peer's answer at once, and would report anything else as an error.
        filled = 0
        while (self._incoming.pending or self.ssl.pending()) and not (self.ended or self.fault):
            filled += self._read(filled)
        self._decrypted += self._take(filled)
        with suppress(ssl.SSLError):
            self.ssl.unwrap()
        return self.to_send()

    def _take(self, filled: int) -> bytes:
        """Return what was decrypted. The buffer does not keep it: there may be a token in it."""
        view = self._buffer[:filled]
        decrypted = bytes(view)
        view[:] = _ZEROS[:filled]
        return decrypted

    def _read(self, at: int) -> int:
        """Decrypt one record into the buffer; return how many bytes that is."""
        try:
            count = self.ssl.read(RECORD_BYTES, self._buffer[at:])
        except ssl.SSLWantReadError:
            if self._useless > USELESS_BYTES:
                self.fault = ssl.SSLError("too many records without data")
            return 0
        except ssl.SSLZeroReturnError:
            self.ended = True
            return 0
        except ssl.SSLError as fault:
            self.fault = fault.with_traceback(None)
            return 0
        self.ended = not count
        self._useless = 0
        return int(count)

    def _feed(self) -> bool:
        """Pass the next part of the received data to OpenSSL; return whether there was any."""
        if not self._unread:
            return False
        self._useless += self._incoming.write(memoryview(self._unread)[self._at : self._at + RECORD_BYTES])
        self._at += RECORD_BYTES
        if self._at >= len(self._unread):
            self._unread, self._at = b"", 0
        return True
