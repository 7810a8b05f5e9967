"""The origins of web pages, in the one form that browsers send."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

import idna

_DEFAULT_PORTS = {"http": 80, "https": 443}

# Pages of these schemes have no origin, or share the origin "null", which identifies nobody.
_WITHOUT_ORIGIN = frozenset({"about", "blob", "data", "file", "filesystem", "ftp", "javascript", "ws", "wss"})

_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(.+)", re.ASCII | re.IGNORECASE)
_HOST_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:\[\]]+)(?::([0-9]{1,5}))?")
_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")
_OPAQUE = re.compile(r"[!-~]+")
_MAX_CHARACTERS = 512
_NEVER_IN_A_HOST = re.compile(r"[\s/?#@\\*%<>^|,]")


class Origin(NamedTuple):
    """Where a page comes from.

    Attributes:
        scheme: ``http``, ``https``, or the scheme of an app or an extension, such as ``capacitor``.
        host: lower-case ASCII (``xn--…`` for other scripts); an IPv6 address is in brackets.
        port: None if no port was given and the scheme has no default.
    """

    scheme: str
    host: str
    port: int | None

    def __str__(self) -> str:
        """Return the origin as a browser sends it."""
        default = _DEFAULT_PORTS.get(self.scheme)
        return f"{self.scheme}://{self.host}" + ("" if self.port == default else f":{self.port}")


def parse_origin(text: str) -> Origin:
    """Read an origin.

    Raises:
        ValueError: the text is not an origin.
    """
    match = _ORIGIN.fullmatch(text)
    if match is None or match[1].lower() in _WITHOUT_ORIGIN:
        raise ValueError(f"{text!r} is not an origin such as https://chat.example.org")
    scheme = match[1].lower()
    return Origin(scheme, *parse_host(match[2], scheme))


def parse_host(text: str, scheme: str) -> tuple[str, int | None]:
    """Read ``HOST`` or ``HOST:PORT``; without a port, the scheme's default is returned.

    Raises:
        ValueError: the text is neither.
    """
    match = _HOST_AND_PORT.fullmatch(text)
    if match is None or len(text) > _MAX_CHARACTERS or _NEVER_IN_A_HOST.search(text):
        raise ValueError(f"{text!r} is not a host")
    port = int(match[2]) if match[2] else _DEFAULT_PORTS.get(scheme)
    if port is not None and port > 65535:
        raise ValueError(f"{port} is not a port; ports end at 65535")
    if scheme in _DEFAULT_PORTS:
        return _read_host(match[1]), port
    if not _OPAQUE.fullmatch(match[1]):
        raise ValueError(f"{text!r} is not a host")
    return match[1].lower(), port


def _read_host(host: str) -> str:
    if host.startswith("["):
        return f"[{IPv6Address(host[1:-1])}]"
    name = host.lower() if host.isascii() else idna.encode(host, uts46=True).decode()
    if not _NAME.fullmatch(name):
        raise ValueError(f"{host!r} is not a host")
    if name.rstrip(".").rpartition(".")[2].isdigit():
        return str(IPv4Address(name))
    return name
