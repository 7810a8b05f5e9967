"""The answer to a client that does not speak TLS at a port that requires it."""

from __future__ import annotations

import re

from bcast_grpc.core import notices
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.wire import json_events

_TEXT = b"this port speaks TLS, and the client does not; use https://, wss:// or grpcs://\n"
_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%b" % (len(_TEXT), _TEXT)
)
_REQUEST = re.compile(rb"[A-Z]{3,10} ")  # gRPC begins with such a line too, and its clients show what HTTP/1 answers

TLS_HANDSHAKE = b"\x16"
"""The first byte of a TLS handshake."""


def answer(first_bytes: bytes) -> bytes:
    """Return an answer that clients of HTTP or JSON can show; nothing for others."""
    if _REQUEST.match(first_bytes):
        return _HTTP
    if first_bytes.lstrip()[:1] in (b"{", b"["):
        fault = CallError(ErrorCode.MALFORMED, "this port speaks TLS, and the client does not; use tcps://")
        return b"".join(line for line, _ in json_events.encode_lines([notices.error(fault, "")]))
    return b""
