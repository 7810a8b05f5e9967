"""Header fields: the rules for those of a request (RFC 9113, section 8), and the encoding of an answer's (RFC 7541)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from bcast_grpc.http2.errors import Malformed

Fields = Sequence[tuple[str, str]]

_NAME = re.compile(rb":?[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_VALUE = re.compile(rb"(?:[^\0\r\n \t](?:[^\0\r\n]*[^\0\r\n \t])?)?", re.DOTALL).fullmatch
_PSEUDO = frozenset({b":method", b":scheme", b":path", b":authority"})
_FORBIDDEN = frozenset({b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"})
SECRETS = frozenset({"authorization", "cookie", "proxy-authorization"})
"""Credentials. They are not kept any longer than it takes to look at the request."""

_RAW_SECRETS = frozenset(name.encode() for name in SECRETS)
_DIGITS = re.compile("[0-9]{1,18}", re.ASCII).fullmatch


class FieldSection:
    """The fields of a header block, before it is known whether they begin a request or are its trailers.

    Attributes:
        size: Their size, as HTTP/2 counts it.
        secret: Whether one of them is a credential.
    """

    __slots__ = ("_raw", "_request", "secret", "size")

    def __init__(self, raw: Sequence[tuple[bytes, bytes]]) -> None:
        self._raw = raw
        self._request: tuple[Fields, int | None] | None = None
        self.size = sum(len(name) + len(value) + 32 for name, value in raw)
        self.secret = any(name in _RAW_SECRETS for name, _ in raw)

    def request(self) -> tuple[Fields, int | None]:
        """The fields, if they open a request, and their ``content-length``; as ``check_request()``, but only once."""
        if self._request is None:
            self._request = check_request(self._raw)
        return self._request

    def trailers(self) -> Fields:
        """The fields, if they end a request; as ``check_trailers()``."""
        return check_trailers(self._raw)


def check_request(raw: Iterable[tuple[bytes, bytes]]) -> tuple[Fields, int | None]:
    """Check the fields that open a request.

    Returns:
        The fields, decoded as latin-1, and the ``content-length`` if there is one.

    Raises:
        Malformed: they break a rule.
    """
    fields: list[tuple[str, str]] = []
    pseudo: dict[bytes, bytes] = {}
    regular = False
    host: bytes | None = None
    length: str | None = None
    for name, value in raw:
        if not name.startswith(b":"):
            _check_regular(name, value)
            regular = True
        elif regular or name in pseudo or name not in _PSEUDO or not _VALUE(value):
            raise Malformed(f"the pseudo field {name!r} is repeated, unknown, or after other fields")
        else:
            pseudo[name] = value
        text = value.decode("latin-1")
        fields.append((name.decode("latin-1"), text))
        if name == b"content-length":
            if not _DIGITS(text) or length not in (None, text):
                raise Malformed("content-length must be one number")
            length = text
        elif name == b"host":
            if host is not None or pseudo.get(b":authority", value).lower() != value.lower():
                raise Malformed("host must be given once, and equal :authority")
            host = value
    _check_pseudo(pseudo)
    return tuple(fields), None if length is None else int(length)


def check_trailers(raw: Iterable[tuple[bytes, bytes]]) -> Fields:
    """Check the fields that end a request, and decode them as latin-1.

    Raises:
        Malformed: they break a rule.
    """
    fields = []
    for name, value in raw:
        if name.startswith(b":"):
            raise Malformed("trailers must not have pseudo fields")
        _check_regular(name, value)
        fields.append((name.decode("latin-1"), value.decode("latin-1")))
    return tuple(fields)


def _check_regular(name: bytes, value: bytes) -> None:
    if not _NAME(name) or not _VALUE(value):
        raise Malformed(f"the field {name!r} contains characters that are not allowed")
    if name in _FORBIDDEN or (name == b"te" and value.lower() != b"trailers"):
        raise Malformed(f"the field {name!r} belongs to HTTP/1")


def _check_pseudo(pseudo: dict[bytes, bytes]) -> None:
    if pseudo.get(b":method") == b"CONNECT":
        if pseudo.keys() != {b":method", b":authority"}:
            raise Malformed("CONNECT must have :authority, and neither :scheme nor :path")
    elif not (pseudo.get(b":method") and pseudo.get(b":scheme") and pseudo.get(b":path")):
        raise Malformed("a request must have :method, :scheme and :path")


_INDEXED = {(":status", "200"): b"\x88", (":status", "404"): b"\x8d", (":status", "400"): b"\x8c"}
_STATIC_NAMES = {
    ":status": 8,
    "accept-encoding": 16,
    "content-length": 28,
    "content-type": 31,
    "date": 33,
    "server": 54,
}
"""Places in HPACK's static table (RFC 7541, appendix A)."""


def encode(fields: Iterable[tuple[str, str]]) -> bytes:
    """Encode fields for ``Connection.send_headers()``. Nothing is added to the peer's table, so blocks can be shared.

    Names and values are latin-1.
    """
    return b"".join(_INDEXED.get(field) or _literal(*field) for field in fields)


def _literal(name: str, value: str) -> bytes:
    return _start(name) + _string(value)


@lru_cache(maxsize=64)
def _start(name: str) -> bytes:
    place = _STATIC_NAMES.get(name)
    return b"\x00" + _string(name) if place is None else _integer(place, 4)


def _string(text: str) -> bytes:
    raw = text.encode("latin-1")
    return _integer(len(raw), 7) + raw


def _integer(number: int, bits: int) -> bytes:
    largest = (1 << bits) - 1
    if number < largest:
        return bytes((number,))
    number -= largest
    encoded = bytearray((largest,))
    while number >= 128:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
