"""What a client gets that speaks without TLS to a port that requires it."""

from __future__ import annotations

import re

_TEXT = b"this port speaks TLS, and the client does not; use https://, wss:// or grpcs://\n"
_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%b" % (len(_TEXT), _TEXT)
)
_REQUEST = re.compile(rb"[A-Z]{3,10} ")  # gRPC begins with such a line too, and its clients show what HTTP/1 answers

TLS_ALERT = bytes.fromhex("15 03 01 00 02 02 46")  # fatal: protocol version
"""What a client that begins with TLS takes for the sign that it is not spoken here."""


def answer(first_bytes: bytes) -> bytes:
    """Return what HTTP shows to people; nothing to others."""
    return _HTTP if _REQUEST.match(first_bytes) else b""
