"""The answer to a client that does not speak HTTP/2."""

from __future__ import annotations

from bcast_grpc.transport.tls.plaintext import TLS_HANDSHAKE

_TEXT = (
    b"this port speaks gRPC, which is HTTP/2 without TLS; use a gRPC client such as grpcurl -plaintext,"
    b" or the server's http-port for browsers\n"
)
_HTTP_1 = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%b" % (len(_TEXT), _TEXT)
)


def answer_to(first_bytes: bytes) -> bytes:
    """Return an HTTP/1 answer for clients of HTTP/1, and for those of TLS, which report it; nothing for others."""
    return _HTTP_1 if b" HTTP/1." in first_bytes or first_bytes.startswith(TLS_HANDSHAKE) else b""
