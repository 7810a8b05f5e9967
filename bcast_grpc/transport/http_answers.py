"""The answers of the HTTP port to invalid requests, and the headers of every answer."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp.http import HttpProcessingError
from aiohttp.http_exceptions import LineTooLong

from bcast_grpc.transport.handshake import shown

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
        " require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "bcast_grpc",
    "X-Content-Type-Options": "nosniff",
}
"""The headers of every answer."""

MAX_LINE_BYTES = 8190
MAX_FIELD_BYTES = 64 * 2**10
"""Generous, because browsers also send the cookies of other programs on localhost."""

MAX_HEAD_BYTES = 128 * 2**10
MAX_FIELDS = 128

NO_HTTP2 = "this port speaks HTTP/1.1, not HTTP/2; gRPC has another port"
TOO_LARGE = (
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"a request may have at most {MAX_FIELDS} headers of {MAX_FIELD_BYTES} bytes each, {MAX_HEAD_BYTES} bytes in all",
)


def say_what_is_wrong(error: HttpProcessingError) -> tuple[HTTPStatus, str]:
    """Return the status and the text for a request that aiohttp could not read."""
    reason = shown(str(error.message).partition("\n")[0].rstrip(":. "))
    if reason.startswith("'Pause on PRI"):
        return HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, NO_HTTP2
    if isinstance(error, LineTooLong) and error.args[1] == MAX_LINE_BYTES:
        return HTTPStatus.REQUEST_URI_TOO_LONG, f"the first line of a request may have at most {MAX_LINE_BYTES} bytes"
    if isinstance(error, LineTooLong) or reason.startswith("'Too many headers"):
        return TOO_LARGE
    return HTTPStatus.BAD_REQUEST, f"this is not a valid HTTP/1.1 request: {reason[1:-1]}"


def raw(status: HTTPStatus, text: str) -> bytes:
    """Return a complete answer, after which the connection ends."""
    body = f"{text}\n".encode()
    headers = {
        **HEADERS,
        "Connection": "close",
        "Content-Length": str(len(body)),
        "Content-Type": "text/plain; charset=utf-8",
    }
    lines = [f"HTTP/1.1 {status} {status.phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body
